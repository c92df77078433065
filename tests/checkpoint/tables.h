// Parameter tables built by hand, in many layouts, whose every element is known by its tensor and place.
#ifndef PAF_TESTS_CHECKPOINT_TABLES_H
#define PAF_TESTS_CHECKPOINT_TABLES_H

#include "../support.h"

#include "checkpoint/checkpoint.h"

// The ranks of these tests wait for each other, so a check that fails on one of them ends all: use REQUIRE, or `must`.
static inline void must(bool good, const error *err) {
    if (!good) FATAL("%s", err->text);
}

typedef enum {
    LAYOUT_WHOLE,   // every rank has everything, rank 0 writes
    LAYOUT_ROWS,    // rows are shared out
    LAYOUT_COLUMNS, // columns are shared out; of vectors, rows
    LAYOUT_MIXED,   // columns, rows and whole ones in turn
    LAYOUT_LAST,    // the last rank has everything, the others nothing
    LAYOUT_PAIRS,   // ranks 2k and 2k + 1 have the same rows, 2k writes
    LAYOUTS
} table_layout;

typedef struct {
    const char *name;
    int dimensions;
    int64_t rows, columns;
} table_tensor;

static const table_tensor table_tensors[] = {
    {"encoder.layer.0.attention.self.query.weight", 2, 12, 20},
    {"tall", 2, 700, 400}, // more than what is read back in one go
    {"wide", 2, 3, 31},
    {"vector", 1, 23, 1},
    {"one", 1, 1, 1},
    {"row", 2, 1, 9},
    {"column", 2, 9, 1},
};
#define TABLE_TENSORS (sizeof table_tensors / sizeof *table_tensors)

static inline void table_add(parameter_table *table, const table_tensor *t, size_t turn, table_layout layout, int rank,
                             int size) {
    if (layout == LAYOUT_MIXED) layout = turn % 3 == 0 ? LAYOUT_COLUMNS : turn % 3 == 1 ? LAYOUT_ROWS : LAYOUT_WHOLE;
    bool writer = true;
    int64_t first = 0, count = t->rows;
    parameter_split split = SPLIT_ROWS;
    if (layout == LAYOUT_WHOLE) {
        split = SPLIT_NONE;
        writer = rank == 0;
    } else if (layout == LAYOUT_LAST) {
        if (rank < size - 1) count = 0;
    } else {
        int share = layout == LAYOUT_PAIRS ? rank / 2 : rank, shares = layout == LAYOUT_PAIRS ? (size + 1) / 2 : size;
        int64_t n = t->rows;
        if (layout == LAYOUT_COLUMNS && t->dimensions == 2) split = SPLIT_COLUMNS, n = t->columns;
        first = n * share / shares;
        count = n * (share + 1) / shares - first;
        writer = layout != LAYOUT_PAIRS || rank % 2 == 0;
    }
    parameter_add(table, t->name, t->dimensions, t->rows, t->columns, split, first, count, writer, true, INITIAL_ZERO);
}

static inline parameter_table table_build(table_layout layout, int rank, int size, bool moments) {
    parameter_table table = {0};
    for (size_t i = 0; i < TABLE_TENSORS; i++) table_add(&table, &table_tensors[i], i, layout, rank, size);
    parameter_allocate(&table, false, moments);
    return table;
}

// What element (row, column) of a part of a tensor is in a version.
static inline float table_element(size_t tensor, int part, int version, int64_t row, int64_t column) {
    uint32_t h = (uint32_t)(row * 40503 + column) * 2654435761u + (uint32_t)tensor * 2246822519u;
    h = (h ^ (h >> 15)) * 3266489917u + (uint32_t)(part * 97 + version) * 668265263u;
    return (float)(h >> 8) * 0x1p-24f;
}

static inline float *table_part(parameter *p, int part) {
    return part == 0 ? p->value : part == 1 ? p->moment1 : p->moment2;
}

static inline void table_fill(parameter_table *table, int version, bool moments) {
    for (size_t i = 0; i < table->n; i++)
        for (int part = 0; part < (moments ? 3 : 1); part++)
            for (int64_t r = 0; r < table->rows[i].size[0]; r++)
                for (int64_t c = 0; c < table->rows[i].size[1]; c++)
                    table_part(&table->rows[i], part)[r * table->rows[i].size[1] + c] =
                        table_element(i, part, version, table->rows[i].offset[0] + r, table->rows[i].offset[1] + c);
}

static inline bool table_is_row(parameter_table *table, size_t i, int version, bool moments) {
    parameter *p = &table->rows[i];
    for (int part = 0; part < (moments ? 3 : 1); part++)
        for (int64_t r = 0; r < p->size[0]; r++)
            for (int64_t c = 0; c < p->size[1]; c++)
                if (table_part(p, part)[r * p->size[1] + c] !=
                    table_element(i, part, version, p->offset[0] + r, p->offset[1] + c))
                    return false;
    return true;
}

static inline bool table_is(parameter_table *table, int version, bool moments) {
    for (size_t i = 0; i < table->n; i++)
        if (!table_is_row(table, i, version, moments)) return false;
    return true;
}

// Saves version `version` of everything under a step, from all ranks of c.
static inline bool table_save(comm *c, const char *run, int64_t step, int version, table_layout layout, error *err) {
    parameter_table table = table_build(layout, comm_rank(c), comm_size(c), true);
    table_fill(&table, version, true);
    char text[32];
    snprintf(text, sizeof text, "version %d\n", version);
    const checkpoint_file file = {"note.txt", text, strlen(text)};
    json_t *state = json_pack("{s:i, s:[s, s]}", "version", version, "labels", "no", "yes");
    bool good = checkpoint_save(c, run, step, &table, true, state, &file, 1, err);
    json_decref(state);
    parameter_destroy(&table);
    return good;
}

// Is an open checkpoint `version` in every part?
static inline bool table_holds(const checkpoint *k, comm *c, int version, table_layout layout) {
    error err = {0};
    parameter_table table = table_build(layout, comm_rank(c), comm_size(c), true);
    table_fill(&table, -1, true);
    bool good = checkpoint_load(k, c, &table, true, NULL, NULL, &err) && table_is(&table, version, true);
    char wanted[32], *note = checkpoint_read_file(k, "note.txt", NULL, &err);
    snprintf(wanted, sizeof wanted, "version %d\n", version);
    good = good && note && !strcmp(note, wanted) && json_integer_value(json_object_get(k->state, "version")) == version;
    memory_free(note);
    parameter_destroy(&table);
    return good;
}

// One folder for all ranks, made by rank 0.
static inline char *shared_folder(comm *c) {
    char *mine = comm_rank(c) == 0 ? test_folder() : NULL, *path = comm_broadcast_text(c, mine, 0);
    memory_free(mine);
    return path;
}

static inline void remove_shared_folder(comm *c, char *path) {
    error err;
    comm_barrier(c);
    if (comm_rank(c) == 0) must(file_remove_tree(path, &err), &err);
    comm_barrier(c);
    memory_free(path);
}

// The names in a folder, joined by blanks; caller frees.
static inline char *names_in(const char *path) {
    error err;
    size_t n;
    char **names = file_list(path, &n, &err), *joined = memory_string("");
    must(names != NULL, &err);
    for (size_t i = 0; i < n; i++) {
        char *longer = memory_format("%s%s%s", joined, i ? " " : "", names[i]);
        memory_free(joined);
        memory_free(names[i]);
        joined = longer;
    }
    memory_free(names);
    return joined;
}

static inline bool names_are(const char *path, const char *wanted) {
    char *names = names_in(path);
    bool same = !strcmp(names, wanted);
    if (!same) printf("%s has: %s\n", path, names);
    memory_free(names);
    return same;
}

#endif
