// The masked-LM head, on masked rows only:
//
//     h = LN(gelu(W x + b))    each rank, for the masked rows of its token slice
//     logits = E h + c         each rank, for its rows of the word embeddings E, which are tied, and all masked rows
//
// The softmax over all pieces needs a few numbers of every rank a row (tensor/vocabulary_loss.c), never the logits.
#include "model/internal.h"

#include <string.h>

// Deals out the masked rows by who has their tokens; to be called while the exchange still deals out tokens.
static void deal(masked_head *k, const placement *p, const micro_batch *batch, const masked_tokens *masked) {
    int64_t at = 0;
    for (int r = 0; r < p->team; r++) {
        range tokens = placement_tokens(p, r, batch->tokens);
        k->slices[r].first = at;
        while (at < masked->n && masked->rows[at] < tokens.first + tokens.count) at++;
        k->slices[r].count = at - k->slices[r].first;
    }
}

// This rank's masked rows of x [T, H], gathered.
static void take_rows(float *out, const float *x, const int32_t *rows, int64_t n, int64_t hidden) {
    for (int64_t i = 0; i < n; i++) memcpy(out + i * hidden, x + rows[i] * hidden, (size_t)hidden * sizeof *x);
}

static void transform_forward(model *m, const masked_tokens *masked, model_pass pass) {
    masked_head *k = &m->masked;
    int64_t h = m->config.hidden;
    range mine = exchange_slice(m->ex);
    take_rows(k->input, exchange_slot(m->ex, slot_of_input(m, m->stack.count)), masked->rows + mine.first, mine.count,
              h);
    linear_forward(k->act, k->input, k->dense.weight->value, NULL, mine.count, h, h);
    bias_gelu_forward(k->act, pass.train ? k->slope : NULL, k->act, k->dense.bias->value, mine.count, h);
    sum_layernorm_forward(exchange_slot(m->ex, slot_of_head(m)) + mine.first * h, k->normalised, k->rstd, k->act, NULL,
                          0, NULL, k->norm.weight->value, k->norm.bias->value, (float)m->config.norm_epsilon,
                          mine.count, h);
    exchange_gather(m->ex, &(exchange_item){slot_of_head(m), m->place->owns_words}, 1);
}

double masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                      int64_t *correct) {
    masked_head *k = &m->masked;
    int64_t n = masked->n;
    range words = m->mine->vocabulary;
    span before = time_span(SPAN_HEAD);
    deal(k, m->place, batch, masked);
    exchange_begin_rows(m->ex, k->slices);
    transform_forward(m, masked, pass);
    if (words.count)
        linear_forward(k->logits, exchange_slot(m->ex, slot_of_head(m)), m->word.weight->value, k->bias->value, n,
                       m->config.hidden, words.count);
    vocabulary_statistics_compute(k->mine, k->logits, masked->labels, n, words.first, words.count);
    exchange_collect(m->ex, k->mine, k->all, (size_t)n * sizeof *k->mine);
    double loss = vocabulary_statistics_join(k->lse, correct, k->all, m->place->team, masked->labels, n);
    time_span(before);
    return loss;
}

// This rank's part of the gradient at h [n, H].
static void projection_backward(model *m, const masked_tokens *masked, float scale) {
    masked_head *k = &m->masked;
    int64_t n = masked->n, h = m->config.hidden;
    range words = m->mine->vocabulary;
    if (!words.count) return;
    vocabulary_cross_entropy_backward(k->logits, k->lse, masked->labels, n, words.first, words.count, scale);
    linear_backward_weight(m->word.weight->gradient, k->bias->gradient, k->logits,
                           exchange_slot(m->ex, slot_of_head(m)), n, h, words.count);
    parallel_progress();
    linear_backward_input(exchange_partial(m->ex, PARTIAL_WORDS), k->logits, m->word.weight->value, n, h, words.count,
                          false);
}

// From the parts of the gradient at h to that at the masked rows of this rank [mine, H], which is returned.
static const float *transform_backward(model *m) {
    masked_head *k = &m->masked;
    int64_t h = m->config.hidden, rows = exchange_slice(m->ex).count;
    int count;
    const float *const *parts = exchange_parts(m->ex, PARTIAL_WORDS, &count);
    float *d = k->act; // its contents are done with
    sum_layernorm_backward(d, k->norm.weight->gradient, k->norm.bias->gradient, NULL, 0, NULL, parts, count,
                           k->normalised, k->rstd, k->norm.weight->value, NULL, rows, h);
    bias_gelu_backward(d, k->dense.bias->gradient, d, k->slope, rows, h);
    linear_backward_weight(k->dense.weight->gradient, NULL, d, k->input, rows, h, h);
    float *dx = k->slope; // as above
    linear_backward_input(dx, d, k->dense.weight->value, rows, h, h, false);
    return dx;
}

void masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, float scale) {
    int64_t h = m->config.hidden;
    range mine = exchange_slice(m->ex);
    span before = time_span(SPAN_HEAD);
    projection_backward(m, masked, scale);
    exchange_reduce(m->ex, &(exchange_item){PARTIAL_WORDS, m->place->owns_words}, 1);
    const float *dx = transform_backward(m);
    exchange_begin(m->ex, m->place, batch->tokens);
    range tokens = exchange_slice(m->ex);
    memset(m->dresidual, 0, (size_t)(tokens.count * h) * sizeof *m->dresidual);
    for (int64_t i = 0; i < mine.count; i++)
        memcpy(m->dresidual + (masked->rows[mine.first + i] - tokens.first) * h, dx + i * h, (size_t)h * sizeof *dx);
    time_span(before);
}
