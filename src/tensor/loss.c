// Losses: sums over rows in double, gradients scaled by what the caller divides the loss by.
#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

enum { LOSS_ROWS = 256 }; // whose losses wait to be summed in their order

// The loss of one row. Logits of any size are safe: everything is relative to the largest.
static double row_cross_entropy(float *drow, const float *row, int32_t label, int64_t classes, float scale) {
    float most = row_maximum(row, classes);
    double true_logit = (double)row[label] - most; // read before drow may overwrite it
    if (!drow) return log(row_exp_sum(row, most, classes)) - true_logit;
    double sum = row_exp(drow, row, most, classes);
    row_scale(drow, drow, (float)(scale / sum), classes);
    drow[label] -= scale;
    return log(sum) - true_logit;
}

double cross_entropy(float *dlogits, const float *logits, const int32_t *labels, int64_t n, int64_t classes,
                     float scale) {
    double loss = 0;
    for (int64_t first = 0; first < n; first += LOSS_ROWS) {
        int64_t rows = smaller(LOSS_ROWS, n - first);
        double losses[LOSS_ROWS];
#pragma omp parallel for if (worth_threads(rows * classes))
        for (int64_t i = 0; i < rows; i++) {
            int64_t at = (first + i) * classes;
            losses[i] =
                row_cross_entropy(dlogits ? dlogits + at : NULL, logits + at, labels[first + i], classes, scale);
        }
        for (int64_t i = 0; i < rows; i++) loss += losses[i];
    }
    return loss;
}

double squared_error(float *dprediction, const float *prediction, const float *target, int64_t n, float scale) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        float difference = prediction[i] - target[i];
        loss += (double)difference * difference;
        if (dprediction) dprediction[i] = scale * 2 * difference;
    }
    return loss;
}

void softmax_rows(float *probabilities, const float *logits, int64_t n, int64_t classes) {
    for (int64_t i = 0; i < n; i++) {
        float *row = probabilities + i * classes;
        double sum = row_exp(row, logits + i * classes, row_maximum(logits + i * classes, classes), classes);
        row_scale(row, row, (float)(1 / sum), classes);
    }
}
