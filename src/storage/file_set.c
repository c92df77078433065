#include "storage/storage.h"

#include <string.h>

static bool add_path(file_set *s, const char *path, error *err);

static bool add_folder(file_set *s, const char *path, error *err) {
    size_t n;
    char **names = file_list(path, &n, err);
    bool good = names != NULL;
    for (size_t i = 0; names && i < n; i++) {
        if (good && names[i][0] != '.') {
            char *inside = memory_format("%s/%s", path, names[i]);
            good = add_path(s, inside, err);
            memory_free(inside);
        }
        memory_free(names[i]);
    }
    memory_free(names);
    return good;
}

static bool add_path(file_set *s, const char *path, error *err) {
    if (file_is_folder(path)) return add_folder(s, path, err);
    int64_t size = file_size(path);
    if (size < 0)
        return error_set(err, ERROR_INPUT, file_exists(path) ? "%s is neither a file nor a folder" : "there is no %s",
                         path);
    s->paths = memory_grow(s->paths, s->n, &s->paths_capacity, sizeof *s->paths);
    s->sizes = memory_grow(s->sizes, s->n, &s->sizes_capacity, sizeof *s->sizes);
    s->paths[s->n] = memory_string(path);
    s->sizes[s->n++] = size;
    s->bytes += size;
    return true;
}

bool file_set_create(file_set *s, const char *list, char *const *paths, size_t n, error *err) {
    bool good = true;
    *s = (file_set){0};
    for (size_t length; good && *list; list += length + (list[length] == ',')) {
        length = strcspn(list, ",");
        char *path = memory_format("%.*s", (int)length, list);
        if (length > 0) good = add_path(s, path, err);
        memory_free(path);
    }
    for (size_t i = 0; good && i < n; i++) good = add_path(s, paths[i], err);
    return good;
}

void file_set_destroy(file_set *s) {
    for (size_t i = 0; i < s->n; i++) memory_free(s->paths[i]);
    memory_free(s->paths);
    memory_free(s->sizes);
    *s = (file_set){0};
}
