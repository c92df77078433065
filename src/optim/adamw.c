#include "optim/optim.h"
#include "tensor/threads.h"

#include <math.h>

// Floats of a large row that a thread takes at a time, and blocks of them whose sums wait to be added in their order.
// Most rows are small, and do without: entering a parallel region costs a third of a microsecond even for one thread.
enum { BLOCK = 4096, SUMS = 256 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static double block_square_sum(const float *g, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) sum += (double)g[j] * (double)g[j];
    return sum;
}

static double square_sum(const float *g, int64_t n) {
    if (!worth_threads(n)) return block_square_sum(g, n);
    double sum = 0, sums[SUMS];
    for (int64_t first = 0; first < n; first += SUMS * BLOCK) {
        int64_t count = smaller(n - first, SUMS * BLOCK);
#pragma omp parallel for
        for (int64_t at = 0; at < count; at += BLOCK)
            sums[at / BLOCK] = block_square_sum(g + first + at, smaller(BLOCK, count - at));
        for (int64_t at = 0; at < count; at += BLOCK) sum += sums[at / BLOCK];
    }
    return sum;
}

double optim_gradient_norm(const parameter_table *table, comm *team) {
    double sum = 0;
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        if (p->writer) sum += square_sum(p->gradient, parameter_count(p));
    }
    comm_sum_doubles(team, &sum, 1);
    return sqrt(sum);
}

double optim_clip_factor(double norm, double clip) {
    double factor = clip / (norm + 1e-6);
    return clip > 0 && factor < 1 ? factor : 1;
}

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
    int64_t n = parameter_count(p);
    if (!worth_threads(n)) {
        update_block(p->value, p->moment1, p->moment2, p->gradient, n, u);
        return;
    }
#pragma omp parallel for
    for (int64_t at = 0; at < n; at += BLOCK)
        update_block(p->value + at, p->moment1 + at, p->moment2 + at, p->gradient + at, smaller(BLOCK, n - at), u);
}

void optim_adamw(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor) {
    double correction1 = 1 - pow(settings->beta1, (double)update),
           correction2 = 1 - pow(settings->beta2, (double)update);
    span before = time_span(SPAN_OPTIMIZER);
    for (size_t i = 0; i < table->n; i++) update_row(&table->rows[i], lr, settings, correction1, correction2, factor);
    time_span(before);
}
