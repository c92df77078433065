// The manifest, read as input from strangers: every name, number and sum in it is checked before anyone uses it.
#include "checkpoint/internal.h"

#include <string.h>

const char *const manifest_part_names[PARTS] = {"parameters", "moment1", "moment2"};

// ---- names --------------------------------------------------------------------------------------------------------

static bool is_dataset_name(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./";
    size_t length = strlen(name);
    return length > 0 && length < 256 && strspn(name, letters) == length;
}

static bool is_checksum(const char *text) { return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32; }

static bool is_printable(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~') return false;
    return true;
}

// ---- rectangles ---------------------------------------------------------------------------------------------------

// A list of one whole number a dimension, each from low up, into out; what it lacks to 2 becomes `rest`.
static bool read_numbers(int64_t out[2], int dimensions, int64_t low, int64_t rest, const json_t *object,
                         const char *key, const char *where, error *err) {
    const json_t *list = json_object_get(object, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)dimensions)
        return error_set(err, ERROR_DAMAGED, "%s: \"%s\" should be a list of %d whole numbers", where, key, dimensions);
    out[1] = rest;
    for (int d = 0; d < dimensions; d++) {
        const json_t *number = json_array_get(list, (size_t)d);
        if (!json_is_integer(number) || json_integer_value(number) < low)
            return error_set(err, ERROR_DAMAGED, "%s: \"%s\" should hold whole numbers from %lld up", where, key,
                             (long long)low);
        out[d] = json_integer_value(number);
    }
    return true;
}

static bool read_shape(manifest_tensor *t, const json_t *entry, const char *where, error *err) {
    int64_t bytes;
    t->dimensions = json_array_size(json_object_get(entry, "shape")) == 1 ? 1 : 2;
    if (!read_numbers(t->shape, t->dimensions, 1, 1, entry, "shape", where, err)) return false;
    if (__builtin_mul_overflow(t->shape[0], t->shape[1], &bytes) || __builtin_mul_overflow(bytes, 4, &bytes))
        return error_set(err, ERROR_DAMAGED, "%s: \"shape\" is larger than any file", where);
    return true;
}

static bool read_piece(manifest_piece *piece, const manifest_tensor *t, const json_t *entry, const json_t *files,
                       const char *where, error *err) {
    if (!json_get_string(entry, "file", &piece->file, NULL, where, err) ||
        !json_get_string(entry, "dataset", &piece->dataset, NULL, where, err) ||
        !read_numbers(piece->offset, t->dimensions, 0, 0, entry, "offset", where, err) ||
        !read_numbers(piece->size, t->dimensions, 1, 1, entry, "size", where, err))
        return false;
    if (!json_object_get(files, piece->file))
        return error_set(err, ERROR_DAMAGED, "%s: a piece lies in a file that \"files\" does not list", where);
    if (!is_dataset_name(piece->dataset))
        return error_set(err, ERROR_DAMAGED, "%s: \"dataset\" is no name of a dataset", where);
    for (int d = 0; d < 2; d++)
        if (piece->size[d] > t->shape[d] || piece->offset[d] > t->shape[d] - piece->size[d])
            return error_set(err, ERROR_DAMAGED, "%s: a piece reaches out of the tensor's shape", where);
    return true;
}

bool manifest_read_tensor(manifest_tensor *t, const json_t *manifest, const char *name, const char *where, error *err) {
    *t = (manifest_tensor){0};
    const json_t *files = json_object_get(manifest, "files");
    const json_t *entry = json_object_get(json_object_get(manifest, "tensors"), name);
    const char *dtype;
    if (!json_get_string(entry, "dtype", &dtype, NULL, where, err)) return false;
    if (strcmp(dtype, "float32")) return error_set(err, ERROR_DAMAGED, "%s: \"dtype\" should be float32", where);
    if (!read_shape(t, entry, where, err)) return false;
    for (int part = 0; part < PARTS; part++) {
        const json_t *list = json_object_get(entry, manifest_part_names[part]);
        if (!list && part != PART_PARAMETERS) continue;
        if (json_array_size(list) == 0)
            return error_set(err, ERROR_DAMAGED, "%s: \"%s\" should be a list of pieces", where,
                             manifest_part_names[part]);
        t->pieces[part] = memory_allocate(json_array_size(list), sizeof *t->pieces[part]);
        for (size_t i = 0; i < json_array_size(list); i++, t->n[part]++)
            if (!read_piece(&t->pieces[part][i], t, json_array_get(list, i), files, where, err)) return false;
    }
    if (!t->n[PART_MOMENT1] != !t->n[PART_MOMENT2])
        return error_set(err, ERROR_DAMAGED, "%s: there is one moment without the other", where);
    return true;
}

void manifest_free_tensor(manifest_tensor *t) {
    for (int part = 0; part < PARTS; part++) memory_free(t->pieces[part]);
    *t = (manifest_tensor){0};
}

static bool overlap(const manifest_piece *a, const manifest_piece *b) {
    for (int d = 0; d < 2; d++)
        if (a->offset[d] >= b->offset[d] + b->size[d] || b->offset[d] >= a->offset[d] + a->size[d]) return false;
    return true;
}

// Rectangles within the shape that do not overlap and have as many elements as the shape hold every element once.
static bool check_cover(const manifest_tensor *t, manifest_part part, const char *where, error *err) {
    const manifest_piece *pieces = t->pieces[part];
    int64_t left = t->shape[0] * t->shape[1];
    for (size_t i = 0; i < t->n[part] && left >= 0; i++) left -= pieces[i].size[0] * pieces[i].size[1];
    bool once = left == 0;
    for (size_t i = 0; once && i < t->n[part]; i++)
        for (size_t j = 0; once && j < i; j++) once = !overlap(&pieces[i], &pieces[j]);
    return once || error_set(err, ERROR_DAMAGED, "%s: the pieces of \"%s\" do not hold every element once", where,
                             manifest_part_names[part]);
}

// ---- the whole ----------------------------------------------------------------------------------------------------

static bool check_head(const json_t *manifest, const char *where, error *err) {
    const char *format, *program, *created;
    int64_t step;
    if (!json_get_string(manifest, "format", &format, NULL, where, err)) return false;
    if (strcmp(format, MANIFEST_FORMAT))
        return error_set(err, ERROR_DAMAGED, "%s: \"format\" should be \"%s\"", where, MANIFEST_FORMAT);
    if (!json_check_version(manifest, MANIFEST_VERSION, where, err) ||
        !json_get_string(manifest, "program", &program, NULL, where, err) ||
        !json_get_string(manifest, "created", &created, NULL, where, err) ||
        !json_get_int(manifest, "step", &step, NULL, where, err))
        return false;
    if (!is_printable(program) || !is_printable(created) || step < 0)
        return error_set(err, ERROR_DAMAGED, "%s: \"program\", \"created\" or \"step\" is not what it should be",
                         where);
    if (!json_is_object(json_object_get(manifest, "state")))
        return error_set(err, ERROR_DAMAGED, "%s: \"state\" should be an object", where);
    return true;
}

static bool check_files(json_t *files, const char *where, error *err) {
    if (!json_is_object(files)) return error_set(err, ERROR_DAMAGED, "%s: \"files\" should be an object", where);
    const char *name, *checksum;
    json_t *entry;
    json_object_foreach(files, name, entry) {
        int64_t bytes;
        if (!file_is_plain_name(name) || !strcmp(name, MANIFEST_FILE) || !strcmp(name, MANIFEST_SEAL))
            return error_set(err, ERROR_DAMAGED, "%s: \"files\" has a name that no file may have", where);
        if (!json_get_int(entry, "bytes", &bytes, NULL, where, err) ||
            !json_get_string(entry, "xxh3_128", &checksum, NULL, where, err))
            return error_prefix(err, "the file %s", name);
        if (bytes < 0 || !is_checksum(checksum))
            return error_set(err, ERROR_DAMAGED, "%s: size or checksum of %s is none", where, name);
    }
    return true;
}

static bool check_tensor(const json_t *manifest, const char *name, const char *where, error *err) {
    if (!file_is_plain_name(name))
        return error_set(err, ERROR_DAMAGED, "%s: \"tensors\" has a name that no tensor may have", where);
    char *at = memory_format("%s: %s", where, name);
    manifest_tensor t;
    bool good = manifest_read_tensor(&t, manifest, name, at, err);
    for (int part = 0; good && part < PARTS; part++)
        if (t.n[part] > 0) good = check_cover(&t, part, at, err);
    manifest_free_tensor(&t);
    memory_free(at);
    return good;
}

static bool check_tensors(const json_t *manifest, const char *where, error *err) {
    json_t *tensors = json_object_get(manifest, "tensors"), *entry;
    if (!json_is_object(tensors)) return error_set(err, ERROR_DAMAGED, "%s: \"tensors\" should be an object", where);
    const char *name;
    json_object_foreach(tensors, name, entry) if (!check_tensor(manifest, name, where, err)) return false;
    return true;
}

bool manifest_check(const json_t *manifest, const char *where, error *err) {
    bool good = check_head(manifest, where, err) && check_files(json_object_get(manifest, "files"), where, err) &&
                check_tensors(manifest, where, err);
    if (!good && err->kind != ERROR_VERSION) err->kind = ERROR_DAMAGED;
    return good;
}

// ---- reading ------------------------------------------------------------------------------------------------------

static bool check_seal(const char *folder, const char *text, size_t size, error *err) {
    char *path = memory_format("%s/%s", folder, MANIFEST_SEAL), *wanted = checksum_seal(MANIFEST_FILE, text, size);
    size_t length;
    char *seal = text_read(path, &length, err);
    bool good = seal && ((length == strlen(wanted) && !memcmp(seal, wanted, length)) ||
                         error_set(err, ERROR_DAMAGED, "%s/%s does not match the checksum in %s", folder, MANIFEST_FILE,
                                   MANIFEST_SEAL));
    memory_free(seal);
    memory_free(wanted);
    memory_free(path);
    return good;
}

char *manifest_read_text(const char *folder, error *err) {
    char *path = memory_format("%s/%s", folder, MANIFEST_FILE);
    size_t size;
    char *text = text_read(path, &size, err);
    if (text && !check_seal(folder, text, size, err)) {
        memory_free(text);
        text = NULL;
    }
    if (!text) err->kind = ERROR_DAMAGED;
    memory_free(path);
    return text;
}

json_t *manifest_parse(const char *text, const char *folder, error *err) {
    char *path = memory_format("%s/%s", folder, MANIFEST_FILE);
    json_t *manifest = json_parse(text, strlen(text), path, err);
    if (!manifest) err->kind = ERROR_DAMAGED;
    if (manifest && !manifest_check(manifest, path, err)) {
        json_decref(manifest);
        manifest = NULL;
    }
    memory_free(path);
    return manifest;
}

bool manifest_check_file(const json_t *manifest, const char *folder, const char *name, error *err) {
    const json_t *entry = json_object_get(json_object_get(manifest, "files"), name);
    long long wanted = json_integer_value(json_object_get(entry, "bytes"));
    char checksum[CHECKSUM_SIZE], *path = memory_format("%s/%s", folder, name);
    long long bytes = file_size(path);
    bool good = bytes == wanted ||
                (bytes < 0 ? error_set(err, ERROR_DAMAGED, "%s is missing", path)
                           : error_set(err, ERROR_DAMAGED, "%s has %lld bytes, not %lld", path, bytes, wanted));
    good = good && checksum_file(checksum, path, err) &&
           (!strcmp(checksum, json_string_value(json_object_get(entry, "xxh3_128"))) ||
            error_set(err, ERROR_DAMAGED, "%s does not match its checksum", path));
    if (!good) err->kind = ERROR_DAMAGED;
    memory_free(path);
    return good;
}
