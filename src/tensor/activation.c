// GELU and tanh. The vector erf and exp that they stand on are in vector_math.h.
#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

static inline float normal_distribution(float x) { return 0.5f + 0.5f * vector_erf(x * 0.707106781f); } // Phi
static inline float normal_density(float x) { return 0.398942280f * vector_exp(-0.5f * x * x); }        // phi

void bias_gelu_forward(float *act, float *pre, const float *u, const float *bias, int64_t tokens, int64_t n) {
#pragma omp parallel for if (worth_threads(tokens * n))
    for (int64_t t = 0; t < tokens; t++) {
        float *act_row = act + t * n, *pre_row = pre + t * n;
        const float *u_row = u + t * n;
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            float x = u_row[c] + bias[c];
            pre_row[c] = x;
            act_row[c] = x * normal_distribution(x);
        }
    }
}

// gelu'(x) = Phi(x) + x phi(x)
void bias_gelu_backward(float *du, float *dbias, const float *dact, const float *pre, int64_t tokens, int64_t n) {
#pragma omp parallel for collapse(2) ordered schedule(static, 1) if (worth_threads(tokens * n))
    for (int64_t from = 0; from < n; from += STRIP) {
        for (int64_t first = 0; first < tokens; first += ROW_BLOCK) {
            float sum[STRIP] = {0};
            int64_t width = smaller(STRIP, n - from), last = smaller(first + ROW_BLOCK, tokens);
            for (int64_t t = first; t < last; t++) {
                float *du_row = du + t * n + from;
                const float *dact_row = dact + t * n + from, *pre_row = pre + t * n + from;
#pragma omp simd
                for (int64_t c = 0; c < width; c++) {
                    float x = pre_row[c];
                    float d = dact_row[c] * (normal_distribution(x) + x * normal_density(x));
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
