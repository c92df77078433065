#include "model/internal.h"

static linear projection(const layer_parameters *l, int i) { return i == 0 ? l->query : i == 1 ? l->key : l->value; }

void attention_block_begin(model *m, int64_t layer, const float *x, const micro_batch *batch, model_pass pass) {
    const layer_parameters *l = &m->layers[layer];
    layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden, head_size = hidden / m->config.heads, tokens = batch->tokens;
    int64_t heads = m->mine->heads.count, local = heads * head_size;
    span before = time_span(SPAN_ATTENTION);
    for (int i = 0; i < 3; i++) {
        linear p = projection(l, i);
        linear_forward(m->scratch, x, p.weight->value, NULL, tokens, hidden, local);
        attention_split_heads(cache->qkv + i * tokens * local, m->scratch, p.bias->value, tokens, heads, head_size);
    }
    attention_forward(cache->context, cache->lse, cache->qkv, batch->starts, batch->sequences, batch->numbers, heads,
                      m->mine->heads.first, head_size,
                      layer_dropout(m, pass, RANDOM_DROPOUT_PROBABILITIES, layer, m->config.attention_dropout),
                      m->attention_scratch);
    time_span(before);
}

void attention_block_forward(model *m, int64_t layer, float *partial, const float *x, const micro_batch *batch,
                             model_pass pass) {
    int64_t hidden = m->config.hidden, local = m->mine->heads.count * (hidden / m->config.heads);
    attention_block_begin(m, layer, x, batch, pass);
    span before = time_span(SPAN_ATTENTION);
    linear_forward(partial, m->caches[layer].context, m->layers[layer].attention_output.weight->value, NULL,
                   batch->tokens, local, hidden);
    time_span(before);
}

void attention_block_backward(model *m, int64_t layer, float *dx, const float *d, const float *x,
                              const micro_batch *batch, model_pass pass) {
    const layer_parameters *l = &m->layers[layer];
    const layer_cache *cache = &m->caches[layer];
    int64_t hidden = m->config.hidden, head_size = hidden / m->config.heads, tokens = batch->tokens;
    int64_t heads = m->mine->heads.count, local = heads * head_size;
    span before = time_span(SPAN_ATTENTION);
    float *dcontext = m->scratch;
    linear_backward_weight(l->attention_output.weight->gradient, NULL, d, cache->context, tokens, local, hidden);
    linear_backward_input(dcontext, d, l->attention_output.weight->value, tokens, local, hidden, false);
    attention_backward(m->dqkv, dcontext, cache->qkv, cache->context, cache->lse, batch->starts, batch->sequences,
                       batch->numbers, heads, m->mine->heads.first, head_size,
                       layer_dropout(m, pass, RANDOM_DROPOUT_PROBABILITIES, layer, m->config.attention_dropout),
                       m->attention_scratch);
    for (int i = 0; i < 3; i++) {
        linear p = projection(l, i);
        attention_merge_heads(m->scratch, m->dqkv + i * tokens * local, tokens, heads, head_size);
        linear_backward_weight(p.weight->gradient, p.bias->gradient, m->scratch, x, tokens, hidden, local);
        linear_backward_input(dx, m->scratch, p.weight->value, tokens, hidden, local, i > 0);
        parallel_progress();
    }
    time_span(before);
}
