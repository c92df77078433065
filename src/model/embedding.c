#include "model/internal.h"

// The row of a table [positions, H] that a sequence's first token takes.
static float *first_position(const model *m, float *table) {
    return table + model_first_position(&m->config) * m->config.hidden;
}

void embedding_forward(model *m, const micro_batch *batch, model_pass pass) {
    int64_t h = m->config.hidden;
    range slice = exchange_slice(m->ex), rows = m->mine->vocabulary;
    const flight_cache *kept = &m->kept[m->flight];
    span before = time_span(SPAN_EMBEDDING);
    if (rows.count)
        word_embedding_forward(exchange_partial(m->ex, PARTIAL_WORDS), batch->ids, m->word.weight->value, rows.first,
                               rows.count, batch->tokens, h);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_WORDS, m->place->owns_words}, 1);

    place_embedding_forward(m->row_buffer, batch->positions + slice.first, batch->types + slice.first,
                            first_position(m, m->position.weight->value), m->type.weight->value, slice.count, h);
    layernorm_branch words = {0};
    words.parts = exchange_parts(m->ex, PARTIAL_WORDS, &words.count);
    float *x = exchange_slot(m->ex, slot_of_input(m, 0)) + slice.first * h;
    const int64_t *numbers = batch->numbers + slice.first;
    sum_layernorm_forward(x, kept->embedding_normalised, kept->embedding_rstd, m->row_buffer, &words, 1, numbers,
                          m->embedding_norm.weight->value, m->embedding_norm.bias->value, (float)m->config.norm_epsilon,
                          slice.count, h);
    dropout_apply(x, x, numbers, slice.count, h,
                  model_dropout(m, pass, RANDOM_DROPOUT_EMBEDDING, 0, m->config.hidden_dropout));
    exchange_gather(m->ex, &(exchange_item){slot_of_input(m, 0), m->place->everyone}, 1);
    time_span(before);
}

void embedding_backward(model *m, const micro_batch *batch, model_pass pass) {
    int64_t h = m->config.hidden;
    range slice = exchange_slice(m->ex), rows = m->mine->vocabulary;
    const flight_cache *kept = &m->kept[m->flight];
    span before = time_span(SPAN_EMBEDDING);
    int count;
    const float *const *parts = exchange_parts(m->ex, PARTIAL_GRADIENT, &count);
    sum_parts(m->dresidual, m->dresidual, parts, count, slice.count, h);
    dropout_apply(m->dresidual, m->dresidual, batch->numbers + slice.first, slice.count, h,
                  model_dropout(m, pass, RANDOM_DROPOUT_EMBEDDING, 0, m->config.hidden_dropout));
    int words = slot_of_gradient(m, 0);
    float *ds = exchange_slot(m->ex, words) + slice.first * h;
    sum_layernorm_backward(ds, m->embedding_norm.weight->gradient, m->embedding_norm.bias->gradient, NULL, 0,
                           m->dresidual, NULL, 0, kept->embedding_normalised, kept->embedding_rstd,
                           m->embedding_norm.weight->value, NULL, slice.count, h);
    place_embedding_backward(first_position(m, m->position.weight->gradient), m->type.weight->gradient,
                             batch->positions + slice.first, batch->types + slice.first, ds, slice.count, h);
    exchange_gather(m->ex, &(exchange_item){words, m->place->owns_words}, 1);
    if (rows.count)
        word_embedding_backward(m->word.weight->gradient, batch->ids, exchange_slot(m->ex, words), rows.first,
                                rows.count, batch->tokens, h);
    time_span(before);
}
