#include "train/internal.h"

#include <string.h>

// Logits of every example, [n, classes], whole on every rank: each is computed by one rank of them all, and the sum
// with the others' zeros is exact.
static float *all_logits(session *s, const dataset *d, const char *what) {
    model *m = &s->model;
    int64_t classes = m->classes;
    float *logits = memory_allocate((size_t)(d->n * classes), sizeof *logits);
    batch examples = {0};
    batch_range(&examples, d, 0, d->n);
    batch_deal(&examples, s->topo.replica, s->topo.replicas);
    batch_sort(&examples);
    model_take_flight(m, 0);
    micro_batch part = micro_batch_create(m->max_tokens, m->max_sequences);
    double last = time_now();
    for (int64_t at = 0; at < examples.n;) {
        at = micro_batch_pack(&part, d, &examples, at, examples.n);
        model_forward(m, &part, (model_pass){.train = false});
        for (int64_t i = 0; i < m->head_n; i++)
            memcpy(logits + part.examples[m->head_sequences[i]] * classes, m->logits + i * classes,
                   (size_t)classes * sizeof *logits);
        if (time_now() - last > 0.5) {
            last = time_now();
            log_progress("evaluating %s: %lld/%lld", what, (long long)at, (long long)examples.n);
        }
    }
    comm_sum_floats(s->topo.world, logits, d->n * classes);
    micro_batch_destroy(&part);
    batch_destroy(&examples);
    return logits;
}

static int32_t largest(const float *row, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return (int32_t)best;
}

void evaluation_run(evaluation *e, session *s, const dataset *d, const char *what) {
    int64_t classes = s->model.classes;
    *e = (evaluation){.n = d->n};
    float *logits = all_logits(s, d, what);
    if (s->task.regression) {
        e->values = logits;
        if (!d->targets) return;
        e->loss = squared_error(NULL, logits, d->targets, d->n, 0) / (double)d->n;
    } else {
        e->predicted = memory_allocate((size_t)d->n, sizeof *e->predicted);
        for (int64_t i = 0; i < d->n; i++) e->predicted[i] = largest(logits + i * classes, classes);
        if (d->labels) e->loss = cross_entropy(NULL, logits, d->labels, d->n, classes, 0) / (double)d->n;
        memory_free(logits);
        if (!d->labels) return;
    }
    e->metrics = metrics_compute(s->task.metric, d->n, e->predicted, d->labels, e->values, d->targets);
}

void evaluation_destroy(evaluation *e) {
    memory_free(e->predicted);
    memory_free(e->values);
    json_decref(e->metrics);
    *e = (evaluation){0};
}
