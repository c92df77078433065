// Files and folders that survive a power cut: what is written is fsynced before it gets its name, and a folder is
// fsynced after a name in it changes.
#include "storage/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// A path that cannot be right is the user's; a disk that is full or broken is not.
static error_kind kind_of(int reason) {
    static const int of_the_user[] = {ENOENT, ENOTDIR, EISDIR, EEXIST, EACCES, EPERM, EROFS, ELOOP, ENAMETOOLONG};
    for (size_t i = 0; i < sizeof of_the_user / sizeof *of_the_user; i++)
        if (reason == of_the_user[i]) return ERROR_INPUT;
    return ERROR_INTERNAL;
}

static bool fail(error *err, const char *verb, const char *path, int reason) {
    return error_set(err, kind_of(reason), "cannot %s %s: %s", verb, path, strerror(reason));
}

// The folder that a path lies in: "runs/a" -> "runs", "a" -> ".", "/a" -> "/". Caller frees.
static char *parent_of(const char *path) {
    char *parent = memory_string(path);
    size_t n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/') n--; // of the path's own end
    while (n > 0 && parent[n - 1] != '/') n--;
    while (n > 1 && parent[n - 1] == '/') n--;
    if (n == 0) parent[n++] = '.';
    parent[n] = 0;
    return parent;
}

static bool folder_sync(const char *path, error *err) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return fail(err, "open", path, errno);
    // Some file systems keep names safe by themselves and have no fsync for folders.
    bool good = fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
    int reason = errno;
    close(descriptor);
    return good || fail(err, "write to disk the folder", path, reason);
}

static bool parent_sync(const char *path, error *err) {
    char *parent = parent_of(path);
    bool good = folder_sync(parent, err);
    memory_free(parent);
    return good;
}

// ---- writing ------------------------------------------------------------------------------------------------------

static bool write_all(int descriptor, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(descriptor, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static bool write_synced(const char *path, const void *data, size_t size, error *err) {
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) return fail(err, "create", path, errno);
    bool good = write_all(descriptor, data, size) && fsync(descriptor) == 0;
    int reason = errno;
    if (close(descriptor) != 0 && good) good = false, reason = errno;
    return good || fail(err, "write", path, reason);
}

bool file_write_atomic(const char *path, const void *data, size_t size, error *err) {
    char *draft = memory_format("%s.tmp", path);
    bool good = write_synced(draft, data, size, err) && file_rename(draft, path, err);
    if (!good) unlink(draft);
    memory_free(draft);
    return good;
}

bool file_rename(const char *from, const char *to, error *err) {
    if (rename(from, to) != 0)
        return error_set(err, kind_of(errno), "cannot rename %s to %s: %s", from, to, strerror(errno));
    return parent_sync(to, err);
}

// ---- folders ------------------------------------------------------------------------------------------------------

static bool make_folder(const char *path, error *err) {
    if (mkdir(path, 0777) == 0) return parent_sync(path, err);
    if (file_is_folder(path)) return true;
    return fail(err, "make the folder", path, errno);
}

bool file_make_folders(const char *path, error *err) {
    char *part = memory_string(path);
    bool good = true;
    for (char *slash = part + 1; good && *part && (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        good = make_folder(part, err);
        *slash = '/';
    }
    good = good && make_folder(part, err);
    memory_free(part);
    return good;
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *place) {
    (void)s, (void)type, (void)place;
    return remove(path);
}

bool file_remove_tree(const char *path, error *err) {
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return true;
    return fail(err, "remove", path, errno);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

char **file_list(const char *path, size_t *n, error *err) {
    DIR *folder = opendir(path);
    if (!folder) {
        fail(err, "open the folder", path, errno);
        return NULL;
    }
    size_t capacity = 0;
    char **names = memory_grow(NULL, *n = 0, &capacity, sizeof *names);
    struct dirent *entry;
    while ((errno = 0, entry = readdir(folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        names = memory_grow(names, *n, &capacity, sizeof *names);
        names[(*n)++] = memory_string(entry->d_name);
    }
    int reason = errno;
    closedir(folder);
    if (reason) {
        fail(err, "read the folder", path, reason);
        while (*n > 0) memory_free(names[--*n]);
        memory_free(names);
        return NULL;
    }
    qsort(names, *n, sizeof *names, compare_names);
    return names;
}

// ---- locks --------------------------------------------------------------------------------------------------------

int file_lock(const char *path, error *err) {
    int lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (lock < 0) {
        fail(err, "open", path, errno);
        return -1;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) return lock;
    error_set(err, ERROR_INPUT, "%s is held by another process: a run is being written there", path);
    close(lock);
    return -1;
}

void file_unlock(int lock) { close(lock); }

// ---- questions ----------------------------------------------------------------------------------------------------

bool file_is_plain_name(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    size_t length = strlen(name);
    return length > 0 && length < 128 && name[0] != '.' && strspn(name, letters) == length;
}

bool file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0;
}

bool file_is_folder(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int64_t file_size(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode) ? (int64_t)s.st_size : -1;
}
