// Packed multi-head attention. One (sequence, head) pair at a time, a block of its queries at a time: their scores fit
// into the second-level cache, and nothing that grows with the square of a sequence's length is kept.
#include "tensor/dropout.h"
#include "tensor/small_product.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

enum {
    QUERY_BLOCK = 96,     // queries whose scores are computed at a time
    SMALL_HEAD_SIZE = 128 // heads no larger than this, and a multiple of SMALL_WIDTH, take our own products
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
    bool is_small;  // takes our own products
} pair;

static int64_t padded_width(int64_t length) { return (length + SMALL_WIDTH - 1) / SMALL_WIDTH * SMALL_WIDTH; }

// An odd number of cache lines, for the sake of the caches' sets.
static int64_t padded_stride(int64_t length) { return (padded_width(length) / SMALL_WIDTH | 1) * SMALL_WIDTH; }

// What attention_scratch_size measures, for sequences of any length up to the longest; stride is that of scores:
//
//     | scores, gradients [block, stride] | keys, values [128, stride] | sums [block] | bits [block, width], 16 each |
//
// with block = min(length, QUERY_BLOCK). keys and values are transposes, for our own products. Each thread has its own.
typedef struct {
    float *scores, *gradients, *keys, *values, *sums;
    uint16_t *bits;
} workspace;

static workspace workspace_create(float *scratch, int64_t length) {
    int64_t stride = padded_stride(length), block = smaller(length, QUERY_BLOCK);
    workspace w = {.scores = scratch, .gradients = scratch + block * stride};
    w.keys = w.gradients + block * stride;
    w.values = w.keys + SMALL_HEAD_SIZE * stride;
    w.sums = w.values + SMALL_HEAD_SIZE * stride;
    w.bits = (uint16_t *)(w.sums + padded_width(block));
    return w;
}

// Threads share no cache line.
static int64_t workspace_size(int64_t longest) {
    int64_t stride = padded_stride(longest), block = smaller(longest, QUERY_BLOCK);
    return 2 * (block + SMALL_HEAD_SIZE) * stride + padded_width(block) + padded_width(block * stride / 2);
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
        .is_small = head_size % SMALL_WIDTH == 0 && head_size <= SMALL_HEAD_SIZE,
    };
}

// ---- products: our own, or the library's ---------------------------------------------------------------------------

// The transpose of keys or values x [length, head_size], for the products that want it.
static void transpose(float *xt, const float *x, const pair *p) {
    if (p->is_small) small_transpose(xt, p->stride, x, p->head_size, p->length, p->head_size);
}

// c [rows, stride] = alpha * a x^T, with a [rows, head_size] (row stride lda), and x and xt as above.
static void product_with_transpose(float *c, const pair *p, float alpha, const float *a, int64_t lda, const float *x,
                                   const float *xt, int64_t rows) {
    if (p->is_small)
        small_product(false, false, rows, p->width, p->head_size, alpha, a, lda, xt, p->stride, c, p->stride);
    else
        gemm(false, true, rows, p->length, p->head_size, alpha, a, lda, x, p->head_size, 0, c, p->stride);
}

// c [rows, head_size] (row stride ldc) = alpha * a x, with a [rows, stride] like scores and x [length, head_size].
static void product_over_keys(float *c, int64_t ldc, const pair *p, float alpha, const float *a, const float *x,
                              int64_t rows) {
    if (p->is_small)
        small_product(false, false, rows, p->head_size, p->length, alpha, a, p->stride, x, p->head_size, c, ldc);
    else
        gemm(false, false, rows, p->head_size, p->length, alpha, a, p->stride, x, p->head_size, 0, c, ldc);
}

// c [length, head_size] = alpha * a^T x, or += if accumulate, with a [rows, stride] like scores and x [rows, head_size]
// (row stride ldx).
static void product_over_queries(float *c, const pair *p, float alpha, const float *a, const float *x, int64_t ldx,
                                 int64_t rows, bool accumulate) {
    if (p->is_small)
        small_product(true, accumulate, p->length, p->head_size, rows, alpha, a, p->stride, x, ldx, c, p->head_size);
    else
        gemm(true, false, p->length, p->head_size, rows, alpha, a, p->stride, x, ldx, accumulate, c, p->head_size);
}

// ---- one pair ------------------------------------------------------------------------------------------------------
//
// P are the probabilities exp(scores - lse), M is dropout's mask of zeros and ones, f = 1 / (1 - p): out = f (P M) v.
// Factors that a whole row shares are left to the products, or to the shorter rows of out: forward's rows of scores
// become exp(scores - most) M, and out is scaled by f / sum; backward's products multiply by f and the scores' scale.

// The scores of queries first .. first + rows - 1, and the random bits of their probabilities. Without dropout the bits
// are left alone: none is below a threshold of 0.
static void score_queries(workspace w, const pair *p, int64_t first, int64_t rows, dropout drop) {
    product_with_transpose(w.scores, p, p->scale, p->q + first * p->head_size, p->head_size, p->k, w.keys, rows);
    if (drop.p > 0) dropout_bits(w.bits, drop.stream, p->numbers + first, rows, p->head, 0, p->width / DROPOUT_COLUMNS);
}

// What the products left behind the ends of scores' rows becomes -infinity. This is done for all rows before one is
// read: a vector that was just written in parts could not be loaded before its parts had reached the cache.
static void pad_scores(float *scores, const pair *p, int64_t rows) {
    int64_t last = p->width - SMALL_WIDTH;
    for (int64_t i = 0; i < rows && p->length < p->width; i++) {
        float *row = scores + i * p->stride;
#pragma omp simd
        for (int64_t c = last; c < last + SMALL_WIDTH; c++) row[c] = c < p->length ? row[c] : -INFINITY;
    }
}

// Rows are taken EXP_LANES columns at a time, which keeps two chains of operations going, and half of that at the end.
enum { EXP_LANES = 2 * SMALL_WIDTH };

static inline void masked_exp_step(float *restrict lane, float *restrict row, const uint16_t *restrict bits,
                                   uint32_t threshold, float most, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) {
        float e = vector_exp(row[l] - most);
        lane[l] += e;
        row[l] = bits[l] < threshold ? 0 : e;
    }
}

// row [width] = exp(row - most) M; returns the sum without M.
static float exp_row(float *row, const uint16_t *bits, uint32_t threshold, float most, int64_t width) {
    float lane[EXP_LANES] = {0};
    int64_t c = 0;
    for (; c + EXP_LANES <= width; c += EXP_LANES) masked_exp_step(lane, row + c, bits + c, threshold, most, EXP_LANES);
    if (c < width) masked_exp_step(lane, row + c, bits + c, threshold, most, SMALL_WIDTH);
    row_add(lane, lane + SMALL_WIDTH, SMALL_WIDTH);
    return lanes_sum(lane);
}

static inline void softmax_backward_step(float *restrict row, float *restrict gradient, const uint16_t *restrict bits,
                                         uint32_t threshold, float lse, float dot, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) {
        float probability = vector_exp(row[l] - lse);
        bool kept = bits[l] >= threshold;
        row[l] = kept ? probability : 0;
        gradient[l] = probability * ((kept ? gradient[l] : 0) - dot);
    }
}

// row [width] of scores becomes P M; gradient, f d(P M), becomes that of the scores (but for their scale),
// P (M gradient - dot), where dot is the sum over the row of P M gradient.
static void softmax_backward_row(float *row, float *gradient, const uint16_t *bits, uint32_t threshold, float lse,
                                 float dot, int64_t width) {
    int64_t c = 0;
    for (; c + EXP_LANES <= width; c += EXP_LANES)
        softmax_backward_step(row + c, gradient + c, bits + c, threshold, lse, dot, EXP_LANES);
    if (c < width) softmax_backward_step(row + c, gradient + c, bits + c, threshold, lse, dot, SMALL_WIDTH);
}

// out [length, row stride ldo] and lse [length] of one pair.
static void pair_forward(float *out, int64_t ldo, float *lse, const pair *p, dropout drop, float *scratch) {
    workspace w = workspace_create(scratch, p->length);
    dropout_rule rule = dropout_rule_create(drop);
    transpose(w.keys, p->k, p);
    for (int64_t first = 0; first < p->length; first += QUERY_BLOCK) {
        int64_t rows = smaller(QUERY_BLOCK, p->length - first);
        score_queries(w, p, first, rows, drop);
        pad_scores(w.scores, p, rows);
        for (int64_t i = 0; i < rows; i++) {
            float *row = w.scores + i * p->stride;
            float most = row_maximum(row, p->width);
            w.sums[i] = exp_row(row, w.bits + i * p->width, rule.threshold, most, p->width);
            lse[first + i] = most;
        }
        product_over_keys(out + first * ldo, ldo, p, 1, w.scores, p->v, rows);
        for (int64_t i = 0; i < rows; i++) {
            float *row = out + (first + i) * ldo;
            lse[first + i] += logf(w.sums[i]);
            row_scale(row, row, rule.scale / w.sums[i], p->head_size);
        }
    }
}

// dq, dk, dv [length, head_size] of one pair; dout and out [length, row stride ldo].
static void pair_backward(float *dq, float *dk, float *dv, const float *dout, const float *out, int64_t ldo,
                          const float *lse, const pair *p, dropout drop, float *scratch) {
    workspace w = workspace_create(scratch, p->length);
    dropout_rule rule = dropout_rule_create(drop);
    transpose(w.keys, p->k, p);
    transpose(w.values, p->v, p);
    for (int64_t first = 0; first < p->length; first += QUERY_BLOCK) {
        int64_t rows = smaller(QUERY_BLOCK, p->length - first);
        const float *q = p->q + first * p->head_size, *d = dout + first * ldo, *o = out + first * ldo;
        score_queries(w, p, first, rows, drop);
        product_with_transpose(w.gradients, p, rule.scale, d, ldo, p->v, w.values, rows);
        for (int64_t i = 0; i < rows; i++)
            softmax_backward_row(w.scores + i * p->stride, w.gradients + i * p->stride, w.bits + i * p->width,
                                 rule.threshold, lse[first + i],
                                 (float)row_dot(d + i * ldo, o + i * ldo, 0, p->head_size), p->width);
        product_over_queries(dv, p, rule.scale, w.scores, d, ldo, rows, first > 0);
        product_over_queries(dk, p, p->scale, w.gradients, q, p->head_size, rows, first > 0);
        product_over_keys(dq + first * p->head_size, p->head_size, p, p->scale, w.gradients, p->k, rows);
    }
}

// ---- all pairs -----------------------------------------------------------------------------------------------------

// Asks for x [rows, stride], `width` floats of each row, ahead of time. A pair's rows lie in so many short pieces that
// the processor does not guess the next ones, and short sequences would wait for memory more than they compute. Beyond
// PREFETCH_LONGEST tokens, where the five inputs of a head of 64 are 160 KB, there is enough to compute, and the next
// pair would only take second-level cache from this one.
enum { PREFETCH_LONGEST = 128 };

static void prefetch(const float *x, int64_t rows, int64_t stride, int64_t width) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c += SMALL_WIDTH) __builtin_prefetch(x + i * stride + c, 0, 2);
}

// Queries, keys and values that lie `distance` floats behind those of p.
static void prefetch_inputs(const pair *p, int64_t distance, int64_t length) {
    const float *const inputs[] = {p->q, p->k, p->v};
    for (int i = 0; i < 3; i++) prefetch(inputs[i] + distance, 1, 0, length * p->head_size);
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
                int64_t start = starts[i], next = i + 1 < n ? starts[i + 2] - starts[i + 1] : 0;
                pair p = pair_create(start, starts[i + 1], h, qkv, tokens, numbers, heads, first_head, head_size);
                if (next <= PREFETCH_LONGEST) prefetch_inputs(&p, p.length * head_size, next);
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
                if (h + 1 < heads && p.length <= PREFETCH_LONGEST) {
                    prefetch_inputs(&p, tokens * head_size, p.length);
                    prefetch(dout + in_rows + head_size, p.length, ldo, head_size);
                    prefetch(out + in_rows + head_size, p.length, ldo, head_size);
                }
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
