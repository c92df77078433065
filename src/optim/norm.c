#include "optim/internal.h"

#include <math.h>

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

double optim_gradient_norm(const parameter_table *table, comm *update) {
    double sum = 0;
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        if (p->writer && !p->tied) sum += square_sum(p->gradient + parameter_own_first(p), parameter_own_count(p));
    }
    comm_sum_doubles(update, &sum, 1);
    return sqrt(sum);
}

double optim_clip_factor(double norm, double clip) {
    double factor = clip / (norm + 1e-6);
    return clip > 0 && factor < 1 ? factor : 1;
}
