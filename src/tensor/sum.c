#include "tensor/tensor.h"

#include <string.h>

void sum_parts(float *out, const float *residual, const float *const *parts, int count, int64_t tokens,
               int64_t hidden) {
    int64_t n = tokens * hidden;
    if (!residual) memset(out, 0, (size_t)n * sizeof *out);
    if (residual && residual != out) memcpy(out, residual, (size_t)n * sizeof *out);
    for (int i = 0; i < count; i++) {
        const float *part = parts[i];
#pragma omp simd
        for (int64_t j = 0; j < n; j++) out[j] += part[j];
    }
}
