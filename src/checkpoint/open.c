// Opening: find a checkpoint, and believe nothing in it before every file's checksum was seen to match.
#include "checkpoint/internal.h"

#include <string.h>

const char *const checkpoint_words[] = {"best", "latest", NULL};

// ---- which --------------------------------------------------------------------------------------------------------

typedef struct {
    char **paths;
    int64_t n;
} candidates;

static void add_path(candidates *found, char *path) {
    found->paths = memory_resize(found->paths, (size_t)found->n + 1, sizeof *found->paths);
    found->paths[found->n++] = path;
}

// The folders to try, in order. On rank 0.
static candidates find_candidates(const char *path, checkpoint_choice which, error *err) {
    candidates found = {0};
    if (!file_exists(path)) {
        error_set(err, ERROR_INPUT, "no run or checkpoint folder %s", path);
        return found;
    }
    if (checkpoint_is_folder(path)) {
        add_path(&found, memory_string(path));
        return found;
    }
    size_t n = 0;
    int64_t *steps = checkpoint_steps(path, &n, err);
    int64_t best = which == CHECKPOINT_BEST ? checkpoint_pointer(path, "best") : -1;
    for (size_t i = 0; i < n; i++)
        if (steps[i] == best) add_path(&found, checkpoint_step_path(path, best));
    for (size_t i = 0; i < n; i++)
        if (steps[i] != best) add_path(&found, checkpoint_step_path(path, steps[i]));
    if (steps && n == 0) error_set(err, ERROR_INPUT, "no checkpoint in %s", path);
    memory_free(steps);
    return found;
}

// ---- one checkpoint -----------------------------------------------------------------------------------------------

// The manifest, read on rank 0 and checked on all. NULL and err on every rank on failure.
static json_t *share_manifest(comm *c, const char *folder, error *err) {
    char *read = comm_rank(c) == 0 ? manifest_read_text(folder, err) : NULL;
    json_t *manifest = NULL;
    if (comm_agree(c, err)) {
        char *text = comm_broadcast_text(c, read, 0);
        manifest = manifest_parse(text, folder, err);
        memory_free(text);
        if (!comm_agree(c, err) && manifest) {
            json_decref(manifest);
            manifest = NULL;
        }
    }
    memory_free(read);
    return manifest;
}

// The files are dealt out to the ranks in the order of the manifest.
static bool check_files(comm *c, const json_t *manifest, const char *folder, error *err) {
    json_t *files = json_object_get(manifest, "files"), *entry;
    const char *name;
    int turn = 0;
    json_object_foreach(files, name, entry) {
        if (turn++ % comm_size(c) != comm_rank(c)) continue;
        if (!manifest_check_file(manifest, folder, name, err)) break;
    }
    return comm_agree(c, err);
}

static bool open_folder(checkpoint *k, comm *c, const char *folder, error *err) {
    if (strlen(folder) >= sizeof k->path)
        return error_set(err, ERROR_INPUT, "the path %s has more than %zu characters", folder, sizeof k->path - 1);
    json_t *manifest = share_manifest(c, folder, err);
    if (!manifest) return false;
    if (!check_files(c, manifest, folder, err)) {
        json_decref(manifest);
        return false;
    }
    *k = (checkpoint){.step = json_integer_value(json_object_get(manifest, "step")),
                      .manifest = manifest,
                      .state = json_object_get(manifest, "state")};
    memcpy(k->path, folder, strlen(folder) + 1);
    return true;
}

// Tries the candidates in order; err is the first one's if none is good. One of another version is whole for all that
// we know: going back behind it would lose work, so it ends the search.
static bool open_first_good(checkpoint *k, comm *c, const candidates *found, int64_t n, error *err) {
    error first = {0};
    for (int64_t i = 0; i < n; i++) {
        char *folder = comm_broadcast_text(c, comm_rank(c) == 0 ? found->paths[i] : NULL, 0);
        error_clear(err);
        bool good = open_folder(k, c, folder, err);
        memory_free(folder);
        if (good) return true;
        if (err->kind == ERROR_VERSION) return false;
        if (i + 1 < n) log_warn("damaged checkpoint: %s; trying the one before it", err->text);
        if (i == 0) first = *err;
    }
    *err = first;
    return n > 1 ? error_prefix(err, "none of %lld checkpoints is whole; the first", (long long)n) : false;
}

bool checkpoint_open(checkpoint *k, comm *c, const char *path, checkpoint_choice which, error *err) {
    *k = (checkpoint){0};
    error_clear(err);
    candidates found = {0};
    if (comm_rank(c) == 0) found = find_candidates(path, which, err);
    bool good = comm_agree(c, err);
    if (good) {
        int64_t n = found.n;
        comm_broadcast(c, &n, sizeof n, 0);
        good = open_first_good(k, c, &found, n, err);
    }
    for (int64_t i = 0; i < found.n; i++) memory_free(found.paths[i]);
    memory_free(found.paths);
    return good;
}

void checkpoint_close(checkpoint *k) {
    json_decref(k->manifest);
    *k = (checkpoint){0};
}

char *checkpoint_read_file(const checkpoint *k, const char *name, size_t *size, error *err) {
    if (!json_object_get(json_object_get(k->manifest, "files"), name)) {
        error_set(err, ERROR_INPUT, "the checkpoint %s has no file %s", k->path, name);
        return NULL;
    }
    char *path = memory_format("%s/%s", k->path, name);
    char *text = text_read(path, size, err);
    if (!text) err->kind = ERROR_DAMAGED;
    memory_free(path);
    return text;
}
