// Products of matrices so small that a library call (about 1 us) would cost more than the work. Internal to the tensor
// room: attention over short sequences uses it.
#ifndef PAF_TENSOR_SMALL_PRODUCT_H
#define PAF_TENSOR_SMALL_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SMALL_WIDTH = 16, SMALL_ROWS = 4 }; // one tile: its sums stay in registers, its rows hide each other's latency

// A vector register as wide as the compiler was told of, anywhere in memory.
#if defined(__AVX512F__)
enum { SMALL_LANES = 16 };
#elif defined(__AVX__)
enum { SMALL_LANES = 8 };
#else
enum { SMALL_LANES = 4 };
#endif
typedef float small_vector __attribute__((vector_size(SMALL_LANES * sizeof(float)), aligned(4), may_alias));

// c [rows, 16] = alpha * a b with b [k, 16]; element (i, d) of a is a[i * row_step + d * column_step]. `rows` is a
// constant wherever this is called, so that the loops over it unroll.
__attribute__((always_inline)) static inline void small_tile(int rows, int64_t k, float alpha, const float *a,
                                                             int64_t row_step, int64_t column_step, const float *b,
                                                             int64_t ldb, float *c, int64_t ldc) {
    enum { VECTORS = SMALL_WIDTH / SMALL_LANES };
    small_vector sum[SMALL_ROWS][VECTORS] = {{{0}}};
    for (int64_t d = 0; d < k; d++) {
        const small_vector *b_row = (const small_vector *)(b + d * ldb);
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < VECTORS; v++) sum[i][v] += a[i * row_step + d * column_step] * b_row[v];
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) ((small_vector *)(c + i * ldc))[v] = alpha * sum[i][v];
}

// c [m, n] = alpha * op(a) b, n a multiple of 16; op(a) is a [m, k], or the transpose of a [k, m]; b [k, n].
// The last tile of rows overlaps the one before it where m is not a multiple of a tile.
static inline void small_product(bool transpose_a, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                                 int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc) {
    int64_t row_step = transpose_a ? 1 : lda, column_step = transpose_a ? lda : 1;
    for (int64_t j = 0; j < n; j += SMALL_WIDTH) {
        if (m < SMALL_ROWS) {
            for (int64_t i = 0; i < m; i++)
                small_tile(1, k, alpha, a + i * row_step, row_step, column_step, b + j, ldb, c + i * ldc + j, ldc);
            continue;
        }
        for (int64_t next = 0; next < m; next += SMALL_ROWS) {
            int64_t i = next + SMALL_ROWS <= m ? next : m - SMALL_ROWS;
            small_tile(SMALL_ROWS, k, alpha, a + i * row_step, row_step, column_step, b + j, ldb, c + i * ldc + j, ldc);
        }
    }
}

// b [n, stride] = the transpose of a [m, n], n a multiple of 4; b's columns from m up to a multiple of 16 become zeros.
//
// 4 x 4 elements at a time: weaving rows 0 with 2 and 1 with 3, lane by lane, twice over, is a transpose.
static inline void small_transpose(float *b, int64_t stride, const float *a, int64_t lda, int64_t m, int64_t n) {
    typedef float row __attribute__((vector_size(4 * sizeof(float)), aligned(4), may_alias));
    for (int64_t i = 0; i < m || i % SMALL_WIDTH; i += 4) {
        for (int64_t j = 0; j < n; j += 4) {
            row x[4] = {{0}}, y[4];
            for (int r = 0; r < 4; r++)
                if (i + r < m) x[r] = *(const row *)(a + (i + r) * lda + j);
            for (int r = 0; r < 2; r++) {
                y[2 * r] = __builtin_shufflevector(x[r], x[r + 2], 0, 4, 1, 5);
                y[2 * r + 1] = __builtin_shufflevector(x[r], x[r + 2], 2, 6, 3, 7);
            }
            for (int r = 0; r < 2; r++) {
                *(row *)(b + (j + 2 * r) * stride + i) = __builtin_shufflevector(y[r], y[r + 2], 0, 4, 1, 5);
                *(row *)(b + (j + 2 * r + 1) * stride + i) = __builtin_shufflevector(y[r], y[r + 2], 2, 6, 3, 7);
            }
        }
    }
}

#endif
