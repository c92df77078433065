// GLUE's metrics. Whole numbers are counted, everything else is double.
#include "train/train.h"

#include <math.h>
#include <stdlib.h>

// ---- classes -------------------------------------------------------------------------------------------------------

static double accuracy(int64_t n, const int32_t *predicted, const int32_t *labels) {
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) right += predicted[i] == labels[i];
    return n ? (double)right / (double)n : 0;
}

// Of two classes: [predicted class 1?][labelled class 1?]
typedef struct {
    double count[2][2];
} confusion;

static confusion count_confusion(int64_t n, const int32_t *predicted, const int32_t *labels) {
    confusion c = {0};
    for (int64_t i = 0; i < n; i++) c.count[predicted[i] == 1][labels[i] == 1]++;
    return c;
}

static double f1(confusion c) {
    double true_positive = c.count[1][1], wrong = c.count[1][0] + c.count[0][1];
    double denominator = 2 * true_positive + wrong;
    return denominator > 0 ? 2 * true_positive / denominator : 0;
}

static double matthews(confusion c) {
    double tp = c.count[1][1], fp = c.count[1][0], fn = c.count[0][1], tn = c.count[0][0];
    double denominator = sqrt(tp + fp) * sqrt(tp + fn) * sqrt(tn + fp) * sqrt(tn + fn);
    return denominator > 0 ? (tp * tn - fp * fn) / denominator : 0;
}

// ---- correlations --------------------------------------------------------------------------------------------------

// Is there anything to correlate: all finite, and not all the same?
static bool varies(const double *x, int64_t n) {
    bool differ = false;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return false;
        differ |= x[i] != x[0];
    }
    return differ;
}

static double mean(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static double pearson(const double *x, const double *y, int64_t n) {
    if (!varies(x, n) || !varies(y, n)) return 0;
    double mean_x = mean(x, n), mean_y = mean(y, n), xx = 0, xy = 0, yy = 0;
    for (int64_t i = 0; i < n; i++) {
        double dx = x[i] - mean_x, dy = y[i] - mean_y;
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    return fmax(-1, fmin(1, xy / (sqrt(xx) * sqrt(yy))));
}

typedef struct {
    double value;
    int64_t index;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

// rank [n] = place of x among the sorted values, from 1; those that are equal share the mean of their places.
static void average_ranks(double *rank, const double *x, int64_t n) {
    ranked *sorted = memory_allocate((size_t)n, sizeof *sorted);
    for (int64_t i = 0; i < n; i++) sorted[i] = (ranked){x[i], i};
    qsort(sorted, (size_t)n, sizeof *sorted, compare_ranked);
    for (int64_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && sorted[end].value == sorted[first].value;) end++;
        for (int64_t i = first; i < end; i++) rank[sorted[i].index] = 0.5 * (double)(first + 1 + end);
    }
    memory_free(sorted);
}

static double spearman(const double *x, const double *y, int64_t n) {
    if (!varies(x, n) || !varies(y, n)) return 0; // not a number has no rank
    double *rank_x = memory_allocate((size_t)n, sizeof *rank_x), *rank_y = memory_allocate((size_t)n, sizeof *rank_y);
    average_ranks(rank_x, x, n);
    average_ranks(rank_y, y, n);
    double r = pearson(rank_x, rank_y, n);
    memory_free(rank_x);
    memory_free(rank_y);
    return r;
}

// ---- together ------------------------------------------------------------------------------------------------------

static double *to_double(const float *x, int64_t n) {
    double *out = memory_allocate((size_t)n, sizeof *out);
    for (int64_t i = 0; i < n; i++) out[i] = x[i];
    return out;
}

static json_t *correlations(int64_t n, const float *values, const float *targets) {
    double *x = to_double(values, n), *y = to_double(targets, n);
    json_t *metrics = json_pack("{s:f, s:f}", "pearson", pearson(x, y, n), "spearmanr", spearman(x, y, n));
    memory_free(x);
    memory_free(y);
    return metrics;
}

json_t *metrics_compute(metric_kind kind, int64_t n, const int32_t *predicted, const int32_t *labels,
                        const float *values, const float *targets) {
    if (kind == METRIC_CORRELATION) return correlations(n, values, targets);
    confusion c = count_confusion(n, predicted, labels);
    if (kind == METRIC_MATTHEWS) return json_pack("{s:f}", "matthews_correlation", matthews(c));
    json_t *metrics = json_pack("{s:f}", "accuracy", accuracy(n, predicted, labels));
    if (kind == METRIC_ACCURACY_F1) json_object_set_new(metrics, "f1", json_real(f1(c)));
    return metrics;
}

double metrics_mean(const json_t *metrics) {
    double sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)metrics, name, value) sum += json_number_value(value);
    size_t n = json_object_size(metrics);
    return n ? sum / (double)n : 0;
}
