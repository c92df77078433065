// Matrix products: the one place that calls oneDNN or a CBLAS, checked; linear layers on top of them.
#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#ifdef PAF_GEMM_CBLAS

#include <cblas.h>
#include <limits.h>

// CBLAS counts in int, in most builds.
static int checked_int(int64_t n) {
    if (n > INT_MAX) FATAL("a matrix of dimension %lld is too large for CBLAS", (long long)n);
    return (int)n;
}

static void library_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                         const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                checked_int(m), checked_int(n), checked_int(k), alpha, a, checked_int(lda), b, checked_int(ldb), beta,
                c, checked_int(ldc));
}

#else

#include <oneapi/dnnl/dnnl.h>

static void checked_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    dnnl_status_t status =
        dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (status != dnnl_success)
        FATAL("dnnl_sgemm of %lld x %lld x %lld with strides %lld, %lld, %lld failed with status %d", (long long)m,
              (long long)n, (long long)k, (long long)lda, (long long)ldb, (long long)ldc, (int)status);
}

// From 16 rows on, dnnl_sgemm first makes a packed copy of a transposed b, which few rows do not repay: measured on one
// thread, 16 rows by 384 x 1536 run at 47 GFLOP/s, 64 at 84, 15 at 104, of 118. So few rows go a dozen at a time, over
// one block of b after the other, that stays in the second-level cache: 106 for 16 rows as for 64. A large b is repaid
// later than a small one.
enum {
    FEWEST = 16,         // rows: fewer are not packed
    FEW = 64,            // rows that repay packing a small b
    FEW_FOR_LARGE = 256, // rows that repay packing a large b
    DOZEN = 12,          // rows at a time
    LONG = 256,          // depth, in elements: a shorter sum does not lose by packing
    BLOCK_ROWS = 48,     // rows of b at a time, at least
    BLOCK = 1 << 17      // floats of b at a time
};

static bool packing_costs(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k) {
    int64_t few = n * k < 4 * BLOCK ? FEW : FEW_FOR_LARGE;
    return !transpose_a && transpose_b && m >= FEWEST && m < few && k >= LONG && omp_get_max_threads() == 1;
}

static void library_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                         const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (!packing_costs(transpose_a, transpose_b, m, n, k)) {
        checked_sgemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    int64_t block = BLOCK / k > BLOCK_ROWS ? BLOCK / k : BLOCK_ROWS; // rows of b
    for (int64_t j = 0; j < n; j += block)
        for (int64_t i = 0; i < m; i += DOZEN)
            checked_sgemm(false, true, smaller(DOZEN, m - i), smaller(block, n - j), k, alpha, a + i * lda, lda,
                          b + j * ldb, ldb, beta, c + i * ldc + j, ldc);
}

#endif

// c [m, n] = beta * c, where beta = 0 forgets whatever was there, NaN included.
static void scale_matrix(float *c, int64_t m, int64_t n, int64_t ldc, float beta) {
    for (int64_t i = 0; i < m; i++) {
        float *row = c + i * ldc;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) row[j] = beta == 0 ? 0 : beta * row[j];
    }
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m == 0 || n == 0) return;
    if (k == 0)
        scale_matrix(c, m, n, ldc, beta);
    else
        library_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void linear_forward(float *y, const float *x, const float *w, const float *bias, int64_t tokens, int64_t in,
                    int64_t out) {
    gemm(false, true, tokens, out, in, 1, x, in, w, in, 0, y, out);
    if (!bias) return;
#pragma omp parallel for if (worth_threads(tokens * out))
    for (int64_t t = 0; t < tokens; t++) row_add(y + t * out, bias, out);
}

void linear_backward_input(float *dx, const float *dy, const float *w, int64_t tokens, int64_t in, int64_t out,
                           bool accumulate) {
    if (dx) gemm(false, false, tokens, in, out, 1, dy, out, w, in, accumulate, dx, in);
}

void linear_backward_weight(float *dw, float *dbias, const float *dy, const float *x, int64_t tokens, int64_t in,
                            int64_t out) {
    gemm(true, false, out, in, tokens, 1, dy, out, x, in, 1, dw, in);
    if (dbias) column_sum_accumulate(dbias, dy, tokens, out);
}

void column_sum_accumulate(float *column_sum, const float *x, int64_t m, int64_t n) {
#pragma omp parallel for collapse(2) ordered schedule(static, 1) if (worth_threads(m * n))
    for (int64_t from = 0; from < n; from += STRIP) {
        for (int64_t first = 0; first < m; first += ROW_BLOCK) {
            float sum[STRIP] = {0};
            int64_t width = smaller(STRIP, n - from), last = smaller(first + ROW_BLOCK, m);
            for (int64_t t = first; t < last; t++) {
                const float *row = x + t * n + from;
#pragma omp simd
                for (int64_t c = 0; c < width; c++) sum[c] += row[c];
            }
#pragma omp ordered
            row_add(column_sum + from, sum, width);
        }
    }
}
