#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

static int64_t first_of_value(const float *x, float value, int64_t n) {
    int64_t i = 0;
    while (i < n && x[i] != value) i++;
    return i;
}

static vocabulary_statistics row_statistics(const float *row, int32_t label, int64_t first, int64_t rows) {
    float most = row_maximum(row, rows);
    bool own = label >= first && label < first + rows;
    return (vocabulary_statistics){.sum = row_exp_sum(row, most, rows),
                                   .most = most,
                                   .label = own ? row[label - first] : -INFINITY,
                                   .best = first + first_of_value(row, most, rows)};
}

void vocabulary_statistics_compute(vocabulary_statistics *stats, const float *logits, const int32_t *labels, int64_t n,
                                   int64_t first, int64_t rows) {
#pragma omp parallel for if (worth_threads(n * rows))
    for (int64_t i = 0; i < n; i++) stats[i] = row_statistics(logits + i * rows, labels[i], first, rows);
}

double vocabulary_statistics_join(double *lse, int64_t *correct, const vocabulary_statistics *stats, int ranks,
                                  const int32_t *labels, int64_t n) {
    double loss = 0;
    *correct = 0;
    for (int64_t i = 0; i < n; i++) {
        vocabulary_statistics all = stats[i];
        double sum = 0;
        for (int r = 1; r < ranks; r++) {
            const vocabulary_statistics *s = &stats[r * n + i];
            if (s->most > all.most) all.most = s->most, all.best = s->best; // a tie goes to the lower piece
            if (s->label > all.label) all.label = s->label;
        }
        for (int r = 0; r < ranks; r++) sum += stats[r * n + i].sum * exp((double)stats[r * n + i].most - all.most);
        lse[i] = all.most + log(sum);
        loss += log(sum) + ((double)all.most - all.label);
        *correct += all.best == labels[i];
    }
    return loss;
}

// What rounding takes from lse, which is much where logits are large, goes into the scale.
static void row_gradient(float *row, double lse, int64_t label, int64_t rows, float scale) {
    float shift = (float)lse;
    row_exp(row, row, shift, rows);
    row_scale(row, row, (float)(scale * exp(shift - lse)), rows);
    if (label >= 0 && label < rows) row[label] -= scale;
}

void vocabulary_cross_entropy_backward(float *logits, const double *lse, const int32_t *labels, int64_t n,
                                       int64_t first, int64_t rows, float scale) {
#pragma omp parallel for if (worth_threads(n * rows))
    for (int64_t i = 0; i < n; i++) row_gradient(logits + i * rows, lse[i], labels[i] - first, rows, scale);
}
