// Packed multi-head attention. One (sequence, head) pair at a time, a block of its queries at a time: their scores fit
// into the second-level cache, and nothing that grows with the square of a sequence's length is kept.
#include "tensor/dropout.h"
#include "tensor/small_product.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

enum {
    QUERY_BLOCK = 128,    // queries whose scores are computed at a time
    SHORT_SEQUENCE = 32,  // up to here, our own products beat a library call
    SHORT_HEAD_SIZE = 128 // if heads are no larger than this, and a multiple of SMALL_WIDTH
};

// One sequence in one head.
typedef struct {
    const float *q, *k, *v; // [length, head_size]
    const int64_t *numbers; // [length]
    uint32_t head;          // its global number
    int64_t length, head_size;
    int64_t width;  // length, rounded up to whole vectors; what lies beyond length is never used
    int64_t stride; // between rows of scores
    float scale;    // 1 / sqrt(head_size)
    bool is_short;  // takes our own products
} pair;

static int64_t padded_width(int64_t length) { return (length + SMALL_WIDTH - 1) / SMALL_WIDTH * SMALL_WIDTH; }

// An odd number of cache lines, for the sake of the caches' sets; short sequences lie densely.
static int64_t padded_stride(int64_t length) {
    return length <= SHORT_SEQUENCE ? padded_width(length) : (padded_width(length) / SMALL_WIDTH | 1) * SMALL_WIDTH;
}

// What attention_scratch_size measures, for sequences of any length up to the longest:
//
//     | scores [block, stride] | gradients [block, stride] | spare [head_size, stride] | bits [block, width], 16 each |
//
// with block = min(length, QUERY_BLOCK); spare is the transpose of short keys or values. Each thread has its own.
typedef struct {
    float *scores, *gradients, *spare;
    uint16_t *bits;
} workspace;

static workspace workspace_create(float *scratch, int64_t length) {
    int64_t block = smaller(length, QUERY_BLOCK) * padded_stride(length);
    float *spare = scratch + 2 * block;
    return (workspace){scratch, scratch + block, spare, (uint16_t *)(spare + SHORT_HEAD_SIZE * SHORT_SEQUENCE)};
}

static int64_t workspace_size(int64_t longest) {
    int64_t block = smaller(longest, QUERY_BLOCK) * padded_stride(longest);
    return 2 * block + SHORT_HEAD_SIZE * SHORT_SEQUENCE + padded_width(block / 2); // threads share no cache line
}

int64_t attention_scratch_size(int64_t longest) { return omp_get_max_threads() * workspace_size(longest); }

static int64_t longest_of(const int32_t *starts, int64_t n) {
    int64_t longest = 0;
    for (int64_t i = 0; i < n; i++)
        if (starts[i + 1] - starts[i] > longest) longest = starts[i + 1] - starts[i];
    return longest;
}

// The sequence from row `start` to `end`, in head h of this rank.
static pair pair_create(int64_t start, int64_t end, int64_t h, const float *qkv, int64_t tokens, const int64_t *numbers,
                        int64_t heads, int64_t first_head, int64_t head_size) {
    int64_t plane = heads * tokens * head_size, at = (h * tokens + start) * head_size, length = end - start;
    return (pair){
        .q = qkv + at,
        .k = qkv + plane + at,
        .v = qkv + 2 * plane + at,
        .numbers = numbers + start,
        .head = (uint32_t)(first_head + h),
        .length = length,
        .head_size = head_size,
        .width = padded_width(length),
        .stride = padded_stride(length),
        .scale = 1 / sqrtf((float)head_size),
        .is_short = length <= SHORT_SEQUENCE && head_size % SMALL_WIDTH == 0 && head_size <= SHORT_HEAD_SIZE,
    };
}

// c [rows, stride] = alpha * a b^T, with a [rows, head_size] (row stride lda) and b [length, head_size].
static void product_with_transposed(float *c, const pair *p, float alpha, const float *a, int64_t lda, const float *b,
                                    int64_t rows, float *spare) {
    if (p->is_short) {
        small_transpose(spare, p->stride, b, p->head_size, p->length, p->head_size);
        small_product(false, rows, p->width, p->head_size, alpha, a, lda, spare, p->stride, c, p->stride);
    } else {
        gemm(false, true, rows, p->length, p->head_size, alpha, a, lda, b, p->head_size, 0, c, p->stride);
    }
}

// c [rows, head_size] (row stride ldc) = a b, with a [rows, stride] like scores and b [length, head_size].
static void product_with_rows(float *c, int64_t ldc, const pair *p, const float *a, const float *b, int64_t rows) {
    if (p->is_short)
        small_product(false, rows, p->head_size, p->length, 1, a, p->stride, b, p->head_size, c, ldc);
    else
        gemm(false, false, rows, p->head_size, p->length, 1, a, p->stride, b, p->head_size, 0, c, ldc);
}

// c [length, head_size] = a^T b, or += if accumulate, with a [rows, stride] like scores and b [rows, head_size] (row
// stride ldb). A short sequence is one block, which never accumulates.
static void product_over_queries(float *c, const pair *p, const float *a, const float *b, int64_t ldb, int64_t rows,
                                 bool accumulate) {
    if (p->is_short)
        small_product(true, p->length, p->head_size, rows, 1, a, p->stride, b, ldb, c, p->head_size);
    else
        gemm(true, false, p->length, p->head_size, rows, 1, a, p->stride, b, ldb, accumulate, c, p->head_size);
}

// The scores of queries first .. first + rows - 1, and the random bits of their probabilities. Without dropout the bits
// are left alone: none is below a threshold of 0.
static void score_queries(workspace w, const pair *p, int64_t first, int64_t rows, dropout drop) {
    product_with_transposed(w.scores, p, p->scale, p->q + first * p->head_size, p->head_size, p->k, rows, w.spare);
    if (drop.p > 0) dropout_bits(w.bits, drop.stream, p->numbers + first, rows, p->head, 0, p->width / DROPOUT_COLUMNS);
}

// Scores become probabilities with dropout, in place; returns the log of the sum of their exponentials.
static float softmax_row(float *row, const uint16_t *bits, const pair *p, dropout_rule rule) {
    for (int64_t c = p->length; c < p->width; c++) row[c] = -INFINITY;
    float most = row_maximum(row, p->width);
    float sum = (float)row_exp(row, row, most, p->width), inverse = 1 / sum;
#pragma omp simd
    for (int64_t c = 0; c < p->width; c++) row[c] *= inverse * dropout_factor(rule, bits[c]);
    return most + logf(sum);
}

// Scores become probabilities P with dropout F, in place, and the gradients of what the values were multiplied with,
// P F, become those of the scores: P (F gradient - dot) scale, where dot is the sum over the row of P F gradient.
static void softmax_backward_row(float *restrict row, float *restrict gradient, const uint16_t *bits, const pair *p,
                                 dropout_rule rule, float lse, float dot) {
    float scale = p->scale;
#pragma omp simd
    for (int64_t c = 0; c < p->width; c++) {
        float probability = vector_exp(row[c] - lse), factor = dropout_factor(rule, bits[c]);
        row[c] = probability * factor;
        gradient[c] = probability * (factor * gradient[c] - dot) * scale;
    }
}

// out [length, row stride ldo] and lse [length] of one pair.
static void pair_forward(float *out, int64_t ldo, float *lse, const pair *p, dropout drop, float *scratch) {
    workspace w = workspace_create(scratch, p->length);
    dropout_rule rule = dropout_rule_create(drop);
    for (int64_t first = 0; first < p->length; first += QUERY_BLOCK) {
        int64_t rows = smaller(QUERY_BLOCK, p->length - first);
        score_queries(w, p, first, rows, drop);
        for (int64_t i = 0; i < rows; i++)
            lse[first + i] = softmax_row(w.scores + i * p->stride, w.bits + i * p->width, p, rule);
        product_with_rows(out + first * ldo, ldo, p, w.scores, p->v, rows);
    }
}

// dq, dk, dv [length, head_size] of one pair; dout and out [length, row stride ldo].
static void pair_backward(float *dq, float *dk, float *dv, const float *dout, const float *out, int64_t ldo,
                          const float *lse, const pair *p, dropout drop, float *scratch) {
    workspace w = workspace_create(scratch, p->length);
    dropout_rule rule = dropout_rule_create(drop);
    for (int64_t first = 0; first < p->length; first += QUERY_BLOCK) {
        int64_t rows = smaller(QUERY_BLOCK, p->length - first);
        const float *dout_block = dout + first * ldo, *out_block = out + first * ldo;
        score_queries(w, p, first, rows, drop);
        product_with_transposed(w.gradients, p, 1, dout_block, ldo, p->v, rows, w.spare);
        for (int64_t i = 0; i < rows; i++)
            softmax_backward_row(w.scores + i * p->stride, w.gradients + i * p->stride, w.bits + i * p->width, p, rule,
                                 lse[first + i],
                                 (float)row_dot(dout_block + i * ldo, out_block + i * ldo, 0, p->head_size));
        product_over_queries(dv, p, w.scores, dout_block, ldo, rows, first > 0);
        product_over_queries(dk, p, w.gradients, p->q + first * p->head_size, p->head_size, rows, first > 0);
        product_with_rows(dq + first * p->head_size, p->head_size, p, w.gradients, p->k, rows);
    }
}

// Threads share the pairs. A library's product inside gets one thread, also where one thread does all pairs, so that
// its bits do not depend on the number of threads.
//
// Head by head: queries, keys and values are read as one stream. Heads are equally long, and neighbouring pairs write
// to neighbouring places of lse, so that a thread begins with a long row of pairs.
void attention_forward(float *out, float *lse, const float *qkv, const int32_t *starts, int64_t n,
                       const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size, dropout drop,
                       float *scratch) {
    int64_t tokens = starts[n], ldo = heads * head_size, size = workspace_size(longest_of(starts, n));
#pragma omp parallel if (worth_threads(3 * tokens * ldo))
    {
        omp_set_num_threads(1);
        float *own = scratch + omp_get_thread_num() * size;
#pragma omp for collapse(2) schedule(guided)
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t i = 0; i < n; i++) {
                int64_t start = starts[i];
                pair p = pair_create(start, starts[i + 1], h, qkv, tokens, numbers, heads, first_head, head_size);
                pair_forward(out + start * ldo + h * head_size, ldo, lse + h * tokens + start, &p, drop, own);
            }
        }
    }
}

// Sequence by sequence: more of the rows [T, heads * head_size] are touched than forward. Sequences are not equally
// long, so that threads take one pair at a time.
void attention_backward(float *dqkv, const float *dout, const float *qkv, const float *out, const float *lse,
                        const int32_t *starts, int64_t n, const int64_t *numbers, int64_t heads, int64_t first_head,
                        int64_t head_size, dropout drop, float *scratch) {
    int64_t tokens = starts[n], ldo = heads * head_size, plane = heads * tokens * head_size;
    int64_t size = workspace_size(longest_of(starts, n));
#pragma omp parallel if (worth_threads(3 * tokens * ldo))
    {
        omp_set_num_threads(1);
        float *own = scratch + omp_get_thread_num() * size;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t i = 0; i < n; i++) {
            for (int64_t h = 0; h < heads; h++) {
                int64_t start = starts[i], in_rows = start * ldo + h * head_size;
                pair p = pair_create(start, starts[i + 1], h, qkv, tokens, numbers, heads, first_head, head_size);
                float *dq = dqkv + (h * tokens + start) * head_size;
                pair_backward(dq, dq + plane, dq + 2 * plane, dout + in_rows, out + in_rows, ldo,
                              lse + h * tokens + start, &p, drop, own);
            }
        }
    }
}

void attention_split_heads(float *part, const float *u, const float *bias, int64_t tokens, int64_t heads,
                           int64_t head_size) {
#pragma omp parallel for collapse(2) if (worth_threads(tokens * heads * head_size))
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t t = 0; t < tokens; t++) {
            float *to = part + (h * tokens + t) * head_size;
            const float *from = u + (t * heads + h) * head_size, *bias_head = bias + h * head_size;
#pragma omp simd
            for (int64_t c = 0; c < head_size; c++) to[c] = from[c] + bias_head[c];
        }
    }
}

void attention_merge_heads(float *u, const float *part, int64_t tokens, int64_t heads, int64_t head_size) {
#pragma omp parallel for if (worth_threads(tokens * heads * head_size))
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++)
            memcpy(u + (t * heads + h) * head_size, part + (h * tokens + t) * head_size, head_size * sizeof *u);
}
