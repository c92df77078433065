// Writing safetensors: the header first, then element after element.
#include "storage/storage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct safetensors_writer {
    char *path, *draft;
    FILE *file;
    int64_t left; // elements that are still to come
};

static int64_t count_of(const safetensors_tensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->dimensions; d++) n *= t->shape[d];
    return n;
}

// Of n tensors; *elements is how many all have.
static json_t *make_header(const safetensors_tensor *tensors, size_t n, int64_t *elements) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    *elements = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < tensors[i].dimensions; d++) json_array_append_new(shape, json_integer(tensors[i].shape[d]));
        int64_t begin = *elements * 4;
        *elements += count_of(&tensors[i]);
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                  (json_int_t)begin, (json_int_t)(*elements * 4));
        bool added = !json_object_get(header, tensors[i].name) && !json_object_set_new(header, tensors[i].name, entry);
        REQUIRE(added);
    }
    return header;
}

static bool fail(const safetensors_writer *w, error *err) {
    return error_set(err, ERROR_INTERNAL, "cannot write %s: %s", w->draft, strerror(errno));
}

static bool write_header(safetensors_writer *w, const json_t *header, error *err) {
    size_t length;
    char *text = json_format(header, false, &length);
    uint64_t padded = (length + 7) / 8 * 8; // so that the data is aligned
    bool good = fwrite(&padded, sizeof padded, 1, w->file) == 1 &&
                fprintf(w->file, "%s%*s", text, (int)(padded - length), "") == (int)padded;
    memory_free(text);
    return good || fail(w, err);
}

safetensors_writer *safetensors_create(const char *path, const safetensors_tensor *tensors, size_t n, error *err) {
    safetensors_writer *w = memory_allocate(1, sizeof *w);
    w->path = memory_string(path);
    w->draft = memory_format("%s.tmp", path);
    json_t *header = make_header(tensors, n, &w->left);
    w->file = fopen(w->draft, "wb");
    bool good = w->file ? write_header(w, header, err)
                        : error_set(err, ERROR_INPUT, "cannot create %s: %s", w->draft, strerror(errno));
    json_decref(header);
    if (good) return w;
    safetensors_finish(w, false, &(error){0});
    return NULL;
}

bool safetensors_write(safetensors_writer *w, const float *data, int64_t n, error *err) {
    REQUIRE(n >= 0 && n <= w->left);
    w->left -= n;
    return fwrite(data, sizeof *data, (size_t)n, w->file) == (size_t)n || fail(w, err);
}

bool safetensors_finish(safetensors_writer *w, bool commit, error *err) {
    REQUIRE(!commit || w->left == 0);
    bool good = commit && ((!fflush(w->file) && !fsync(fileno(w->file))) || fail(w, err));
    if (w->file && fclose(w->file) && good) good = fail(w, err);
    good = good && file_rename(w->draft, w->path, err);
    if (w->file && !good) unlink(w->draft);
    memory_free(w->draft);
    memory_free(w->path);
    memory_free(w);
    return good || !commit;
}
