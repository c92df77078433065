// Reading safetensors: headers are parsed and checked whole, data is read where it is wanted. See storage.h.
#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are read as they are");

#define FILES_MOST 256 // of a split model; all are open at once
#define BLOCK_BYTES 65536

static const struct {
    const char *name;
    int64_t size;
} types[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4},  {"I16", 2},     {"I8", 1},
             {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"C64", 8}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

struct safetensors {
    char *paths[FILES_MOST];
    int descriptors[FILES_MOST];
    size_t files;
    safetensors_tensor *tensors;
    size_t n, capacity;
};

static int64_t type_size(const char *type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].name)) return types[i].size;
    return 0;
}

static const char *type_of(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].name)) return types[i].name;
    return NULL;
}

static bool read_bytes(const safetensors *s, size_t file, void *out, int64_t size, int64_t at, error *err) {
    for (char *to = out; size > 0;) {
        ssize_t got = pread(s->descriptors[file], to, size < 1 << 30 ? (size_t)size : 1 << 30, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set(err, ERROR_INTERNAL, "cannot read %s: %s", s->paths[file], strerror(errno));
        if (got == 0) return error_set(err, ERROR_INPUT, "%s was cut off while it was read", s->paths[file]);
        to += got;
        at += got;
        size -= got;
    }
    return true;
}

// ---- the header ---------------------------------------------------------------------------------------------------

static bool wrong(const safetensors_tensor *t, const char *path, const char *what, error *err) {
    return error_set(err, ERROR_INPUT, "%s: tensor \"%.200s\": %s", path, t->name, what);
}

// *bytes is an element's size, and then the tensor's.
static bool read_shape(safetensors_tensor *t, int64_t *bytes, const json_t *entry, const char *path, error *err) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_DIMENSIONS)
        return wrong(t, path, "\"shape\" should be a list of at most 8 whole numbers", err);
    t->dimensions = (int)json_array_size(shape);
    for (int d = 0; d < t->dimensions; d++) {
        const json_t *number = json_array_get(shape, (size_t)d);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return wrong(t, path, "\"shape\" should hold whole numbers from 0 up", err);
        t->shape[d] = json_integer_value(number);
        if (__builtin_mul_overflow(*bytes, t->shape[d], bytes))
            return wrong(t, path, "\"shape\" is larger than any file", err);
    }
    return true;
}

// *end is where it ends, counted like t->begin.
static bool read_entry(safetensors_tensor *t, int64_t *end, const json_t *entry, int64_t data, int64_t size,
                       const char *path, error *err) {
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    t->type = type ? type_of(type) : NULL;
    if (!t->type) return wrong(t, path, "\"dtype\" is missing, or none that paf knows", err);
    int64_t bytes = type_size(t->type);
    if (!read_shape(t, &bytes, entry, path, err)) return false;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return wrong(t, path, "\"data_offsets\" should be two whole numbers", err);
    int64_t first = json_integer_value(from), last = json_integer_value(to);
    if (first < 0 || last < first || last > size - data)
        return wrong(t, path, "\"data_offsets\" do not lie within the file", err);
    if (last - first != bytes) return wrong(t, path, "\"data_offsets\" do not fit its shape and type", err);
    t->begin = data + first;
    *end = data + last;
    return true;
}

typedef struct {
    int64_t begin, end;
    const char *name;
} extent;

static int by_begin(const void *a, const void *b) {
    const extent *x = a, *y = b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : (x->end > y->end) - (x->end < y->end);
}

// The tensors lie one behind the other, from the end of the header to the end of the file.
static bool check_extents(extent *all, size_t n, int64_t data, int64_t size, const char *path, error *err) {
    if (n > 1) qsort(all, n, sizeof *all, by_begin);
    int64_t at = data;
    for (size_t i = 0; i < n; at = all[i++].end)
        if (all[i].begin != at)
            return error_set(err, ERROR_INPUT, "%s: there is %s before tensor \"%.200s\"", path,
                             all[i].begin > at ? "a gap" : "an overlap", all[i].name);
    return at == size ||
           error_set(err, ERROR_INPUT, "%s: %lld bytes at its end belong to no tensor", path, (long long)(size - at));
}

// Adds the tensors of a file. The JSON lives only as long as this.
static bool add_tensors(safetensors *s, const json_t *header, int64_t data, int64_t size, error *err) {
    const char *path = s->paths[s->files - 1], *name;
    extent *extents = memory_allocate(json_object_size(header) + 1, sizeof *extents);
    json_t *entry;
    size_t n = 0;
    bool good = true;
    json_object_foreach((json_t *)header, name, entry) {
        if (!strcmp(name, "__metadata__")) continue;
        s->tensors = memory_grow(s->tensors, s->n, &s->capacity, sizeof *s->tensors);
        safetensors_tensor *t = &s->tensors[s->n++];
        *t = (safetensors_tensor){.name = memory_string(name), .file = s->files - 1};
        extents[n].name = t->name;
        good = read_entry(t, &extents[n].end, entry, data, size, path, err);
        if (!good) break;
        extents[n++].begin = t->begin;
    }
    good = good && check_extents(extents, n, data, size, path, err);
    memory_free(extents);
    return good;
}

static bool read_header(safetensors *s, int64_t size, error *err) {
    const char *path = s->paths[s->files - 1];
    uint64_t length;
    if (size < 8) return error_set(err, ERROR_INPUT, "%s is too short for a safetensors file", path);
    if (!read_bytes(s, s->files - 1, &length, 8, 0, err)) return false;
    if (length > (uint64_t)size - 8 || length > (uint64_t)SAFETENSORS_HEADER_MOST)
        return error_set(err, ERROR_INPUT, "%s: its header would have %llu bytes; this is no safetensors file", path,
                         (unsigned long long)length);
    char *text = memory_allocate(length + 1, 1);
    bool good = read_bytes(s, s->files - 1, text, (int64_t)length, 8, err);
    if (good && text[0] != '{') good = error_set(err, ERROR_INPUT, "%s: its header is no JSON object", path);
    json_t *header = good ? json_parse(text, length, path, err) : NULL;
    memory_free(text);
    good = header && add_tensors(s, header, 8 + (int64_t)length, size, err);
    json_decref(header);
    return good;
}

static bool add_file(safetensors *s, const char *path, error *err) {
    int64_t size = file_size(path);
    if (size < 0) return error_set(err, ERROR_INPUT, "there is no file %s", path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return error_set(err, ERROR_INPUT, "cannot open %s: %s", path, strerror(errno));
    s->paths[s->files] = memory_string(path);
    s->descriptors[s->files++] = descriptor;
    return read_header(s, size, err);
}

// ---- all tensors by name --------------------------------------------------------------------------------------------

static int by_name(const void *a, const void *b) {
    return strcmp(((const safetensors_tensor *)a)->name, ((const safetensors_tensor *)b)->name);
}

static bool sort(safetensors *s, error *err) {
    if (s->n > 1) qsort(s->tensors, s->n, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (!by_name(&s->tensors[i - 1], &s->tensors[i]))
            return error_set(err, ERROR_INPUT, "%s and %s both have a tensor \"%.200s\"",
                             s->paths[s->tensors[i - 1].file], s->paths[s->tensors[i].file], s->tensors[i].name);
    return true;
}

const safetensors_tensor *safetensors_list(const safetensors *s, size_t *n) {
    *n = s->n;
    return s->tensors;
}

const safetensors_tensor *safetensors_find(const safetensors *s, const char *name) {
    const safetensors_tensor key = {.name = (char *)name};
    return s->n ? bsearch(&key, s->tensors, s->n, sizeof key, by_name) : NULL;
}

// ---- split models -------------------------------------------------------------------------------------------------

static bool is_plain_name(const char *name) { return *name && *name != '.' && !strchr(name, '/'); }

// Adds the file, if it is not there yet.
static bool add_split(safetensors *s, const char *folder, const char *name, const char *index, error *err) {
    if (!is_plain_name(name)) return error_set(err, ERROR_INPUT, "%s: \"%.200s\" leads out of the folder", index, name);
    char *path = memory_format("%s/%s", folder, name);
    bool known = false;
    for (size_t i = 0; i < s->files; i++) known = known || !strcmp(s->paths[i], path);
    bool good = known ||
                (s->files < FILES_MOST ? add_file(s, path, err)
                                       : error_set(err, ERROR_INPUT, "%s names more than %d files", index, FILES_MOST));
    memory_free(path);
    return good;
}

// Every tensor is where the index says.
static bool check_index(const safetensors *s, const json_t *map, const char *index, error *err) {
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)map, name, file) {
        const safetensors_tensor *t = safetensors_find(s, name);
        const char *wanted = json_string_value(file);
        if (!t || strcmp(strrchr(s->paths[t->file], '/') + 1, wanted))
            return error_set(err, ERROR_INPUT, "%s: tensor \"%.200s\" is not in %.200s", index, name, wanted);
    }
    return true;
}

static bool add_index(safetensors *s, const char *folder, const char *index, error *err) {
    json_t *json = json_read_foreign(index, err), *map = json_object_get(json, "weight_map"), *file;
    const char *name;
    bool good = json != NULL;
    if (good && json_object_size(map) == 0)
        good = error_set(err, ERROR_INPUT, "%s: \"weight_map\" should be an object of file names", index);
    json_object_foreach(map, name, file) {
        if (!good) break;
        good = json_is_string(file) ? add_split(s, folder, json_string_value(file), index, err)
                                    : error_set(err, ERROR_INPUT, "%s: \"%.200s\" has no file name", index, name);
    }
    good = good && sort(s, err) && check_index(s, map, index, err);
    json_decref(json);
    return good;
}

static bool add_folder(safetensors *s, const char *folder, error *err) {
    char *whole = memory_format("%s/model.safetensors", folder), *index = memory_format("%s.index.json", whole);
    char *pickled = memory_format("%s/pytorch_model.bin", folder);
    bool good = file_exists(whole) ? add_file(s, whole, err) && sort(s, err)
                : file_exists(index)
                    ? add_index(s, folder, index, err)
                    : error_set(err, ERROR_INPUT,
                                file_exists(pickled) ? "%s has a pytorch_model.bin, which only PyTorch can read; save "
                                                       "the model as model.safetensors"
                                                     : "%s has neither model.safetensors nor its index",
                                folder);
    memory_free(pickled);
    memory_free(index);
    memory_free(whole);
    return good;
}

// ---- open and close ----------------------------------------------------------------------------------------------

safetensors *safetensors_open(const char *path, error *err) {
    safetensors *s = memory_allocate(1, sizeof *s);
    if (file_is_folder(path) ? add_folder(s, path, err) : add_file(s, path, err) && sort(s, err)) return s;
    safetensors_close(s);
    return NULL;
}

void safetensors_close(safetensors *s) {
    if (!s) return;
    for (size_t i = 0; i < s->files; i++) {
        close(s->descriptors[i]);
        memory_free(s->paths[i]);
    }
    for (size_t i = 0; i < s->n; i++) memory_free(s->tensors[i].name);
    memory_free(s->tensors);
    memory_free(s);
}

// ---- data ---------------------------------------------------------------------------------------------------------

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 0) { // zero, or a multiple of the smallest half
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

typedef union {
    uint16_t shorts[BLOCK_BYTES / 2];
    double doubles[BLOCK_BYTES / 8];
} read_block;

static void convert(float *out, const read_block *block, const char *type, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        out[i] = !strcmp(type, "BF16")  ? from_bits((uint32_t)block->shorts[i] << 16)
                 : !strcmp(type, "F16") ? from_half(block->shorts[i])
                                        : (float)block->doubles[i];
}

// n elements that follow each other, from element `first` of the tensor.
static bool read_run(const safetensors *s, const safetensors_tensor *t, int64_t first, int64_t n, float *data,
                     error *err) {
    int64_t size = type_size(t->type), at = t->begin + first * size;
    if (!strcmp(t->type, "F32")) return read_bytes(s, t->file, data, n * size, at, err);
    read_block block;
    for (int64_t done = 0, count; done < n; done += count) {
        count = n - done < BLOCK_BYTES / size ? n - done : BLOCK_BYTES / size;
        if (!read_bytes(s, t->file, &block, count * size, at + done * size, err)) return false;
        convert(data + done, &block, t->type, count);
    }
    return true;
}

static bool is_readable(const safetensors_tensor *t) {
    static const char *const readable[] = {"F32", "F16", "BF16", "F64"};
    bool known = false;
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) known = known || !strcmp(t->type, readable[i]);
    return known && (t->dimensions == 1 || t->dimensions == 2);
}

bool safetensors_read(const safetensors *s, const safetensors_tensor *t, const int64_t offset[2], const int64_t size[2],
                      float *data, int64_t row_stride, error *err) {
    if (!is_readable(t))
        return error_set(err, ERROR_INPUT,
                         "%s: tensor \"%.200s\" has type %s and %d dimensions; paf reads F32, F16, "
                         "BF16 and F64 of 1 or 2",
                         s->paths[t->file], t->name, t->type, t->dimensions);
    int64_t width = t->dimensions == 2 ? t->shape[1] : 1;
    REQUIRE(offset[0] >= 0 && size[0] >= 0 && size[0] <= t->shape[0] - offset[0]);
    REQUIRE(offset[1] >= 0 && size[1] >= 0 && size[1] <= width - offset[1]);
    if (size[0] == 0 || size[1] == 0) return true;
    if (size[1] == width && row_stride == width) return read_run(s, t, offset[0] * width, size[0] * width, data, err);
    bool good = true;
    for (int64_t r = 0; good && r < size[0]; r++)
        good = read_run(s, t, (offset[0] + r) * width + offset[1], size[1], data + r * row_stride, err);
    return good;
}
