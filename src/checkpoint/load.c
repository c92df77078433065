// Loading: intersect the rectangles that were saved with the one that this rank holds, and read what is common.
//
//         a tensor, saved by two ranks as rows       read by the second of two ranks that split it by columns
//         +-------------------------------+          +---------------+---------------+
//         | shard 0                       |          |               | from shard 0  |
//         +-------------------------------+          |               +---------------+
//         | shard 1                       |          |               | from shard 1  |
//         +-------------------------------+          +---------------+---------------+
#include "checkpoint/internal.h"

#include <stdlib.h>
#include <string.h>

// One hyperslab to read. Strings belong to the manifest, data to the table.
typedef struct {
    const char *file, *dataset;
    int dimensions;
    int64_t shape[2];           // that the dataset must have
    int64_t offset[2], size[2]; // within the dataset
    float *data;                // row-major, rows `stride` apart
    int64_t stride;
    size_t order; // in which it was planned
} hyperslab;

typedef struct {
    hyperslab *items;
    size_t n, capacity;
} plan;

// ---- planning -----------------------------------------------------------------------------------------------------

// Adds what a piece and a row of the table have in common; returns the number of its elements.
static int64_t plan_piece(plan *todo, const manifest_tensor *t, const manifest_piece *piece, const parameter *p,
                          float *data) {
    int64_t first[2], size[2];
    for (int d = 0; d < 2; d++) {
        int64_t piece_end = piece->offset[d] + piece->size[d], end = p->offset[d] + p->size[d];
        first[d] = piece->offset[d] > p->offset[d] ? piece->offset[d] : p->offset[d];
        size[d] = (piece_end < end ? piece_end : end) - first[d];
        if (size[d] <= 0) return 0;
    }
    todo->items = memory_grow(todo->items, todo->n, &todo->capacity, sizeof *todo->items);
    todo->items[todo->n] = (hyperslab){.file = piece->file,
                                       .dataset = piece->dataset,
                                       .dimensions = t->dimensions,
                                       .shape = {piece->size[0], piece->size[1]},
                                       .offset = {first[0] - piece->offset[0], first[1] - piece->offset[1]},
                                       .size = {size[0], size[1]},
                                       .data = data + (first[0] - p->offset[0]) * p->size[1] + first[1] - p->offset[1],
                                       .stride = p->size[1],
                                       .order = todo->n};
    todo->n++;
    return size[0] * size[1];
}

static void plan_part(plan *todo, const manifest_tensor *t, manifest_part part, const parameter *p, float *data) {
    int64_t planned = 0;
    for (size_t i = 0; i < t->n[part]; i++) planned += plan_piece(todo, t, &t->pieces[part][i], p, data);
    REQUIRE(planned == parameter_count(p)); // the manifest's pieces hold every element once
}

static bool check_fit(const manifest_tensor *t, const parameter *p, bool moments, const char *path, error *err) {
    if (t->dimensions != p->dimensions || t->shape[0] != p->shape[0] || t->shape[1] != p->shape[1])
        return error_set(err, ERROR_INPUT, "%s has %s of %lld x %lld, the model wants %lld x %lld", path, p->name,
                         (long long)t->shape[0], (long long)t->shape[1], (long long)p->shape[0],
                         (long long)p->shape[1]);
    if (moments && !t->n[PART_MOMENT1])
        return error_set(err, ERROR_INPUT, "%s has no optimizer moments of %s", path, p->name);
    return true;
}

static bool plan_row(plan *todo, const checkpoint *k, const parameter *p, bool moments, error *err) {
    if (!json_object_get(json_object_get(k->manifest, "tensors"), p->name))
        return error_set(err, ERROR_INPUT, "%s has no tensor %s", k->path, p->name);
    manifest_tensor t;
    bool good = manifest_read_tensor(&t, k->manifest, p->name, k->path, err) && check_fit(&t, p, moments, k->path, err);
    if (good && parameter_count(p) > 0) {
        plan_part(todo, &t, PART_PARAMETERS, p, p->value);
        parameter own = *p;
        own.offset[0] += p->own_first;
        own.size[0] = p->own_rows;
        if (moments && own.size[0]) {
            plan_part(todo, &t, PART_MOMENT1, &own, p->moment1);
            plan_part(todo, &t, PART_MOMENT2, &own, p->moment2);
        }
    }
    manifest_free_tensor(&t);
    return good;
}

// ---- reading ------------------------------------------------------------------------------------------------------

static int by_file(const void *a, const void *b) {
    const hyperslab *x = a, *y = b;
    int files = strcmp(x->file, y->file);
    return files ? files : x->order < y->order ? -1 : x->order > y->order;
}

static bool read_hyperslab(h5_file *file, const hyperslab *h, error *err) {
    int dimensions;
    int64_t shape[2];
    if (!h5_shape(file, h->dataset, H5_FLOAT32, &dimensions, shape, err)) return false;
    if (dimensions != h->dimensions || shape[0] != h->shape[0] || shape[1] != h->shape[1])
        return error_set(err, ERROR_DAMAGED, "%s in %s has another shape than its piece in the manifest", h->dataset,
                         h->file);
    return h5_read(file, h->dataset, H5_FLOAT32, h->offset, h->size, h->data, h->stride, err);
}

// The hyperslabs of one file, count of them.
static bool read_from(const char *folder, const hyperslab *items, size_t count, error *err) {
    char *path = memory_format("%s/%s", folder, items->file);
    h5_file *file = h5_open(path, err);
    bool good = file != NULL;
    for (size_t i = 0; good && i < count; i++) good = read_hyperslab(file, &items[i], err);
    if (file) good = h5_close(file, good ? err : &(error){0}) && good;
    if (!good) err->kind = ERROR_DAMAGED;
    memory_free(path);
    return good;
}

static bool read_all(plan *todo, const char *folder, error *err) {
    if (todo->n > 0) qsort(todo->items, todo->n, sizeof *todo->items, by_file);
    bool good = true;
    for (size_t i = 0, next; good && i < todo->n; i = next) {
        for (next = i + 1; next < todo->n && !strcmp(todo->items[next].file, todo->items[i].file);) next++;
        good = read_from(folder, &todo->items[i], next - i, err);
    }
    return good;
}

bool checkpoint_load(const checkpoint *k, comm *c, parameter_table *table, bool moments,
                     bool (*skip)(const char *name, void *context), void *context, error *err) {
    plan todo = {0};
    bool good = true;
    error_clear(err);
    for (size_t i = 0; good && i < table->n; i++) {
        good = plan_row(&todo, k, &table->rows[i], moments, err);
        if (!good && err->kind == ERROR_INPUT && skip && skip(table->rows[i].name, context)) {
            error_clear(err);
            good = true;
        }
    }
    if (good) read_all(&todo, k->path, err);
    memory_free(todo.items);
    return comm_agree(c, err);
}
