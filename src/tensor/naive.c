// Naive twins of the fast kernels: the same contracts, double inside, written to be read. The tests hold the kernels
// against them; nothing else calls them.
#include "tensor/tensor.h"

#include <math.h>

void naive_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t d = 0; d < k; d++)
                sum += (double)a[transpose_a ? d * lda + i : i * lda + d] * b[transpose_b ? j * ldb + d : d * ldb + j];
            c[i * ldc + j] = (float)(alpha * sum + (beta == 0 ? 0 : (double)beta * c[i * ldc + j]));
        }
    }
}

void naive_bias_gelu_forward(float *act, float *slope, const float *u, const float *bias, int64_t tokens, int64_t n) {
    for (int64_t i = 0; i < tokens * n; i++) {
        double x = u[i] + bias[i % n], phi = 0.5 * erfc(-x * M_SQRT1_2), density = exp(-x * x / 2) / sqrt(2 * M_PI);
        act[i] = (float)(x * phi);
        if (slope) slope[i] = (float)(phi + x * density);
    }
}

void naive_bias_gelu_backward(float *du, float *dbias, const float *dact, const float *slope, int64_t tokens,
                              int64_t n) {
    for (int64_t c = 0; c < n; c++) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; t++) {
            double d = (double)dact[t * n + c] * slope[t * n + c];
            du[t * n + c] = (float)d;
            sum += d;
        }
        dbias[c] += (float)sum;
    }
}

// What dropout multiplies column c of row `number` with.
static double dropout_multiplier(dropout d, int64_t number, int64_t c, int64_t head) {
    if (d.p == 0) return 1;
    uint32_t block[4];
    random_block(block, d.stream, (uint64_t)number, (uint32_t)(c / 8), (uint32_t)head);
    uint32_t word = block[c % 8 / 2], bits = c % 2 == 0 ? word & 0xffff : word >> 16;
    return bits < lround(65536.0 * d.p) ? 0 : 1 / (1 - (double)d.p);
}

void naive_dropout_apply(float *y, const float *x, const int64_t *numbers, int64_t tokens, int64_t n, dropout d) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < n; c++) y[t * n + c] = (float)(x[t * n + c] * dropout_multiplier(d, numbers[t], c, 0));
}

// Element (t, c) of s: the residual and the branches.
static double branch_sum(const float *residual, const layernorm_branch *branches, int n_branches,
                         const int64_t *numbers, int64_t t, int64_t c, int64_t hidden) {
    double s = residual ? residual[t * hidden + c] : 0;
    for (int b = 0; b < n_branches; b++) {
        double sum = branches[b].bias ? branches[b].bias[c] : 0;
        for (int i = 0; i < branches[b].count; i++) sum += branches[b].parts[i][t * hidden + c];
        s += sum * dropout_multiplier(branches[b].drop, numbers[t], c, 0);
    }
    return s;
}

void naive_sum_layernorm_forward(float *y, float *normalised, float *rstd, const float *residual,
                                 const layernorm_branch *branches, int n_branches, const int64_t *numbers,
                                 const float *gain, const float *shift, float eps, int64_t tokens, int64_t hidden) {
    double *s = memory_allocate((size_t)hidden, sizeof *s);
    for (int64_t t = 0; t < tokens; t++) {
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < hidden; c++) {
            s[c] = branch_sum(residual, branches, n_branches, numbers, t, c, hidden);
            mean += s[c] / hidden;
        }
        for (int64_t c = 0; c < hidden; c++) variance += (s[c] - mean) * (s[c] - mean) / hidden;
        double r = 1 / sqrt(variance + eps);
        for (int64_t c = 0; c < hidden; c++) {
            double standard = (s[c] - mean) * r;
            if (normalised) normalised[t * hidden + c] = (float)standard;
            y[t * hidden + c] = (float)(standard * gain[c] + shift[c]);
        }
        if (rstd) rstd[t] = (float)r;
    }
    memory_free(s);
}

// d = D ds and its column sums.
static void naive_branch_backward(const layernorm_branch_gradient *branch, const float *ds, const int64_t *numbers,
                                  int64_t tokens, int64_t hidden) {
    naive_dropout_apply(branch->d, ds, numbers, tokens, hidden, branch->drop);
    for (int64_t c = 0; c < hidden; c++) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; t++) sum += branch->d[t * hidden + c];
        branch->dbias[c] += (float)sum;
    }
}

void naive_sum_layernorm_backward(float *ds, float *dgain, float *dshift, const layernorm_branch_gradient *branches,
                                  int n_branches, const float *residual_gradient, const float *const *parts, int count,
                                  const float *normalised, const float *rstd, const float *gain, const int64_t *numbers,
                                  int64_t tokens, int64_t hidden) {
    double *dy = memory_allocate((size_t)hidden, sizeof *dy);
    double *gain_sum = memory_allocate((size_t)hidden, sizeof *gain_sum);
    double *shift_sum = memory_allocate((size_t)hidden, sizeof *shift_sum);
    for (int64_t t = 0; t < tokens; t++) {
        const float *standard = normalised + t * hidden;
        double mean = 0, slope = 0;
        for (int64_t c = 0; c < hidden; c++) {
            dy[c] = residual_gradient ? residual_gradient[t * hidden + c] : 0;
            for (int i = 0; i < count; i++) dy[c] += parts[i][t * hidden + c];
            gain_sum[c] += dy[c] * standard[c];
            shift_sum[c] += dy[c];
            mean += dy[c] * gain[c] / hidden;
            slope += dy[c] * gain[c] * standard[c] / hidden;
        }
        for (int64_t c = 0; c < hidden; c++)
            ds[t * hidden + c] = (float)(rstd[t] * (dy[c] * gain[c] - mean - standard[c] * slope));
    }
    for (int64_t c = 0; c < hidden; c++) {
        dgain[c] += (float)gain_sum[c];
        dshift[c] += (float)shift_sum[c];
    }
    for (int b = 0; b < n_branches; b++) naive_branch_backward(&branches[b], ds, numbers, tokens, hidden);
    memory_free(dy);
    memory_free(gain_sum);
    memory_free(shift_sum);
}

double naive_cross_entropy(float *dlogits, const float *logits, const int32_t *labels, int64_t n, int64_t classes,
                           float scale) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        double most = row[0], sum = 0;
        for (int64_t c = 1; c < classes; c++) most = fmax(most, row[c]);
        for (int64_t c = 0; c < classes; c++) sum += exp(row[c] - most);
        loss += most + log(sum) - row[labels[i]];
        for (int64_t c = 0; dlogits && c < classes; c++)
            dlogits[i * classes + c] = (float)(scale * (exp(row[c] - most) / sum - (c == labels[i])));
    }
    return loss;
}

// ---- attention: whole matrices of probabilities, one sequence and head at a time -----------------------------------

typedef struct {
    int64_t tokens, heads, head_size, h, start, length;
    const float *qkv; // [3, heads, tokens, head_size]
} view;

// Element (i, c) of q, k or v (which = 0, 1, 2) of the view's sequence and head; i counts from the sequence's start.
static int64_t heads_at(const view *v, int which, int64_t i, int64_t c) {
    return ((which * v->heads + v->h) * v->tokens + v->start + i) * v->head_size + c;
}

// Element (i, c) of out or dout [tokens, heads * head_size].
static int64_t rows_at(const view *v, int64_t i, int64_t c) {
    return ((v->start + i) * v->heads + v->h) * v->head_size + c;
}

// probability [length, length] without dropout, and the log of each row's sum of exponentials.
static void probabilities(double *probability, double *log_sum, const view *v) {
    for (int64_t i = 0; i < v->length; i++) {
        double *row = probability + i * v->length, most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < v->length; j++) {
            row[j] = 0;
            for (int64_t c = 0; c < v->head_size; c++)
                row[j] += (double)v->qkv[heads_at(v, 0, i, c)] * v->qkv[heads_at(v, 1, j, c)] / sqrt(v->head_size);
            most = fmax(most, row[j]);
        }
        for (int64_t j = 0; j < v->length; j++) sum += exp(row[j] - most);
        log_sum[i] = most + log(sum);
        for (int64_t j = 0; j < v->length; j++) row[j] = exp(row[j] - log_sum[i]);
    }
}

void naive_attention_forward(float *out, float *lse, const float *qkv, const int32_t *starts, int64_t n,
                             const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size,
                             dropout drop) {
    for (int64_t pair = 0; pair < n * heads; pair++) {
        int64_t start = starts[pair / heads], length = starts[pair / heads + 1] - start;
        view v = {starts[n], heads, head_size, pair % heads, start, length, qkv};
        double *p = memory_allocate((size_t)(length * length), sizeof *p);
        double *log_sum = memory_allocate((size_t)length, sizeof *log_sum);
        probabilities(p, log_sum, &v);
        for (int64_t i = 0; i < length; i++) {
            double *row = p + i * length;
            lse[v.h * v.tokens + start + i] = (float)log_sum[i];
            for (int64_t j = 0; j < length; j++)
                row[j] *= dropout_multiplier(drop, numbers[start + i], j, first_head + v.h);
            for (int64_t c = 0; c < head_size; c++) {
                double sum = 0;
                for (int64_t j = 0; j < length; j++) sum += row[j] * qkv[heads_at(&v, 2, j, c)];
                out[rows_at(&v, i, c)] = (float)sum;
            }
        }
        memory_free(p);
        memory_free(log_sum);
    }
}

// Adds row i's share to dq (its own row), dk and dv (every row), all [length, head_size].
static void backward_of_query(double *dq, double *dk, double *dv, const view *v, const double *p, const float *dout,
                              int64_t i, int64_t number, int64_t head, dropout drop) {
    double dot = 0; // the sum over j of p_j dp_j
    double *dp = memory_allocate((size_t)v->length, sizeof *dp);
    for (int64_t j = 0; j < v->length; j++) {
        double multiplier = dropout_multiplier(drop, number, j, head);
        for (int64_t c = 0; c < v->head_size; c++) {
            double g = dout[rows_at(v, i, c)];
            dp[j] += multiplier * g * v->qkv[heads_at(v, 2, j, c)];
            dv[j * v->head_size + c] += multiplier * g * p[j];
        }
        dot += p[j] * dp[j];
    }
    for (int64_t j = 0; j < v->length; j++) {
        double dscore = p[j] * (dp[j] - dot) / sqrt(v->head_size);
        for (int64_t c = 0; c < v->head_size; c++) {
            dq[i * v->head_size + c] += dscore * v->qkv[heads_at(v, 1, j, c)];
            dk[j * v->head_size + c] += dscore * v->qkv[heads_at(v, 0, i, c)];
        }
    }
    memory_free(dp);
}

void naive_attention_backward(float *dqkv, const float *dout, const float *qkv, const int32_t *starts, int64_t n,
                              const int64_t *numbers, int64_t heads, int64_t first_head, int64_t head_size,
                              dropout drop) {
    for (int64_t pair = 0; pair < n * heads; pair++) {
        int64_t start = starts[pair / heads], length = starts[pair / heads + 1] - start, size = length * head_size;
        view v = {starts[n], heads, head_size, pair % heads, start, length, qkv};
        double *p = memory_allocate((size_t)(length * length), sizeof *p);
        double *log_sum = memory_allocate((size_t)length, sizeof *log_sum);
        double *d = memory_allocate((size_t)(3 * size), sizeof *d); // dq, dk, dv
        probabilities(p, log_sum, &v);
        for (int64_t i = 0; i < length; i++)
            backward_of_query(d, d + size, d + 2 * size, &v, p + i * length, dout, i, numbers[start + i],
                              first_head + v.h, drop);
        for (int which = 0; which < 3; which++)
            for (int64_t i = 0; i < length; i++)
                for (int64_t c = 0; c < head_size; c++)
                    dqkv[heads_at(&v, which, i, c)] = (float)d[which * size + i * head_size + c];
        memory_free(p);
        memory_free(log_sum);
        memory_free(d);
    }
}
