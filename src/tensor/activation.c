// GELU and tanh. The normal distribution that GELU stands on is in vector_math.h.
#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

// gelu(x) = x Phi(x) and gelu'(x) = Phi(x) + x phi(x), which share an exp.
static inline void gelu_row(float *act, float *slope, const float *u, const float *bias, int64_t n) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        float x = u[c] + bias[c], density, phi = vector_normal(&density, x);
        act[c] = x * phi;
        if (slope) slope[c] = phi + x * density;
    }
}

void bias_gelu_forward(float *act, float *slope, const float *u, const float *bias, int64_t tokens, int64_t n) {
#pragma omp parallel for if (worth_threads(tokens * n))
    for (int64_t t = 0; t < tokens; t++) {
        if (slope) // asked once a row, so that the loops have no branches
            gelu_row(act + t * n, slope + t * n, u + t * n, bias, n);
        else
            gelu_row(act + t * n, NULL, u + t * n, bias, n);
    }
}

void bias_gelu_backward(float *du, float *dbias, const float *dact, const float *slope, int64_t tokens, int64_t n) {
#pragma omp parallel for collapse(2) ordered schedule(static, 1) if (worth_threads(tokens * n))
    for (int64_t from = 0; from < n; from += STRIP) {
        for (int64_t first = 0; first < tokens; first += ROW_BLOCK) {
            float sum[STRIP] = {0};
            int64_t width = smaller(STRIP, n - from), last = smaller(first + ROW_BLOCK, tokens);
            for (int64_t t = first; t < last; t++) {
                float *du_row = du + t * n + from;
                const float *dact_row = dact + t * n + from, *slope_row = slope + t * n + from;
#pragma omp simd
                for (int64_t c = 0; c < width; c++) {
                    float d = dact_row[c] * slope_row[c];
                    du_row[c] = d;
                    sum[c] += d;
                }
            }
#pragma omp ordered
            row_add(dbias + from, sum, width);
        }
    }
}

// Only the pooler and RoBERTa's head use tanh, on one row a sequence: libm is fast enough.
void tanh_forward(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = tanhf(x[i]);
}

void tanh_backward(float *dx, const float *dy, const float *y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
}
