#include "model/internal.h"

#include <string.h>

// What this rank does of the FFN's products: those with its own neurons alone or, in tiles, its part of those with all.
// Then x, d, partial and dx are tiles of what is whole on every rank.
typedef struct {
    int64_t neurons;       // of a product
    int64_t rows, columns; // of [T, neurons], that this rank holds, packed
    int64_t bias;          // where the columns' biases begin in what this rank holds of them
    int64_t at;            // where this rank's part of a [T, H] begins
} ffn_part;

static ffn_part part_of(const model *m, int64_t tokens) {
    int64_t hidden = m->config.hidden, neurons = m->mine->neurons.count;
    if (!m->grid) return (ffn_part){.neurons = neurons, .rows = tokens, .columns = neurons};
    tile wide = model_tile(m, tokens, m->config.intermediate), narrow = model_tile(m, tokens, hidden);
    return (ffn_part){.neurons = m->config.intermediate,
                      .rows = wide.rows.count,
                      .columns = wide.columns.count,
                      .bias = wide.columns.first,
                      .at = narrow.rows.first * hidden + narrow.columns.first};
}

// gemm, of this rank's matrices or of all ranks' tiles.
static void product(const model *m, bool transpose_a, bool transpose_b, int64_t rows, int64_t columns, int64_t inner,
                    const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m->grid)
        grid_product(m->grid, transpose_a, transpose_b, rows, columns, inner, a, lda, b, ldb, beta, c, ldc);
    else
        gemm(transpose_a, transpose_b, rows, columns, inner, 1, a, lda, b, ldb, beta, c, ldc);
    parallel_progress();
}

// A partial of which this rank writes a tile, and all ranks read all.
static void clear_around_tile(const model *m, float *partial, int64_t tokens) {
    if (m->grid) memset(partial, 0, (size_t)(tokens * m->config.hidden) * sizeof *partial);
}

void ffn_block_begin(model *m, int64_t layer, const float *x, int64_t tokens, bool keep_slope) {
    const linear in = m->layers[layer].intermediate;
    layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden;
    ffn_part p = part_of(m, tokens);
    span before = time_span(SPAN_FFN);
    product(m, false, true, tokens, p.neurons, hidden, x + p.at, hidden, in.weight->value, in.weight->size[1], 0,
            cache->act, p.columns);
    bias_gelu_forward(cache->act, keep_slope ? cache->slope : NULL, cache->act, in.bias->value + p.bias, p.rows,
                      p.columns);
    time_span(before);
}

void ffn_block_forward(model *m, int64_t layer, float *partial, const float *x, int64_t tokens, model_pass pass) {
    bool begins_again = m->recompute && layer < m->stack.count - 1; // in the backward pass
    ffn_block_begin(m, layer, x, tokens, pass.train && !begins_again);
    const parameter *out = m->layers[layer].output.weight;
    ffn_part p = part_of(m, tokens);
    span before = time_span(SPAN_FFN);
    clear_around_tile(m, partial, tokens);
    product(m, false, true, tokens, m->config.hidden, p.neurons, m->caches[layer].act, p.columns, out->value,
            out->size[1], 0, partial + p.at, m->config.hidden);
    time_span(before);
}

void ffn_block_backward(model *m, int64_t layer, float *dx, const float *d, const float *x, int64_t tokens,
                        bool accumulate) {
    const linear in = m->layers[layer].intermediate;
    const parameter *out = m->layers[layer].output.weight;
    const layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden, in_stride = in.weight->size[1], out_stride = out->size[1];
    ffn_part p = part_of(m, tokens);
    span before = time_span(SPAN_FFN);
    float *dact = m->scratch;
    product(m, true, false, hidden, p.neurons, tokens, d + p.at, hidden, cache->act, p.columns, 1, out->gradient,
            out_stride);
    product(m, false, false, tokens, p.neurons, hidden, d + p.at, hidden, out->value, out_stride, 0, dact, p.columns);
    bias_gelu_backward(dact, in.bias->gradient + p.bias, dact, cache->slope, p.rows, p.columns);
    product(m, true, false, p.neurons, hidden, tokens, dact, p.columns, x + p.at, hidden, 1, in.weight->gradient,
            in_stride);
    if (!accumulate) clear_around_tile(m, dx, tokens);
    product(m, false, false, tokens, hidden, p.neurons, dact, p.columns, in.weight->value, in_stride, accumulate,
            dx + p.at, hidden);
    time_span(before);
}
