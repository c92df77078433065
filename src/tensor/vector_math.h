// exp, the normal distribution and sums that compilers vectorise: no branches, no tables, no calls. Internal to the
// tensor room.
//
// Put them inside a loop marked `#pragma omp simd`. Where there is no AVX-512, gcc turns their conditionals into vector
// code only with -fno-trapping-math. libm is their twin (tests/tensor/test_vector_math.c).
#ifndef PAF_TENSOR_VECTOR_MATH_H
#define PAF_TENSOR_VECTOR_MATH_H

#include "base/base.h"

#include <math.h>
#include <stdint.h>

// The number of columns that row-wise kernels take at a time: sums are made in float within a chunk and in double (or
// in chunk order) beyond it, so that long rows lose no accuracy, and buffers of one chunk stay in the first-level
// cache.
enum { CHUNK = 256 };

// Sums over tokens (gradients of biases and LayerNorm) are made over blocks of this many rows: each block on its own,
// then the blocks in order, whichever threads made them. That keeps the rounding of long batches small. Biases take
// STRIP columns at a time: their sums fit into the first-level cache, and rows are long enough to be read at speed.
// LayerNorm, which needs the means of a row first, takes whole rows.
enum { ROW_BLOCK = 64, STRIP = 1024 };

// exp(x) for x up to 88, to a relative error of 1.2e-7. Below -87.3 it fades through denormal numbers to 0 at -87.7;
// NaN stays NaN. (Everything here exponentiates differences from a maximum, or minus squares.)
//
// x = n log 2 + r with n whole: adding 1.5 * 2^23 rounds to a whole number and leaves n in the low bits of the sum,
// from where a shift carries it into an exponent. x is first raised to -88, where n = -127 makes just the bits of 0.
// log 2 is split in two so that n times its high part is exact. exp(r) is the polynomial of degree 6 with the least
// relative error on |r| <= log(2) / 2, 1.9e-9 in exact arithmetic, found by least squares on 200 Chebyshev nodes,
// reweighted by the error (Lawson) until it levelled out.
static inline float vector_exp(float x) {
    const float whole = 0x1.8p23f;
    x = x < -88.0f ? -88.0f : x;
    union {
        float value;
        uint32_t bits;
    } shifted = {x * 1.44269504f + whole}, power;
    float n = shifted.value - whole;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.38368314e-3f;
    p = p * r + 8.37482403e-3f;
    p = p * r + 4.16682263e-2f;
    p = p * r + 1.66664201e-1f;
    p = p * r + 4.99999921e-1f;
    p = p * r + 1.00000004f;
    p = p * r + 1.0f;
    power.bits = (shifted.bits + 127) << 23;
    return p * power.value;
}

// The normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2, to an absolute error of 3e-7, and its density phi(x).
//
// The tail beyond |x| is phi(x) times a polynomial of k = 1 / (1 + p |x|) (Hastings 1955; Abramowitz and Stegun
// 26.2.17; 7.5e-8 in exact arithmetic), so that one exp serves both.
static inline float vector_normal(float *density, float x) {
    float k = 1 / (1 + 0.2316419f * fabsf(x));
    float p = 1.330274429f;
    p = p * k - 1.821255978f;
    p = p * k + 1.781477937f;
    p = p * k - 0.356563782f;
    p = p * k + 0.319381530f;
    *density = 0.398942280f * vector_exp(-0.5f * x * x);
    float tail = *density * (p * k);
    return x < 0 ? tail : 1 - tail;
}

// Sums and maxima over a row are made in 16 lanes, lane l taking elements l, l + 16, ... and the lanes then folded in
// halves. Left to the compiler (a reduction clause), the order would follow the registers it has and how the row
// happens to be aligned; so it is the same wherever a row lies, which is what makes all kinds of exchange agree to the
// bit. The step of each loop is a function of the width, 16 or what is left, so that the common case has a constant to
// unroll.
enum { ROW_LANES = 16 };

static inline float lanes_sum(float lane[ROW_LANES]) {
#pragma GCC unroll 4
    for (int half = ROW_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static inline void maximum_step(float *lane, const float *x, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) lane[l] = x[l] > lane[l] ? x[l] : lane[l];
}

// The largest of x [n]; -infinity where n = 0.
static inline float row_maximum(const float *x, int64_t n) {
    float lane[ROW_LANES];
    for (int l = 0; l < ROW_LANES; l++) lane[l] = -INFINITY;
    int64_t i = 0;
    for (; i + ROW_LANES <= n; i += ROW_LANES) maximum_step(lane, x + i, ROW_LANES);
    maximum_step(lane, x + i, (int)(n - i));
#pragma GCC unroll 4
    for (int half = ROW_LANES / 2; half > 0; half /= 2) maximum_step(lane, lane + half, half);
    return lane[0];
}

static inline void sum_step(float *lane, const float *x, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) lane[l] += x[l];
}

// The sum of x [n].
static inline double row_sum(const float *x, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n;) {
        float lane[ROW_LANES] = {0};
        int64_t end = smaller(i + CHUNK, n);
        for (; i + ROW_LANES <= end; i += ROW_LANES) sum_step(lane, x + i, ROW_LANES);
        sum_step(lane, x + i, (int)(end - i));
        i = end;
        total += lanes_sum(lane);
    }
    return total;
}

static inline void dot_step(float *lane, const float *a, const float *b, float shift, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) lane[l] += (a[l] - shift) * (b[l] - shift);
}

// The sum of (a - shift) (b - shift) over a [n] and b [n].
static inline double row_dot(const float *a, const float *b, float shift, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n;) {
        float lane[ROW_LANES] = {0};
        int64_t end = smaller(i + CHUNK, n);
        for (; i + ROW_LANES <= end; i += ROW_LANES) dot_step(lane, a + i, b + i, shift, ROW_LANES);
        dot_step(lane, a + i, b + i, shift, (int)(end - i));
        i = end;
        total += lanes_sum(lane);
    }
    return total;
}

static inline void exp_step(float *lane, float *y, const float *x, float shift, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) {
        y[l] = vector_exp(x[l] - shift);
        lane[l] += y[l];
    }
}

// y [n] = exp(x - shift), in place if one likes; returns the sum.
static inline double row_exp(float *y, const float *x, float shift, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n;) {
        float lane[ROW_LANES] = {0};
        int64_t end = smaller(i + CHUNK, n);
        for (; i + ROW_LANES <= end; i += ROW_LANES) exp_step(lane, y + i, x + i, shift, ROW_LANES);
        exp_step(lane, y + i, x + i, shift, (int)(end - i));
        i = end;
        total += lanes_sum(lane);
    }
    return total;
}

// The sum of exp(x - shift) over x [n], keeping none of the terms.
static inline double row_exp_sum(const float *x, float shift, int64_t n) {
    float terms[CHUNK];
    double total = 0;
    for (int64_t from = 0; from < n; from += CHUNK) total += row_exp(terms, x + from, shift, smaller(CHUNK, n - from));
    return total;
}

// y [n] += x
static inline void row_add(float *y, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

// y [n] = x * factor, in place if one likes.
static inline void row_scale(float *y, const float *x, float factor, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * factor;
}

#endif
