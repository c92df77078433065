#include "model/internal.h"

// This rank's slice of a slot.
static float *slice_of(model *m, int slot) {
    return exchange_slot(m->ex, slot) + exchange_slice(m->ex).first * m->config.hidden;
}

static int64_t slice_floats(const model *m) { return exchange_slice(m->ex).count * m->config.hidden; }

// Others of the team may still be reading what slots hold of another micro-batch.
static void wait_for_team(model *m) { exchange_reduce(m->ex, NULL, 0); }

void stage_receive_forward(model *m) {
    int slot = slot_of_input(m, 0);
    wait_for_team(m);
    pipeline_receive(m->stages, PIPELINE_FORWARD, slice_of(m, slot), slice_floats(m));
    exchange_gather(m->ex, &(exchange_item){slot, m->place->everyone}, 1);
}

void stage_send_forward(model *m) {
    pipeline_send(m->stages, PIPELINE_FORWARD, slice_of(m, slot_of_input(m, m->stack.count)), slice_floats(m));
}

void stage_receive_backward(model *m) {
    wait_for_team(m);
    pipeline_receive(m->stages, PIPELINE_BACKWARD, m->dresidual, slice_floats(m));
}

void stage_send_backward(model *m) {
    int count;
    const float *const *parts = exchange_parts(m->ex, PARTIAL_GRADIENT, &count);
    span before = time_span(SPAN_EXCHANGE);
    sum_parts(m->dresidual, m->dresidual, parts, count, exchange_slice(m->ex).count, m->config.hidden);
    pipeline_send(m->stages, PIPELINE_BACKWARD, m->dresidual, slice_floats(m));
    time_span(before);
}
