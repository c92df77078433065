#include "optim/internal.h"

#include <math.h>

// The table is walked twice: the moments and both norms, then, when the team has summed the norms, the values. The
// direction u is computed in both, which costs less than to write it down and read it again.

// What a row's moments and direction are made with.
typedef struct {
    float factor, beta1, rest1, beta2, rest2, scale, root, epsilon, decay;
} lamb_rule;

// Squared lengths of a tensor's values and of its direction.
typedef struct {
    double values, direction;
} squares;

static inline float direction_of(float value, float m, float v, lamb_rule u) {
    return u.scale * m / (sqrtf(v) * u.root + u.epsilon) + u.decay * value;
}

static squares moments_block(float *restrict m, float *restrict v, const float *restrict gradient,
                             const float *restrict value, int64_t n, lamb_rule u) {
    double values = 0, directions = 0;
#pragma omp simd reduction(+ : values, directions)
    for (int64_t j = 0; j < n; j++) {
        float g = gradient[j] * u.factor;
        m[j] = u.beta1 * m[j] + u.rest1 * g;
        v[j] = u.beta2 * v[j] + u.rest2 * g * g;
        double direction = direction_of(value[j], m[j], v[j], u);
        values += (double)value[j] * (double)value[j];
        directions += direction * direction;
    }
    return (squares){values, directions};
}

static void values_block(float *restrict value, const float *restrict m, const float *restrict v, int64_t n, float rate,
                         lamb_rule u) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++) value[j] -= rate * direction_of(value[j], m[j], v[j], u);
}

static squares update_moments(const parameter *p, lamb_rule u) {
    int64_t n = parameter_own_count(p);
    const float *value = p->value + parameter_own_first(p), *gradient = p->gradient + parameter_own_first(p);
    if (!worth_threads(n)) return moments_block(p->moment1, p->moment2, gradient, value, n, u);
    squares sum = {0}, blocks[SUMS];
    for (int64_t first = 0; first < n; first += SUMS * BLOCK) {
        int64_t count = smaller(n - first, SUMS * BLOCK);
#pragma omp parallel for
        for (int64_t at = 0; at < count; at += BLOCK)
            blocks[at / BLOCK] = moments_block(p->moment1 + first + at, p->moment2 + first + at, gradient + first + at,
                                               value + first + at, smaller(BLOCK, count - at), u);
        for (int64_t at = 0; at < count; at += BLOCK) {
            sum.values += blocks[at / BLOCK].values;
            sum.direction += blocks[at / BLOCK].direction;
        }
    }
    return sum;
}

static void update_values(const parameter *p, float rate, lamb_rule u) {
    int64_t n = parameter_own_count(p);
    float *value = p->value + parameter_own_first(p);
    if (!worth_threads(n)) {
        values_block(value, p->moment1, p->moment2, n, rate, u);
        return;
    }
#pragma omp parallel for
    for (int64_t at = 0; at < n; at += BLOCK)
        values_block(value + at, p->moment1 + at, p->moment2 + at, smaller(BLOCK, n - at), rate, u);
}

static lamb_rule rule_of(const parameter *p, const optim_settings *s, int64_t update, double factor) {
    return (lamb_rule){.factor = (float)factor,
                       .beta1 = (float)s->beta1,
                       .rest1 = (float)(1 - s->beta1),
                       .beta2 = (float)s->beta2,
                       .rest2 = (float)(1 - s->beta2),
                       .scale = (float)(1 / (1 - pow(s->beta1, (double)update))),
                       .root = (float)(1 / sqrt(1 - pow(s->beta2, (double)update))),
                       .epsilon = (float)s->epsilon,
                       .decay = (float)(p->decay ? s->weight_decay : 0)};
}

static double trust_ratio(const parameter *p, squares whole) {
    if (!p->decay || whole.values == 0 || whole.direction == 0) return 1;
    return sqrt(whole.values) / sqrt(whole.direction);
}

void optim_lamb(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor,
                comm *stage) {
    span before = time_span(SPAN_OPTIMIZER);
    squares *sums = memory_allocate(table->n, sizeof *sums); // a row's part on this rank, then of all
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        squares part = update_moments(p, rule_of(p, settings, update, factor));
        if (p->writer) sums[i] = part;
    }
    comm_sum_doubles(stage, (double *)sums, 2 * (int)table->n);
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        update_values(p, (float)(lr * trust_ratio(p, sums[i])), rule_of(p, settings, update, factor));
    }
    memory_free(sums);
    time_span(before);
}
