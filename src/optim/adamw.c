#include "optim/internal.h"

#include <math.h>

// What an update multiplies with.
typedef struct {
    float factor, keep, beta1, rest1, beta2, rest2, rate, root, epsilon;
} update_rule;

static void update_block(float *restrict value, float *restrict m, float *restrict v, const float *restrict gradient,
                         int64_t n, update_rule u) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        float g = gradient[j] * u.factor;
        m[j] = u.beta1 * m[j] + u.rest1 * g;
        v[j] = u.beta2 * v[j] + u.rest2 * g * g;
        value[j] = u.keep * value[j] - u.rate * m[j] / (sqrtf(v[j]) * u.root + u.epsilon);
    }
}

static void update_row(parameter *p, double lr, const optim_settings *s, double correction1, double correction2,
                       double factor) {
    const update_rule u = {.factor = (float)factor,
                           .keep = (float)(1 - lr * (p->decay ? s->weight_decay : 0)),
                           .beta1 = (float)s->beta1,
                           .rest1 = (float)(1 - s->beta1),
                           .beta2 = (float)s->beta2,
                           .rest2 = (float)(1 - s->beta2),
                           .rate = (float)(lr / correction1),
                           .root = (float)(1 / sqrt(correction2)),
                           .epsilon = (float)s->epsilon};
    int64_t n = parameter_own_count(p);
    float *value = p->value + parameter_own_first(p);
    const float *gradient = p->gradient + parameter_own_first(p);
    if (!worth_threads(n)) {
        update_block(value, p->moment1, p->moment2, gradient, n, u);
        return;
    }
#pragma omp parallel for
    for (int64_t at = 0; at < n; at += BLOCK)
        update_block(value + at, p->moment1 + at, p->moment2 + at, gradient + at, smaller(BLOCK, n - at), u);
}

void optim_adamw(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor) {
    double correction1 = 1 - pow(settings->beta1, (double)update),
           correction2 = 1 - pow(settings->beta2, (double)update);
    span before = time_span(SPAN_OPTIMIZER);
    for (size_t i = 0; i < table->n; i++) update_row(&table->rows[i], lr, settings, correction1, correction2, factor);
    time_span(before);
}
