#include "tensor/tensor.h"

#include <string.h>
#include <xxhash.h>

#define ALIGNED_FLOATS (MEMORY_ALIGNMENT / (int64_t)sizeof(float))

static size_t append(parameter_table *table, const char *name, parameter p) {
    REQUIRE(strlen(name) < sizeof p.name);
    REQUIRE(!parameter_find(table, name));
    memcpy(p.name, name, strlen(name) + 1);
    for (int d = 0; d < 2; d++) REQUIRE(p.offset[d] >= 0 && p.size[d] >= 0 && p.offset[d] + p.size[d] <= p.shape[d]);
    if (!parameter_count(&p)) p.size[0] = p.size[1] = 0;
    p.own_rows = p.size[0];
    table->rows = memory_grow(table->rows, table->n, &table->capacity, sizeof *table->rows);
    table->rows[table->n] = p;
    return table->n++;
}

size_t parameter_add(parameter_table *table, const char *name, int dimensions, int64_t rows, int64_t columns,
                     parameter_split split, int64_t first, int64_t count, bool writer, bool decay,
                     parameter_initial initial) {
    REQUIRE(dimensions == 2 || (dimensions == 1 && columns == 1));
    REQUIRE(split != SPLIT_TILES);
    parameter p = {.dimensions = dimensions,
                   .shape = {rows, columns},
                   .split = split,
                   .size = {rows, columns},
                   .decay = decay,
                   .writer = writer,
                   .initial = initial};
    if (split != SPLIT_NONE) {
        int d = split == SPLIT_ROWS ? 0 : 1;
        p.offset[d] = first;
        p.size[d] = count;
    }
    return append(table, name, p);
}

size_t parameter_add_tile(parameter_table *table, const char *name, int64_t rows, int64_t columns,
                          const int64_t first[2], const int64_t count[2], bool decay, parameter_initial initial) {
    return append(table, name,
                  (parameter){.dimensions = 2,
                              .shape = {rows, columns},
                              .split = SPLIT_TILES,
                              .offset = {first[0], first[1]},
                              .size = {count[0], count[1]},
                              .decay = decay,
                              .writer = count[0] && count[1],
                              .initial = initial});
}

int64_t parameter_count(const parameter *p) { return p->size[0] * p->size[1]; }

parameter *parameter_find(const parameter_table *table, const char *name) {
    for (size_t i = 0; i < table->n; i++)
        if (!strcmp(table->rows[i].name, name)) return &table->rows[i];
    return NULL;
}

void parameter_own(parameter *p, int64_t first, int64_t rows) {
    REQUIRE(first >= 0 && rows >= 0 && first + rows <= p->size[0]);
    p->own_first = first;
    p->own_rows = rows;
}

int64_t parameter_own_first(const parameter *p) { return p->own_first * p->size[1]; }
int64_t parameter_own_count(const parameter *p) { return p->own_rows * p->size[1]; }

static int64_t padded(int64_t floats) { return (floats + ALIGNED_FLOATS - 1) / ALIGNED_FLOATS * ALIGNED_FLOATS; }

static int64_t padded_count(const parameter *p) { return padded(parameter_count(p)); }

static float *allocate_floats(int64_t n) { return memory_allocate_aligned((size_t)n, sizeof(float)); }

void parameter_measure(parameter_table *table) {
    table->replicated = table->total = table->owned = 0;
    for (size_t i = 0; i < table->n; i++) {
        table->total += padded_count(&table->rows[i]);
        table->owned += padded(parameter_own_count(&table->rows[i]));
        if (table->rows[i].split == SPLIT_NONE) table->replicated += padded_count(&table->rows[i]);
    }
}

// Floats of the moments' front part.
static int64_t owned_replicated(const parameter_table *table) {
    int64_t n = 0;
    for (size_t i = 0; i < table->n; i++)
        if (table->rows[i].split == SPLIT_NONE) n += padded(parameter_own_count(&table->rows[i]));
    return n;
}

void parameter_allocate(parameter_table *table, bool gradients, bool moments) {
    parameter_measure(table);
    table->values = allocate_floats(table->total);
    if (gradients) table->gradients = allocate_floats(table->total);
    if (moments) {
        table->moments1 = allocate_floats(table->owned);
        table->moments2 = allocate_floats(table->owned);
    }
    int64_t front = 0, back = table->replicated, own_front = 0, own_back = owned_replicated(table);
    for (size_t i = 0; i < table->n; i++) {
        parameter *p = &table->rows[i];
        int64_t *at = p->split == SPLIT_NONE ? &front : &back, *own = p->split == SPLIT_NONE ? &own_front : &own_back;
        p->value = table->values + *at;
        if (gradients) p->gradient = table->gradients + *at;
        if (moments) {
            p->moment1 = table->moments1 + *own;
            p->moment2 = table->moments2 + *own;
        }
        *at += padded_count(p);
        *own += padded(parameter_own_count(p));
    }
}

// Element (r, c) of the logical tensor is half of the normal pair of block (row r, column c / 2).
static void fill_normal(parameter *p, random_stream stream, double deviation) {
    for (int64_t r = 0; r < p->size[0]; r++)
        for (int64_t c = 0; c < p->size[1];) {
            int64_t column = p->offset[1] + c;
            double pair[2];
            random_normal_pair(pair, stream, (uint64_t)(p->offset[0] + r), (uint32_t)(column / 2));
            float *value = p->value + r * p->size[1] + c;
            value[0] = (float)(deviation * pair[column % 2]);
            if (column % 2 == 0 && c + 1 < p->size[1]) value[1] = (float)(deviation * pair[1]), c++;
            c++;
        }
}

void parameter_initialise(parameter_table *table, uint64_t seed, double deviation) {
    for (size_t i = 0; i < table->n; i++) {
        parameter *p = &table->rows[i];
        if (p->initial == INITIAL_NORMAL)
            fill_normal(p, random_stream_create(seed, RANDOM_WEIGHTS, XXH3_64bits(p->name, strlen(p->name)), 0),
                        deviation);
        else
            for (int64_t j = 0; j < parameter_count(p); j++) p->value[j] = p->initial == INITIAL_ONE;
    }
}

void parameter_zero_gradients(parameter_table *table) {
    memset(table->gradients, 0, (size_t)table->total * sizeof *table->gradients);
}

void parameter_destroy(parameter_table *table) {
    memory_free(table->values);
    memory_free(table->gradients);
    memory_free(table->moments1);
    memory_free(table->moments2);
    memory_free(table->rows);
    *table = (parameter_table){0};
}
