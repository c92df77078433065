#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

void sum_parts(float *out, const float *residual, const float *const *parts, int count, int64_t tokens,
               int64_t hidden) {
#pragma omp parallel for if (worth_threads(tokens * hidden))
    for (int64_t t = 0; t < tokens; t++) {
        float *row = out + t * hidden;
        if (!residual) memset(row, 0, (size_t)hidden * sizeof *row);
        if (residual && residual != out) memcpy(row, residual + t * hidden, (size_t)hidden * sizeof *row);
        for (int i = 0; i < count; i++) row_add(row, parts[i] + t * hidden, hidden);
    }
}
