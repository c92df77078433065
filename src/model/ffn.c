#include "model/internal.h"

void ffn_block_begin(model *m, int64_t layer, const float *x, int64_t tokens, bool keep_slope) {
    const layer_parameters *l = &m->layers[layer];
    layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden, neurons = m->mine->neurons.count;
    span before = time_span(SPAN_FFN);
    linear_forward(cache->act, x, l->intermediate.weight->value, NULL, tokens, hidden, neurons);
    bias_gelu_forward(cache->act, keep_slope ? cache->slope : NULL, cache->act, l->intermediate.bias->value, tokens,
                      neurons);
    parallel_progress();
    time_span(before);
}

void ffn_block_forward(model *m, int64_t layer, float *partial, const float *x, int64_t tokens, model_pass pass) {
    bool begins_again = m->recompute && layer < m->stack.count - 1; // in the backward pass
    ffn_block_begin(m, layer, x, tokens, pass.train && !begins_again);
    span before = time_span(SPAN_FFN);
    linear_forward(partial, m->caches[layer].act, m->layers[layer].output.weight->value, NULL, tokens,
                   m->mine->neurons.count, m->config.hidden);
    time_span(before);
}

void ffn_block_backward(model *m, int64_t layer, float *dx, const float *d, const float *x, int64_t tokens,
                        bool accumulate) {
    const layer_parameters *l = &m->layers[layer];
    const layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden, neurons = m->mine->neurons.count;
    span before = time_span(SPAN_FFN);
    float *dact = m->scratch;
    linear_backward_weight(l->output.weight->gradient, NULL, d, cache->act, tokens, neurons, hidden);
    linear_backward_input(dact, d, l->output.weight->value, tokens, neurons, hidden, false);
    parallel_progress();
    bias_gelu_backward(dact, l->intermediate.bias->gradient, dact, cache->slope, tokens, neurons);
    linear_backward_weight(l->intermediate.weight->gradient, NULL, dact, x, tokens, hidden, neurons);
    parallel_progress();
    linear_backward_input(dx, dact, l->intermediate.weight->value, tokens, hidden, neurons, accumulate);
    time_span(before);
}
