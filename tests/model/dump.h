// What tests of whole models share: the dumps of tests/reference, and a model's gradients and values against them.
#ifndef PAF_TESTS_MODEL_DUMP_H
#define PAF_TESTS_MODEL_DUMP_H

#include "../support.h"

#include "data/data.h"
#include "model/model.h"
#include "optim/optim.h"
#include "storage/storage.h"

// Does the FFN lie in tiles, and in which kind of grid?
typedef enum { NO_TILES, TILES, TILES_IN_A_ROW } tiling;

// The largest FFN group there can be: into team[OPTION_STRING_SIZE].
static inline void one_attention_rank(char *team) {
    int ranks = comm_size(comm_world());
    topology_team_text(team, ranks > 1, ranks > 1 ? ranks - 1 : 0);
}

static inline void must(bool ok, const error *err) {
    if (!ok) fail_msg("%s", err->text);
}

// A whole dataset of the dump; caller frees. n may be NULL.
static inline void *dump_read(h5_file *file, const char *name, h5_type type, int64_t *n) {
    error err = {0};
    int dimensions;
    int64_t shape[2];
    must(h5_shape(file, name, type, &dimensions, shape, &err), &err);
    int64_t whole[2] = {shape[0], shape[1]}, zero[2] = {0, 0};
    void *data = memory_allocate((size_t)(shape[0] * shape[1]), sizeof(float));
    must(h5_read(file, name, type, zero, whole, data, shape[1], &err), &err);
    if (n) *n = shape[0] * shape[1];
    return data;
}

// The dump's tensor of this row: ours has no prefix where it is the encoder's.
static inline void dump_name(char *out, size_t size, const char *group, const char *prefix, const char *name) {
    bool head = !strncmp(name, "classifier.", 11) || !strncmp(name, "cls.", 4) || !strncmp(name, "lm_head.", 8);
    snprintf(out, size, "%s/%s%s", group, head ? "" : prefix, name);
}

// This rank's rectangle of a dumped tensor. Caller frees.
static inline float *dump_read_part(h5_file *file, const char *group, const char *prefix, const parameter *p) {
    char name[256];
    error err = {0};
    dump_name(name, sizeof name, group, prefix, p->name);
    float *data = memory_allocate((size_t)parameter_count(p), sizeof *data);
    must(h5_read(file, name, H5_FLOAT32, p->offset, p->size, data, p->size[1], &err), &err);
    return data;
}

static inline void dump_fill(h5_file *file, const char *prefix, parameter_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        parameter *p = &table->rows[i];
        float *values = dump_read_part(file, "parameters", prefix, p);
        memcpy(p->value, values, (size_t)parameter_count(p) * sizeof *values);
        memory_free(values);
    }
}

// Its true gradient is zero, and what is computed is rounding.
static inline bool is_key_bias(const char *name) { return strstr(name, "attention.self.key.bias"); }

static inline void check_gradients(h5_file *file, const char *prefix, const parameter_table *table, double whole_norm) {
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        int64_t n = parameter_count(p);
        float *wanted = dump_read_part(file, "gradients", prefix, p);
        double square = 0;
        for (int64_t j = 0; j < n; j++) square += (double)p->gradient[j] * p->gradient[j];
        if (is_key_bias(p->name))
            assert_close(p->name, sqrt(square), 0, 1e-6 * whole_norm);
        else
            assert_norm_close(p->name, p->gradient, wanted, n, 1e-4);
        memory_free(wanted);
    }
}

static inline void check_values(h5_file *file, const char *group, const char *prefix, const parameter_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        int64_t n = parameter_count(p);
        float *wanted = dump_read_part(file, group, prefix, p);
        if (!is_key_bias(p->name)) assert_norm_close(p->name, p->value, wanted, n, 1e-4);
        memory_free(wanted);
    }
}

#endif
