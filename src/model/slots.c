// Where x, u and the gradients lie in the exchange, and which masks a pass has.
#include "model/internal.h"

// The x (and u) of a micro-batch.
static int slots_a_flight(const model *m) {
    return (int)(m->config.design == DESIGN_PAF ? m->stack.count : 2 * m->stack.count) + 1;
}

int slots_needed(const model *m) {
    if (m->training) return slot_of_gradient(m, 1) + 1;
    return m->head == HEAD_MASKED_LM ? slot_of_head(m) + 1 : 2;
}

static int slot(const model *m, int64_t i) {
    return m->training ? m->flight * slots_a_flight(m) + (int)i : (int)(i % 2);
}

int slot_of_input(const model *m, int64_t layer) { return slot(m, m->config.design == DESIGN_PAF ? layer : 2 * layer); }

int slot_of_middle(const model *m, int64_t layer) { return slot(m, 2 * layer + 1); }

int slot_of_gradient(const model *m, int branch) { return m->flights * slots_a_flight(m) + branch; }

int slot_of_head(const model *m) { return m->training ? slot_of_gradient(m, 0) : 2; }

dropout model_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p) {
    (void)m;
    return (dropout){.p = pass.train ? (float)p : 0,
                     .stream = random_stream_create(pass.seed, purpose, pass.step, (uint32_t)layer)};
}

dropout layer_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p) {
    return model_dropout(m, pass, purpose, m->stack.first + layer, p);
}
