#include "optim/optim.h"

#include <math.h>
#include <omp.h>

#define THREAD_ELEMENTS (1 << 16) // fewer are not worth waking threads for

double optim_gradient_norm(const parameter_table *table, comm *team) {
    double sum = 0;
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        if (!p->writer) continue;
        int64_t n = parameter_count(p);
        const float *g = p->gradient;
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t j = 0; j < n; j++) part += (double)g[j] * (double)g[j];
        sum += part;
    }
    comm_sum_doubles(team, &sum, 1);
    return sqrt(sum);
}

double optim_clip_factor(double norm, double clip) {
    double factor = clip / (norm + 1e-6);
    return clip > 0 && factor < 1 ? factor : 1;
}

static void update_row(parameter *p, double lr, const optim_settings *s, double correction1, double correction2,
                       double factor) {
    float *restrict value = p->value, *restrict m = p->moment1, *restrict v = p->moment2;
    const float *restrict gradient = p->gradient;
    float keep = (float)(1 - lr * (p->decay ? s->weight_decay : 0)), f = (float)factor;
    float beta1 = (float)s->beta1, beta2 = (float)s->beta2, epsilon = (float)s->epsilon;
    float rest1 = (float)(1 - s->beta1), rest2 = (float)(1 - s->beta2);
    float rate = (float)(lr / correction1), root = (float)(1 / sqrt(correction2));
    int64_t n = parameter_count(p);
#pragma omp parallel for simd if (n >= THREAD_ELEMENTS && omp_get_max_threads() > 1)
    for (int64_t j = 0; j < n; j++) {
        float g = gradient[j] * f;
        m[j] = beta1 * m[j] + rest1 * g;
        v[j] = beta2 * v[j] + rest2 * g * g;
        value[j] = keep * value[j] - rate * m[j] / (sqrtf(v[j]) * root + epsilon);
    }
}

void optim_adamw(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor) {
    double correction1 = 1 - pow(settings->beta1, (double)update),
           correction2 = 1 - pow(settings->beta2, (double)update);
    span before = time_span(SPAN_OPTIMIZER);
    for (size_t i = 0; i < table->n; i++) update_row(&table->rows[i], lr, settings, correction1, correction2, factor);
    time_span(before);
}
