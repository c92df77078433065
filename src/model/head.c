#include "model/internal.h"

#include <string.h>

// The sequences whose first token lies in this rank's slice, with their rows counted from the slice's first.
static void find_first_tokens(model *m, const micro_batch *batch) {
    range slice = exchange_slice(m->ex);
    m->head_n = 0;
    for (int64_t s = 0; s < batch->sequences; s++) {
        int64_t row = batch->starts[s] - slice.first;
        if (row < 0 || row >= slice.count) continue;
        m->head_rows[m->head_n] = (int32_t)row;
        m->head_sequences[m->head_n] = s;
        m->head_numbers[m->head_n++] = batch->numbers[batch->starts[s]];
    }
}

// Of what goes into the classifier (0), and in RoBERTa of what goes into the pooler (1).
static dropout head_dropout(const model *m, model_pass pass, int which) {
    return model_dropout(m, pass, RANDOM_DROPOUT_HEAD, which, m->config.classifier_dropout);
}

// logits = W_c D(tanh(W_p x + b_p)) + b_c, where x is D(x) in RoBERTa
void head_forward(model *m, const micro_batch *batch, model_pass pass) {
    int64_t h = m->config.hidden;
    span before = time_span(SPAN_HEAD);
    find_first_tokens(m, batch);
    const float *x = exchange_slot(m->ex, slot_of_input(m, m->stack.count)) + exchange_slice(m->ex).first * h;
    for (int64_t i = 0; i < m->head_n; i++) memcpy(m->first + i * h, x + m->head_rows[i] * h, (size_t)h * sizeof *x);
    if (m->config.family == FAMILY_ROBERTA)
        dropout_apply(m->first, m->first, m->head_numbers, m->head_n, h, head_dropout(m, pass, 1));
    linear_forward(m->pooled, m->first, m->pooler.weight->value, m->pooler.bias->value, m->head_n, h, h);
    tanh_forward(m->pooled, m->pooled, m->head_n * h);
    dropout_apply(m->dropped, m->pooled, m->head_numbers, m->head_n, h, head_dropout(m, pass, 0));
    linear_forward(m->logits, m->dropped, m->classifier.weight->value, m->classifier.bias->value, m->head_n, h,
                   m->classes);
    time_span(before);
}

void head_backward(model *m, const micro_batch *batch, model_pass pass) {
    (void)batch;
    int64_t h = m->config.hidden, rows = exchange_slice(m->ex).count;
    span before = time_span(SPAN_HEAD);
    linear_backward_weight(m->classifier.weight->gradient, m->classifier.bias->gradient, m->dlogits, m->dropped,
                           m->head_n, h, m->classes);
    linear_backward_input(m->dpooled, m->dlogits, m->classifier.weight->value, m->head_n, h, m->classes, false);
    dropout_apply(m->dpooled, m->dpooled, m->head_numbers, m->head_n, h, head_dropout(m, pass, 0));
    tanh_backward(m->dpooled, m->dpooled, m->pooled, m->head_n * h);
    linear_backward_weight(m->pooler.weight->gradient, m->pooler.bias->gradient, m->dpooled, m->first, m->head_n, h, h);
    float *dfirst = m->dropped; // its contents are done with
    linear_backward_input(dfirst, m->dpooled, m->pooler.weight->value, m->head_n, h, h, false);
    if (m->config.family == FAMILY_ROBERTA)
        dropout_apply(dfirst, dfirst, m->head_numbers, m->head_n, h, head_dropout(m, pass, 1));
    memset(m->dresidual, 0, (size_t)(rows * h) * sizeof *m->dresidual);
    for (int64_t i = 0; i < m->head_n; i++)
        memcpy(m->dresidual + m->head_rows[i] * h, dfirst + i * h, (size_t)h * sizeof *dfirst);
    time_span(before);
}
