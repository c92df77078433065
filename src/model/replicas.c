// Gradients over the replicas. Those of a layer are whole when the backward pass of the last micro-batch has left it:
// their sums travel while the layers before it are computed. The others are whole only at the end.
#include "model/internal.h"

static void reduce(model *m, const parameter *p) {
    reduction_add_sum(m->replicas, p->gradient, p->size[0], p->size[1], !m->zero);
}

// Tensors that the team does not split are summed over the team first.
void replicas_reduce_layer(model *m, int64_t layer) {
    const layer_parameters *l = &m->layers[layer];
    const linear split[] = {l->query, l->key, l->value, l->attention_output, l->intermediate, l->output};
    for (size_t i = 0; i < sizeof split / sizeof *split; i++) {
        reduce(m, split[i].weight);
        if (split[i].bias->split != SPLIT_NONE) reduce(m, split[i].bias);
    }
    m->reduced = layer;
    parallel_progress();
}

// The word embeddings are on the first stage and the last.
static void sum_tied(model *m, comm *ends) {
    span before = time_span(SPAN_REDUCTION);
    comm_sum_floats(ends, m->word.weight->gradient, parameter_count(m->word.weight));
    time_span(before);
}

// Every replica adds the same in the same order, also one that had no micro-batch.
static void reduce_rest(model *m) {
    while (m->reduced > 0) replicas_reduce_layer(m, m->reduced - 1);
    m->reduced = m->stack.count;
    if (m->word.weight) reduce(m, m->word.weight);
    if (m->masked.bias) reduce(m, m->masked.bias);
    if (!m->zero) reduction_add_sum(m->replicas, m->table.gradients, m->table.replicated, 1, true);
    for (size_t i = 0; m->zero && i < m->table.n; i++)
        if (m->table.rows[i].split == SPLIT_NONE) reduce(m, &m->table.rows[i]);
    reduction_finish(m->replicas);
}

void model_reduce_gradients(model *m, const topology *t) {
    span before = time_span(SPAN_EXCHANGE);
    comm_sum_floats(t->team_comm, m->table.gradients, m->table.replicated);
    time_span(before);
    if (t->ends_comm && m->head == HEAD_MASKED_LM) sum_tied(m, t->ends_comm);
    if (m->replicas) reduce_rest(m);
}

void model_gather_parameters(model *m) {
    if (!m->zero) return;
    for (size_t i = 0; i < m->table.n; i++) {
        const parameter *p = &m->table.rows[i];
        reduction_add_gather(m->replicas, p->value, p->size[0], p->size[1]);
    }
    reduction_finish(m->replicas);
}
