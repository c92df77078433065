// What the tests of kernels share: random inputs, comparisons, and gradients by finite differences.
#ifndef PAF_TESTS_TENSOR_NUMBERS_H
#define PAF_TESTS_TENSOR_NUMBERS_H

#include "../support.h"
#include "tensor/tensor.h"

// n floats, uniform in [-scale, scale], the same for the same name. Caller frees.
static inline float *random_floats(int64_t n, double scale, uint32_t name) {
    float *x = memory_allocate((size_t)n, sizeof *x);
    random_stream stream = random_stream_create(name, RANDOM_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * (2 * random_uniform(stream, (uint64_t)i, 0) - 1));
    return x;
}

static inline float *copy_floats(const float *x, int64_t n) {
    float *copy = memory_allocate((size_t)n, sizeof *copy);
    for (int64_t i = 0; i < n; i++) copy[i] = x[i];
    return copy;
}

// first, first + step, first + 2 step, ...: tokens' global numbers. Caller frees.
static inline int64_t *token_numbers(int64_t n, int64_t first, int64_t step) {
    int64_t *numbers = memory_allocate((size_t)n, sizeof *numbers);
    for (int64_t i = 0; i < n; i++) numbers[i] = first + i * step;
    return numbers;
}

static inline dropout test_dropout(float p, uint64_t step, uint32_t layer, random_purpose purpose) {
    return (dropout){p, random_stream_create(7, purpose, step, layer)};
}

// Every |a - b| is at most tolerance * (1 + |b|).
#define assert_near(a, b, n, tolerance) assert_all_close(#a, a, b, n, tolerance)

// The same bits; memcmp, but 0 elements may be anywhere.
static inline void assert_same(const float *a, const float *b, int64_t n) {
    if (n > 0) assert_memory_equal(a, b, (size_t)n * sizeof *a);
}

static inline double weighted_sum(const float *x, const float *weight, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * weight[i];
    return sum;
}

// Holds dx [n], the gradient of loss(context) with respect to x [n], against differences of fourth order in every
// `step`-th element: the norm of the difference is at most tolerance times that of the gradient.
typedef double (*loss_function)(void *context);

static inline void assert_gradient(float *x, const float *dx, int64_t n, int64_t step, double h, double tolerance,
                                   loss_function loss, void *context) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i += step) {
        float kept = x[i];
        double value[4], at[4];
        for (int k = 0; k < 4; k++) {
            x[i] = kept + (float)((double[]){-2, -1, 1, 2}[k] * h);
            at[k] = x[i];
            value[k] = loss(context);
        }
        x[i] = kept;
        double near = (value[2] - value[1]) / (at[2] - at[1]), far = (value[3] - value[0]) / (at[3] - at[0]);
        double slope = (4 * near - far) / 3;
        difference += (slope - dx[i]) * (slope - dx[i]);
        norm += slope * slope;
    }
    assert_close("length of what the gradient is off by", sqrt(difference), 0, tolerance * sqrt(norm));
}

#endif
