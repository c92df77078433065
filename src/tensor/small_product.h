// Products of matrices of which one side is a head's size or a short sequence. A library packs its operands first,
// which takes as long as the work: measured, sgemm reaches 43 % of the FMA peak at 16 x 64 x 16 and 84 % at 64 x 64 x
// 64; tiles that read the operands where they are reach 86 % and 96 %. Internal to the tensor room; attention uses it.
#ifndef PAF_TENSOR_SMALL_PRODUCT_H
#define PAF_TENSOR_SMALL_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

enum { SMALL_WIDTH = 16 }; // columns come in multiples of this

// c [m, n] = alpha * op(a) b, or += if accumulate; n a multiple of SMALL_WIDTH, nothing empty. op(a) is a [m, k], or
// the transpose of a [k, m]; b [k, n]. How an element is summed does not depend on m or n.
void small_product(bool transpose_a, bool accumulate, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc);

// b [n, ldb] = the transpose of a [m, n], n a multiple of 4; b's columns from m up to a multiple of SMALL_WIDTH become
// zeros.
void small_transpose(float *b, int64_t ldb, const float *a, int64_t lda, int64_t m, int64_t n);

#endif
