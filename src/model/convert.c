// A start for PAF from SAF's weights. With s = x + Attn(x), and LN1 of gain g and shift b, SAF computes
//
//     u = g (s - mean) / deviation + b        y = LN2(u + FFN(u))
//
// Were the deviation the same for every token, then d = g / deviation would be a constant vector, and, but for the
// mean, which is close to zero,
//
//     u = d x + d Attn(x) + b
//
// So PAF is given d x in the place of x: the LayerNorm below takes d into its gain and shift, query, key and value take
// it out again, and attention's output takes it in. FFN's output bias takes b. What PAF cannot have is an FFN that has
// seen attention; it sees d x + b instead of u, by its first bias. Tokens' deviations do differ, by a tenth or so. They
// are estimated as that of x alone, from the LayerNorm below, so that no data is needed. docs/paf-from-saf.md has the
// figures.
#include "model/internal.h"

#include <math.h>

// Of a gain's mean magnitude: d divides, so that none may vanish.
static const double least_gain = 0.01;

static parameter *find_in_layer(const parameter_table *table, model_family family, int64_t layer, model_tensor part,
                                const char *end) {
    return parameter_find(table, model_tensor_name(family, part, layer, end).text);
}

// ---- the LayerNorms around a layer's attention ---------------------------------------------------------------------

enum { BELOW_GAIN, BELOW_SHIFT, FIRST_GAIN, FIRST_SHIFT, NORMS };

static void add_norm(parameter_table *norms, const model_config *config, model_tensor part, int64_t layer) {
    static const char *const ends[] = {"weight", "bias"};
    for (int i = 0; i < 2; i++)
        parameter_add(norms, model_tensor_name(config->family, part, layer, ends[i]).text, 1, config->hidden, 1,
                      SPLIT_NONE, 0, 0, false, false, INITIAL_ONE);
}

void model_norms_create(parameter_table *norms, const model_config *config) {
    *norms = (parameter_table){0};
    for (int64_t l = 0; l < config->layers; l++) {
        add_norm(norms, config, l > 0 ? TENSOR_OUTPUT_NORM : TENSOR_EMBEDDING_NORM, l - 1);
        add_norm(norms, config, TENSOR_ATTENTION_NORM, l);
    }
    parameter_allocate(norms, false, false);
}

// Of what a LayerNorm with this gain and shift [n] puts out: its variance is the gain's mean square and the shift's
// variance.
static double deviation_of(const float *gain, const float *shift, int64_t n, double epsilon) {
    double squares = 0, sum = 0, shift_squares = 0;
    for (int64_t i = 0; i < n; i++) {
        squares += (double)gain[i] * gain[i];
        sum += shift[i];
        shift_squares += (double)shift[i] * shift[i];
    }
    double count = (double)n, mean = sum / count;
    return sqrt(squares / count + fmax(0, shift_squares / count - mean * mean) + epsilon);
}

// d [n] = gain / deviation
static void find_factors(float *d, const float *gain, double deviation, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)gain[i]);
    double least = least_gain * sum / (double)n + 1e-6;
    for (int64_t i = 0; i < n; i++) d[i] = (float)(copysign(fmax(fabs((double)gain[i]), least), gain[i]) / deviation);
}

// ---- into the weights ----------------------------------------------------------------------------------------------
//
// What is scaled, or added to, by hidden dimension is whole in that dimension on every rank that has a part of it. Rows
// that this rank's table has not (NULL) are passed over.

static void scale_rows(parameter *p, const float *d) {
    for (int64_t r = 0; p && r < p->size[0]; r++)
        for (int64_t c = 0; c < p->size[1]; c++) p->value[r * p->size[1] + c] *= d[r];
}

static void unscale_columns(parameter *p, const float *d) {
    for (int64_t r = 0; p && r < p->size[0]; r++)
        for (int64_t c = 0; c < p->size[1]; c++) p->value[r * p->size[1] + c] /= d[c];
}

static void add_vector(parameter *bias, const float *v) {
    for (int64_t r = 0; bias && r < bias->size[0]; r++) bias->value[r] += v[r];
}

// bias += weight v
static void add_product(parameter *bias, const parameter *weight, const float *v) {
    for (int64_t r = 0; weight && r < weight->size[0]; r++) {
        double sum = 0;
        for (int64_t c = 0; c < weight->size[1]; c++) sum += (double)weight->value[r * weight->size[1] + c] * v[c];
        bias->value[r] += (float)sum;
    }
}

static void fold(parameter_table *table, model_family family, const parameter *around, int64_t layer, const float *d) {
    static const model_tensor reading[] = {TENSOR_QUERY, TENSOR_KEY, TENSOR_VALUE};
    const float *shift = around[FIRST_SHIFT].value;
    scale_rows(parameter_find(table, around[BELOW_GAIN].name), d);
    scale_rows(parameter_find(table, around[BELOW_SHIFT].name), d);
    for (int i = 0; i < 3; i++) unscale_columns(find_in_layer(table, family, layer, reading[i], "weight"), d);
    scale_rows(find_in_layer(table, family, layer, TENSOR_ATTENTION_OUTPUT, "weight"), d);
    scale_rows(find_in_layer(table, family, layer, TENSOR_ATTENTION_OUTPUT, "bias"), d);
    add_product(find_in_layer(table, family, layer, TENSOR_INTERMEDIATE, "bias"),
                find_in_layer(table, family, layer, TENSOR_INTERMEDIATE, "weight"), shift);
    add_vector(find_in_layer(table, family, layer, TENSOR_OUTPUT, "bias"), shift);
}

void model_fold_norms(parameter_table *table, const parameter_table *norms, const model_config *config) {
    int64_t h = config->hidden;
    float *d = memory_allocate((size_t)h, sizeof *d);
    for (int64_t l = 0; l < config->layers; l++) {
        const parameter *around = &norms->rows[NORMS * l];
        double deviation = deviation_of(around[BELOW_GAIN].value, around[BELOW_SHIFT].value, h, config->norm_epsilon);
        find_factors(d, around[FIRST_GAIN].value, deviation, h);
        fold(table, config->family, around, l, d);
    }
    memory_free(d);
}
