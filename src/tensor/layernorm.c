// The end of a layer: the sum over a team's parts, dropout, residual and LayerNorm, in one pass over each row.
//
// A row is summed chunk by chunk (see CHUNK): while a chunk lies in the first-level cache, every part, bias and mask of
// every branch passes over it, so parts are read once, wherever they live, and nothing is copied.
#include "tensor/dropout.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

// out [width] = start (NULL is zero) + the parts, in order, each from element `at` on.
static void chunk_sum(float *out, const float *start, const float *const *parts, int count, int64_t at, int64_t width) {
    if (start)
        memcpy(out, start, width * sizeof *out);
    else
        memset(out, 0, width * sizeof *out);
    for (int i = 0; i < count; i++) row_add(out, parts[i] + at, width);
}

// s [width] += D(bias + sum of parts) of one branch, for the columns from `from` on of row t.
static void branch_add(float *s, const layernorm_branch *branch, const int64_t *number, int64_t t, int64_t hidden,
                       int64_t from, int64_t width) {
    float sum[CHUNK];
    chunk_sum(sum, branch->bias ? branch->bias + from : NULL, branch->parts, branch->count, t * hidden + from, width);
    if (branch->drop.p == 0) {
        row_add(s, sum, width);
        return;
    }
    uint16_t bits[CHUNK];
    dropout_rule rule = dropout_rule_create(branch->drop);
    dropout_bits(bits, branch->drop.stream, number, 1, 0, from / DROPOUT_COLUMNS, dropout_blocks(width));
#pragma omp simd
    for (int64_t c = 0; c < width; c++) s[c] += sum[c] * dropout_factor(rule, bits[c]);
}

void sum_layernorm_forward(float *y, float *normalised, float *rstd, const float *residual,
                           const layernorm_branch *branches, int n_branches, const int64_t *numbers, const float *gain,
                           const float *shift, float eps, int64_t tokens, int64_t hidden) {
#pragma omp parallel for if (worth_threads(tokens * hidden))
    for (int64_t t = 0; t < tokens; t++) {
        float *row = y + t * hidden; // holds s until it is normalised
        for (int64_t from = 0; from < hidden; from += CHUNK) {
            int64_t width = smaller(CHUNK, hidden - from);
            float s[CHUNK];
            chunk_sum(s, residual ? residual + t * hidden + from : NULL, NULL, 0, 0, width);
            for (int b = 0; b < n_branches; b++) branch_add(s, &branches[b], numbers + t, t, hidden, from, width);
            memcpy(row + from, s, width * sizeof *s);
        }
        float mean = (float)(row_sum(row, hidden) / hidden);
        float r = (float)(1 / sqrt(row_dot(row, row, mean, hidden) / hidden + eps));
        float *kept = normalised ? normalised + t * hidden : row; // where not kept, y overwrites it at once
#pragma omp simd
        for (int64_t c = 0; c < hidden; c++) {
            float standard = (row[c] - mean) * r;
            kept[c] = standard;
            row[c] = standard * gain[c] + shift[c];
        }
        if (rstd) rstd[t] = r;
    }
}

// dgain += sum over rows of dy * normalised, dshift += sum over rows of dy
static void layernorm_backward_parameters(float *dgain, float *dshift, const float *residual_gradient,
                                          const float *const *parts, int count, const float *normalised, int64_t tokens,
                                          int64_t hidden) {
#pragma omp parallel for collapse(2) ordered schedule(static, 1) if (worth_threads(tokens * hidden))
    for (int64_t from = 0; from < hidden; from += STRIP) {
        for (int64_t first = 0; first < tokens; first += ROW_BLOCK) {
            float gain_sum[STRIP] = {0}, shift_sum[STRIP] = {0}, dy[STRIP];
            int64_t width = smaller(STRIP, hidden - from), last = smaller(first + ROW_BLOCK, tokens);
            for (int64_t t = first; t < last; t++) {
                int64_t at = t * hidden + from;
                const float *standard = normalised + at;
                chunk_sum(dy, residual_gradient ? residual_gradient + at : NULL, parts, count, at, width);
#pragma omp simd
                for (int64_t c = 0; c < width; c++) {
                    gain_sum[c] += dy[c] * standard[c];
                    shift_sum[c] += dy[c];
                }
            }
#pragma omp ordered
            {
                row_add(dgain + from, gain_sum, width);
                row_add(dshift + from, shift_sum, width);
            }
        }
    }
}

// With g = dy * gain and means over the row: ds = rstd * (g - mean(g) - normalised * mean(g * normalised))
static void layernorm_backward_rows(float *ds, const float *residual_gradient, const float *const *parts, int count,
                                    const float *normalised, const float *rstd, const float *gain, int64_t tokens,
                                    int64_t hidden) {
#pragma omp parallel for if (worth_threads(tokens * hidden))
    for (int64_t t = 0; t < tokens; t++) {
        float *row = ds + t * hidden; // holds g at first
        const float *standard = normalised + t * hidden;
        for (int64_t from = 0; from < hidden; from += CHUNK) {
            int64_t width = smaller(CHUNK, hidden - from), at = t * hidden + from;
            float dy[CHUNK];
            chunk_sum(dy, residual_gradient ? residual_gradient + at : NULL, parts, count, at, width);
#pragma omp simd
            for (int64_t c = 0; c < width; c++) row[from + c] = dy[c] * gain[from + c];
        }
        float mean = (float)(row_sum(row, hidden) / hidden), r = rstd[t];
        float slope = (float)(row_dot(row, standard, 0, hidden) / hidden);
#pragma omp simd
        for (int64_t c = 0; c < hidden; c++) row[c] = r * (row[c] - mean - standard[c] * slope);
    }
}

// The parameters go first: the rows may overwrite residual_gradient.
void sum_layernorm_backward(float *ds, float *dgain, float *dshift, const float *residual_gradient,
                            const float *const *parts, int count, const float *normalised, const float *rstd,
                            const float *gain, int64_t tokens, int64_t hidden) {
    layernorm_backward_parameters(dgain, dshift, residual_gradient, parts, count, normalised, tokens, hidden);
    layernorm_backward_rows(ds, residual_gradient, parts, count, normalised, rstd, gain, tokens, hidden);
}
