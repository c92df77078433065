// Forward and backward over the parts of a model: stage, embeddings, layers, head.
#include "model/internal.h"

void model_layers_forward(model *m, const micro_batch *batch, model_pass pass) {
    for (int64_t l = 0; l < m->stack.count; l++) layer_forward(m, l, batch, pass);
}

void model_layers_backward(model *m, const micro_batch *batch, model_pass pass) {
    for (int64_t l = m->stack.count - 1; l >= 0; l--) {
        layer_backward(m, l, l == m->stack.count - 1, batch, pass);
        if (pass.final && m->replicas) replicas_reduce_layer(m, l);
    }
}

static void encode(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(batch->tokens <= m->max_tokens && batch->sequences <= m->max_sequences);
    exchange_begin(m->ex, m->place, batch->tokens);
    if (m->has_embeddings)
        embedding_forward(m, batch, pass);
    else
        stage_receive_forward(m);
    model_layers_forward(m, batch, pass);
    if (!m->has_head) stage_send_forward(m);
}

// From m->dresidual, which the head has set, or the stage behind.
static void encode_backward(model *m, const micro_batch *batch, model_pass pass) {
    model_layers_backward(m, batch, pass);
    if (m->has_embeddings)
        embedding_backward(m, batch, pass);
    else
        stage_send_backward(m);
}

void model_forward(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(m->head == HEAD_CLASSIFIER);
    encode(m, batch, pass);
    m->head_n = 0;
    if (m->has_head) head_forward(m, batch, pass);
}

void model_backward(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(m->training);
    exchange_begin(m->ex, m->place, batch->tokens);
    if (m->has_head)
        head_backward(m, batch, pass);
    else
        stage_receive_backward(m);
    encode_backward(m, batch, pass);
}

double model_masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                            int64_t *correct) {
    REQUIRE(m->head == HEAD_MASKED_LM && masked->n <= m->masked.capacity);
    encode(m, batch, pass);
    *correct = 0;
    return m->has_head ? masked_forward(m, batch, masked, pass, correct) : 0;
}

void model_masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                           float scale) {
    REQUIRE(m->training);
    if (m->has_head) {
        masked_backward(m, batch, masked, scale);
    } else {
        exchange_begin(m->ex, m->place, batch->tokens);
        stage_receive_backward(m);
    }
    encode_backward(m, batch, pass);
}
