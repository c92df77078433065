// tensor: kernels on plain pointers, forward and backward, and the parameter table.
//
// Everything is float, row-major, local to the rank. A kernel takes outputs, inputs, dimensions, and knows no
// communicator and no options. Gradients begin with d and are accumulated (+=) for parameters, and set (=) for
// activations, unless a comment says otherwise. Rows of T are the tokens of a micro-batch, packed without padding.
// T may be 0 everywhere. Each fast kernel has a naive twin in naive.c that the tests hold it against.
//
// Long loops are shared over OpenMP's threads, whose number changes no bit of a result; only a matrix product's own
// rounding may depend on it.
#ifndef PAF_TENSOR_H
#define PAF_TENSOR_H

#include "base/base.h"

// ---- matrix products (gemm.c): oneDNN, or any CBLAS with `make GEMM=cblas` -----------------------------------------

// c [m, n] (row stride ldc) = alpha * op(a) op(b) + beta * c, where op(a) is a [m, k], or the transpose of a [k, m];
// op(b) is b [k, n], or the transpose of b [n, k]. Empty dimensions are allowed: k = 0 scales c by beta.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

// A linear layer, weight [out, in] as in PyTorch.
// y [T, out] = x [T, in] w^T + bias; bias NULL is none.
void linear_forward(float *y, const float *x, const float *w, const float *bias, int64_t tokens, int64_t in,
                    int64_t out);
// dx [T, in] = dy w, or dx += dy w if accumulate; NULL is not wanted.
void linear_backward_input(float *dx, const float *dy, const float *w, int64_t tokens, int64_t in, int64_t out,
                           bool accumulate);
// dw [out, in] += dy^T x; dbias [out] += column sums of dy, NULL is not wanted.
void linear_backward_weight(float *dw, float *dbias, const float *dy, const float *x, int64_t tokens, int64_t in,
                            int64_t out);
// column_sum [n] += sum over rows of x [m, n]
void column_sum_accumulate(float *column_sum, const float *x, int64_t m, int64_t n);

// ---- activations (activation.c) -----------------------------------------------------------------------------------

// The exact GELU, x Phi(x), Phi to 3e-7 absolute: act [T, n] = gelu(u + bias). slope [T, n] = gelu'(u + bias) is kept
// for backward, and NULL when there is none. act and u may be the same memory.
void bias_gelu_forward(float *act, float *slope, const float *u, const float *bias, int64_t tokens, int64_t n);
// du [T, n] = dact * slope; du and dact may be the same memory. dbias [n] += column sums of du.
void bias_gelu_backward(float *du, float *dbias, const float *dact, const float *slope, int64_t tokens, int64_t n);
void tanh_forward(float *y, const float *x, int64_t n);
void tanh_backward(float *dx, const float *dy, const float *y, int64_t n); // y is the forward output

// ---- dropout (dropout.c) ------------------------------------------------------------------------------------------
//
// An element is dropped if its 16 random bits are below round(65536 p); those that stay are scaled by 1 / (1 - p).
// Eight columns take one random block: column c uses block column c / 8; within it word (c % 8) / 2, low half first.
// The block's row is the token's global number (its place in the step's global batch), so that no layout, packing or
// micro-batch changes a mask. p = 0 draws nothing.

typedef struct {
    float p;
    random_stream stream; // seed, purpose, step, layer
} dropout;

// y [T, n] = x * mask / (1 - p); x and y may be the same memory. numbers [T] are the tokens' global numbers.
// Forward and backward are the same function.
void dropout_apply(float *y, const float *x, const int64_t *numbers, int64_t tokens, int64_t n, dropout d);

// ---- LayerNorm (layernorm.c) --------------------------------------------------------------------------------------

// The end of a layer, after the sum over a team, for the rows of one token slice:
//     s = residual + sum over b of D_b(bias_b + sum over i of parts_b[i])          y = LN(s) * gain + shift
// One branch (SAF, twice a layer) or two (PAF). residual NULL is none. Sums go over i in order, then over branches in
// order, so that every exchange kind gives the same bits.
typedef struct {
    const float *const *parts; // [count] pointers to [T, H]
    int count;
    const float *bias; // [H], NULL is none
    dropout drop;
} layernorm_branch;

// y [T, H]; normalised [T, H] (s before gain and shift, standardised) and rstd [T] are kept for backward, and may both
// be NULL when there is none. numbers [T]. y may be the same memory as residual.
void sum_layernorm_forward(float *y, float *normalised, float *rstd, const float *residual,
                           const layernorm_branch *branches, int n_branches, const int64_t *numbers, const float *gain,
                           const float *shift, float eps, int64_t tokens, int64_t hidden);

enum { LAYERNORM_BRANCHES = 2, LAYERNORM_WIDEST = 8192 }; // at most: branches, and H

// What goes into a branch: d [T, H] = D ds; dbias [H] accumulates d's column sums.
typedef struct {
    float *d, *dbias;
    dropout drop;
} layernorm_branch_gradient;

// dy [T, H] = residual_gradient + sum over i of parts[i] (either may be absent: NULL, 0 parts).
// ds [T, H] = LN backward of dy; dgain [H], dshift [H] accumulate. All in one pass over the rows.
// ds may be the same memory as residual_gradient; with several branches no d may be that of either. numbers [T], NULL
// without branches.
void sum_layernorm_backward(float *ds, float *dgain, float *dshift, const layernorm_branch_gradient *branches,
                            int n_branches, const float *residual_gradient, const float *const *parts, int count,
                            const float *normalised, const float *rstd, const float *gain, const int64_t *numbers,
                            int64_t tokens, int64_t hidden);

// out [T, H] = residual (NULL is none) + sum over i of parts[i], in order; out may be the same memory as residual.
void sum_parts(float *out, const float *residual, const float *const *parts, int count, int64_t tokens, int64_t hidden);

// ---- attention (attention.c) --------------------------------------------------------------------------------------

// Bias is added and rows are turned head by head: qkv_part [heads, T, head_size] from u [T, heads * head_size].
void attention_split_heads(float *part, const float *u, const float *bias, int64_t tokens, int64_t heads,
                           int64_t head_size);
// The way back, u [T, heads * head_size] from part [heads, T, head_size].
void attention_merge_heads(float *u, const float *part, int64_t tokens, int64_t heads, int64_t head_size);

// Attention over the heads this rank owns. out [T, heads * head_size] and lse [heads, T] belong to the caller; lse (log
// of the sum of exp of a row's scaled scores) is kept for backward, no S x S matrix is.
// qkv [3, heads, T, head_size]; starts [n + 1] are the sequences' first rows, starts[n] == T.
// Probabilities are dropped by `drop`: row = the query's global number (numbers [T]), head = the global head
// (first_head + h), column = the key's position in its sequence.
// scratch has attention_scratch_size(longest sequence) floats: a part for each thread that OpenMP may start,
// so that the number of threads may not grow afterwards.
void attention_forward(float *out, float *lse, const float *qkv, const int32_t *starts, int64_t n,
                       const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size, dropout drop,
                       float *scratch);
// dqkv [3, heads, T, head_size] is set. dout and out [T, heads * head_size].
void attention_backward(float *dqkv, const float *dout, const float *qkv, const float *out, const float *lse,
                        const int32_t *starts, int64_t n, const int64_t *numbers, int64_t heads, int64_t first_head,
                        int64_t head_size, dropout drop, float *scratch);
int64_t attention_scratch_size(int64_t longest);

// ---- embeddings (embedding.c) -------------------------------------------------------------------------------------

// This rank's share of the word embedding: out [T, H] = table[id - first_row] where first_row <= id < first_row + rows,
// zero elsewhere. table [rows, H].
void word_embedding_forward(float *out, const int32_t *ids, const float *table, int64_t first_row, int64_t rows,
                            int64_t tokens, int64_t hidden);
// dtable [rows, H] += dx rows of the ids that this rank owns.
void word_embedding_backward(float *dtable, const int32_t *ids, const float *dx, int64_t first_row, int64_t rows,
                             int64_t tokens, int64_t hidden);
// out [T, H] = position_table[positions] + type_table[types]
void place_embedding_forward(float *out, const int32_t *positions, const int32_t *types, const float *position_table,
                             const float *type_table, int64_t tokens, int64_t hidden);
void place_embedding_backward(float *dposition_table, float *dtype_table, const int32_t *positions,
                              const int32_t *types, const float *dx, int64_t tokens, int64_t hidden);

// ---- losses (loss.c) ----------------------------------------------------------------------------------------------

// Softmax cross-entropy of logits [n, classes] against labels [n]: returns the sum over rows in double. dlogits
// [n, classes] = scale * (softmax - one-hot), NULL is not wanted; it may be the same memory as logits.
double cross_entropy(float *dlogits, const float *logits, const int32_t *labels, int64_t n, int64_t classes,
                     float scale);
// Sum of (prediction - target)^2; dprediction [n] = scale * 2 (prediction - target), NULL is not wanted.
double squared_error(float *dprediction, const float *prediction, const float *target, int64_t n, float scale);
// Row-wise softmax, probabilities [n, classes]; in place is fine.
void softmax_rows(float *probabilities, const float *logits, int64_t n, int64_t classes);

// ---- cross-entropy over a vocabulary that ranks share (vocabulary_loss.c) -------------------------------------------
//
// A rank has the logits [n, rows] of the pieces first .. first + rows - 1, and no rank ever has all. Each makes
// statistics of its own; joined in rank order, they give every rank the log of the sum of exp of every row (lse), with
// which it turns its own logits into gradients.

typedef struct {
    double sum;   // of exp(logit - most)
    float most;   // the largest logit; -infinity without any
    float label;  // of the right piece; -infinity where another rank has it
    int64_t best; // the first piece with the largest logit
} vocabulary_statistics;

// stats [n]; labels [n] are pieces of the whole vocabulary.
void vocabulary_statistics_compute(vocabulary_statistics *stats, const float *logits, const int32_t *labels, int64_t n,
                                   int64_t first, int64_t rows);
// stats [ranks, n] -> lse [n]. Returns the sum of the rows' losses; *correct is how many labels are the best guess.
double vocabulary_statistics_join(double *lse, int64_t *correct, const vocabulary_statistics *stats, int ranks,
                                  const int32_t *labels, int64_t n);
// In place: dlogits [n, rows] = scale * (softmax - one-hot).
void vocabulary_cross_entropy_backward(float *logits, const double *lse, const int32_t *labels, int64_t n,
                                       int64_t first, int64_t rows, float scale);

// ---- what the machine can do (peak.c, bandwidth.c) -----------------------------------------------------------------

// GFLOP/s of independent fused multiply-adds, all threads of this rank together, measured for about `seconds`.
double peak_measure(double seconds);
// GB/s of a triad, a = b + s c, over arrays far larger than the caches, all threads of this rank together; the best
// pass of about `seconds`. Counted as the roofline counts a kernel: two arrays read, one written, each once. Takes 192
// MiB a thread for that long. Ranks that share a memory measure it at the same time.
double bandwidth_measure(double seconds);

// ---- the parameter table (parameter.c) ----------------------------------------------------------------------------
//
// The spine of the program: one row a logical tensor, whether this rank owns all, a part or none of it. Allocation,
// initialisation, optimizer, gradient reduction, checkpoint, import and export all walk it. The logical tensor is
// rows x columns (a vector has one row... and is 1-D in files); a rank holds one rectangle of it, packed.

typedef enum { SPLIT_NONE, SPLIT_ROWS, SPLIT_COLUMNS, SPLIT_TILES } parameter_split;
typedef enum { INITIAL_NORMAL, INITIAL_ZERO, INITIAL_ONE } parameter_initial;

typedef struct {
    char name[128];        // Hugging Face's, e.g. encoder.layer.3.attention.self.query.weight
    int dimensions;        // 1 or 2
    int64_t shape[2];      // logical; a vector is {n, 1}
    parameter_split split; // what is shared out over the team: one dimension, or both (TILES); NONE: every rank of the
                           // team holds all of it
    int64_t offset[2];     // this rank's rectangle
    int64_t size[2];       // {0, 0} where this rank holds nothing
    bool decay;            // weight decay applies
    bool writer; // this rank is the lowest owner of its rectangle in the team: counts in norms, writes checkpoints
    bool tied;   // another stage has the tensor, too, and counts and writes it
    int64_t own_first, own_rows; // of this rank's rows, those that it updates and has moments of; all, until
                                 // parameter_own says otherwise
    parameter_initial initial;
    float *value, *gradient;  // [size[0], size[1]], in the table's arenas
    float *moment1, *moment2; // [own_rows, size[1]]; NULL where there is no optimizer
} parameter;

typedef struct {
    parameter *rows;
    size_t n, capacity;
    // Replicated tensors lie together at the front of the arenas, so that one reduction sums their gradients:
    //     | SPLIT_NONE rows | rows that are split |
    int64_t replicated;         // floats of the front part, padding included
    int64_t total;              // floats in all, padding included
    int64_t owned;              // of those that this rank updates
    bool duplicate;             // another replica has the same, and writes it
    float *values, *gradients;  // [total]
    float *moments1, *moments2; // [owned]; NULL where there is no optimizer
} parameter_table;

// Adds a row and returns its index; the split dimension's own range is [first, first + count). A vector has columns 1.
size_t parameter_add(parameter_table *table, const char *name, int dimensions, int64_t rows, int64_t columns,
                     parameter_split split, int64_t first, int64_t count, bool writer, bool decay,
                     parameter_initial initial);
// The same of a matrix in tiles, of which this rank holds, and writes, rows and columns first .. first + count - 1.
size_t parameter_add_tile(parameter_table *table, const char *name, int64_t rows, int64_t columns,
                          const int64_t first[2], const int64_t count[2], bool decay, parameter_initial initial);
// This rank updates only so many of its rows; before parameter_measure.
void parameter_own(parameter *p, int64_t first, int64_t rows);
// The part of value and gradient that this rank updates: where it begins, and how many elements it has.
int64_t parameter_own_first(const parameter *p);
int64_t parameter_own_count(const parameter *p);
// Says how much there is: table->replicated, table->total and table->owned.
void parameter_measure(parameter_table *table);
// Lays out and allocates values and, if wanted, gradients and moments (zeroed).
void parameter_allocate(parameter_table *table, bool gradients, bool moments);
// N(0, deviation) by name of tensor and place of element, so that no layout changes it; zeros; ones.
void parameter_initialise(parameter_table *table, uint64_t seed, double deviation);
parameter *parameter_find(const parameter_table *table, const char *name); // NULL if there is none
int64_t parameter_count(const parameter *p);                               // elements that this rank holds
void parameter_zero_gradients(parameter_table *table);
void parameter_destroy(parameter_table *table);

// ---- naive twins (naive.c), for the tests -------------------------------------------------------------------------
// Same contracts, double inside, written to be read.

void naive_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void naive_bias_gelu_forward(float *act, float *slope, const float *u, const float *bias, int64_t tokens, int64_t n);
void naive_bias_gelu_backward(float *du, float *dbias, const float *dact, const float *slope, int64_t tokens,
                              int64_t n);
void naive_dropout_apply(float *y, const float *x, const int64_t *numbers, int64_t tokens, int64_t n, dropout d);
void naive_sum_layernorm_forward(float *y, float *normalised, float *rstd, const float *residual,
                                 const layernorm_branch *branches, int n_branches, const int64_t *numbers,
                                 const float *gain, const float *shift, float eps, int64_t tokens, int64_t hidden);
void naive_sum_layernorm_backward(float *ds, float *dgain, float *dshift, const layernorm_branch_gradient *branches,
                                  int n_branches, const float *residual_gradient, const float *const *parts, int count,
                                  const float *normalised, const float *rstd, const float *gain, const int64_t *numbers,
                                  int64_t tokens, int64_t hidden);
void naive_attention_forward(float *out, float *lse, const float *qkv, const int32_t *starts, int64_t n,
                             const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size,
                             dropout drop);
void naive_attention_backward(float *dqkv, const float *dout, const float *qkv, const int32_t *starts, int64_t n,
                              const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size,
                              dropout drop);
double naive_cross_entropy(float *dlogits, const float *logits, const int32_t *labels, int64_t n, int64_t classes,
                           float scale);

#endif
