// The wiring of a layer: the only place where the two designs differ.
//
//     SAF   u = LN1(x + D(Attn(x)))     y = LN2(u + D(FFN(u)))      two sums forward, two backward
//     PAF   y = LN2(x + D(Attn(x)) + D(FFN(x)))                     one and one

#include "model/internal.h"

// A branch of the sum: its output bias and its own mask.
static layernorm_branch attention_branch(const model *m, int64_t layer, model_pass pass) {
    return (layernorm_branch){
        .bias = m->layers[layer].attention_output.bias->value,
        .drop = layer_dropout(m, pass, RANDOM_DROPOUT_ATTENTION, layer, m->config.hidden_dropout),
    };
}

static layernorm_branch ffn_branch(const model *m, int64_t layer, model_pass pass) {
    return (layernorm_branch){
        .bias = m->layers[layer].output.bias->value,
        .drop = layer_dropout(m, pass, RANDOM_DROPOUT_FFN, layer, m->config.hidden_dropout),
    };
}

// LN number `norm` of the layer over this rank's slice: from slot `from` and the branches' reduced parts into slot
// `to`.
static void norm_forward(model *m, int64_t layer, int norm, int to, int from, const layernorm_branch *branches, int n,
                         const micro_batch *batch) {
    int64_t h = m->config.hidden;
    range slice = exchange_slice(m->ex);
    layer_cache *cache = &m->caches[layer];
    linear ln = norm ? m->layers[layer].output_norm : m->layers[layer].attention_norm;
    span before = time_span(SPAN_EXCHANGE);
    sum_layernorm_forward(exchange_slot(m->ex, to) + slice.first * h, cache->normalised[norm], cache->rstd[norm],
                          exchange_slot(m->ex, from) + slice.first * h, branches, n, batch->numbers + slice.first,
                          ln.weight->value, ln.bias->value, (float)m->config.norm_epsilon, slice.count, h);
    time_span(before);
    exchange_gather(m->ex, &(exchange_item){to, m->place->everyone}, 1);
}

// What goes into a branch, over this rank's slice: into the branch's gradient slot and its output bias.
static layernorm_branch_gradient branch_gradient(const model *m, int which, linear output, dropout drop) {
    int64_t first = exchange_slice(m->ex).first * m->config.hidden;
    return (layernorm_branch_gradient){exchange_slot(m->ex, slot_of_gradient(m, which)) + first, output.bias->gradient,
                                       drop};
}

static layernorm_branch_gradient attention_gradient(const model *m, int64_t layer, model_pass pass) {
    return branch_gradient(m, 0, m->layers[layer].attention_output, attention_branch(m, layer, pass).drop);
}

static layernorm_branch_gradient ffn_gradient(const model *m, int64_t layer, model_pass pass) {
    return branch_gradient(m, 1, m->layers[layer].output, ffn_branch(m, layer, pass).drop);
}

// The gradients at the LN's input, in place in m->dresidual, and at the branches, over this rank's slice.
static void norm_backward(model *m, int64_t layer, int norm, bool add_parts, const layernorm_branch_gradient *branches,
                          int n, const micro_batch *batch) {
    const layer_cache *cache = &m->caches[layer];
    linear ln = norm ? m->layers[layer].output_norm : m->layers[layer].attention_norm;
    int count = 0;
    const float *const *parts = add_parts ? exchange_parts(m->ex, PARTIAL_GRADIENT, &count) : NULL;
    range slice = exchange_slice(m->ex);
    span before = time_span(SPAN_EXCHANGE);
    sum_layernorm_backward(m->dresidual, ln.weight->gradient, ln.bias->gradient, branches, n, m->dresidual, parts,
                           count, cache->normalised[norm], cache->rstd[norm], ln.weight->value,
                           batch->numbers + slice.first, slice.count, m->config.hidden);
    time_span(before);
}

// What the blocks keep of the forward pass, once more, unless this layer was the last to fill the cache. It takes no
// exchange: x is in its slot.
static void recompute(model *m, int64_t layer, bool last, const float *attention_x, const float *ffn_x,
                      const micro_batch *batch, model_pass pass) {
    if (!m->recompute || last) return;
    if (m->mine->heads.count) attention_block_begin(m, layer, attention_x, batch, pass);
    if (m->mine->neurons.count) ffn_block_begin(m, layer, ffn_x, batch->tokens, true);
}

// ---- PAF

static void paf_forward(model *m, int64_t layer, const micro_batch *batch, model_pass pass) {
    const float *x = exchange_slot(m->ex, slot_of_input(m, layer));
    if (m->mine->heads.count)
        attention_block_forward(m, layer, exchange_partial(m->ex, PARTIAL_ATTENTION), x, batch, pass);
    if (m->mine->neurons.count)
        ffn_block_forward(m, layer, exchange_partial(m->ex, PARTIAL_FFN), x, batch->tokens, pass);
    const exchange_item partials[] = {{PARTIAL_ATTENTION, m->place->owns_heads}, {PARTIAL_FFN, m->place->owns_neurons}};
    exchange_reduce(m->ex, partials, 2);
    layernorm_branch branches[] = {attention_branch(m, layer, pass), ffn_branch(m, layer, pass)};
    branches[0].parts = exchange_parts(m->ex, PARTIAL_ATTENTION, &branches[0].count);
    branches[1].parts = exchange_parts(m->ex, PARTIAL_FFN, &branches[1].count);
    norm_forward(m, layer, 1, slot_of_input(m, layer + 1), slot_of_input(m, layer), branches, 2, batch);
}

static void paf_backward(model *m, int64_t layer, bool last, const micro_batch *batch, model_pass pass) {
    const float *x = exchange_slot(m->ex, slot_of_input(m, layer));
    recompute(m, layer, last, x, x, batch, pass);
    const layernorm_branch_gradient branches[] = {attention_gradient(m, layer, pass), ffn_gradient(m, layer, pass)};
    norm_backward(m, layer, 1, !last, branches, 2, batch);
    const exchange_item gradients[] = {{slot_of_gradient(m, 0), m->place->owns_heads},
                                       {slot_of_gradient(m, 1), m->place->owns_neurons}};
    exchange_gather(m->ex, gradients, 2);
    float *dx = exchange_partial(m->ex, PARTIAL_GRADIENT);
    bool heads = m->mine->heads.count > 0;
    if (heads) attention_block_backward(m, layer, dx, exchange_slot(m->ex, gradients[0].index), x, batch, pass);
    if (m->mine->neurons.count)
        ffn_block_backward(m, layer, dx, exchange_slot(m->ex, gradients[1].index), x, batch->tokens, heads);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_GRADIENT, m->place->everyone}, 1);
}

// ---- SAF

static void saf_forward(model *m, int64_t layer, const micro_batch *batch, model_pass pass) {
    int input = slot_of_input(m, layer), middle = slot_of_middle(m, layer);
    if (m->mine->heads.count)
        attention_block_forward(m, layer, exchange_partial(m->ex, PARTIAL_ATTENTION), exchange_slot(m->ex, input),
                                batch, pass);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_ATTENTION, m->place->owns_heads}, 1);
    layernorm_branch branch = attention_branch(m, layer, pass);
    branch.parts = exchange_parts(m->ex, PARTIAL_ATTENTION, &branch.count);
    norm_forward(m, layer, 0, middle, input, &branch, 1, batch);

    if (m->mine->neurons.count)
        ffn_block_forward(m, layer, exchange_partial(m->ex, PARTIAL_FFN), exchange_slot(m->ex, middle), batch->tokens,
                          pass);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_FFN, m->place->owns_neurons}, 1);
    branch = ffn_branch(m, layer, pass);
    branch.parts = exchange_parts(m->ex, PARTIAL_FFN, &branch.count);
    norm_forward(m, layer, 1, slot_of_input(m, layer + 1), middle, &branch, 1, batch);
}

static void saf_backward(model *m, int64_t layer, bool last, const micro_batch *batch, model_pass pass) {
    int attention = slot_of_gradient(m, 0), ffn = slot_of_gradient(m, 1);
    float *dx = exchange_partial(m->ex, PARTIAL_GRADIENT);
    const float *x = exchange_slot(m->ex, slot_of_input(m, layer));
    const float *middle = exchange_slot(m->ex, slot_of_middle(m, layer));
    recompute(m, layer, last, x, middle, batch, pass);
    layernorm_branch_gradient branch = ffn_gradient(m, layer, pass);
    norm_backward(m, layer, 1, !last, &branch, 1, batch);
    exchange_gather(m->ex, &(exchange_item){ffn, m->place->owns_neurons}, 1);
    if (m->mine->neurons.count)
        ffn_block_backward(m, layer, dx, exchange_slot(m->ex, ffn), middle, batch->tokens, false);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_GRADIENT, m->place->owns_neurons}, 1);

    branch = attention_gradient(m, layer, pass);
    norm_backward(m, layer, 0, true, &branch, 1, batch);
    exchange_gather(m->ex, &(exchange_item){attention, m->place->owns_heads}, 1);
    if (m->mine->heads.count) attention_block_backward(m, layer, dx, exchange_slot(m->ex, attention), x, batch, pass);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_GRADIENT, m->place->owns_heads}, 1);
}

// ---- either

void layer_forward(model *m, int64_t layer, const micro_batch *batch, model_pass pass) {
    (m->config.design == DESIGN_PAF ? paf_forward : saf_forward)(m, layer, batch, pass);
}

void layer_backward(model *m, int64_t layer, bool last, const micro_batch *batch, model_pass pass) {
    REQUIRE(pass.train);
    (m->config.design == DESIGN_PAF ? paf_backward : saf_backward)(m, layer, last, batch, pass);
}
