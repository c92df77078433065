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

// ---- backward

// What every row reads and writes.
typedef struct {
    float *ds;
    const float *residual_gradient;
    const float *const *parts;
    int count;
    const float *normalised, *rstd, *gain;
    int64_t hidden;
} backward;

// Sums over the rows of a block, [hidden] each.
typedef struct {
    float gain[LAYERNORM_WIDEST], shift[LAYERNORM_WIDEST], bias[LAYERNORM_BRANCHES][LAYERNORM_WIDEST];
} block_sums;

static inline void dy_step(float *mean, float *slope, float *gain_sum, float *shift_sum, const float *dy,
                           const float *gain, const float *standard, int width) {
#pragma omp simd
    for (int l = 0; l < width; l++) {
        float g = dy[l] * gain[l];
        mean[l] += g;
        slope[l] += g * standard[l];
        gain_sum[l] += dy[l] * standard[l];
        shift_sum[l] += dy[l];
    }
}

// Leaves dy of row t in ds; adds to the sums of the block; makes the means over the row of g = dy * gain and of g *
// normalised.
static void gather_row(float *mean, float *slope, block_sums *sums, const backward *b, int64_t t) {
    double whole_mean = 0, whole_slope = 0;
    for (int64_t from = 0; from < b->hidden; from += CHUNK) {
        int64_t width = smaller(CHUNK, b->hidden - from), at = t * b->hidden + from;
        float *dy = b->ds + at, mean_lane[ROW_LANES] = {0}, slope_lane[ROW_LANES] = {0}, sum[CHUNK];
        chunk_sum(sum, b->residual_gradient ? b->residual_gradient + at : NULL, b->parts, b->count, at, width);
        for (int64_t c = 0; c < width; c += ROW_LANES)
            dy_step(mean_lane, slope_lane, sums->gain + from + c, sums->shift + from + c, sum + c, b->gain + from + c,
                    b->normalised + at + c, c + ROW_LANES <= width ? ROW_LANES : (int)(width - c));
        memcpy(dy, sum, width * sizeof *dy);
        whole_mean += lanes_sum(mean_lane);
        whole_slope += lanes_sum(slope_lane);
    }
    *mean = (float)(whole_mean / b->hidden);
    *slope = (float)(whole_slope / b->hidden);
}

// ds = rstd * (g - mean(g) - normalised * mean(g * normalised))
static void backward_row(block_sums *sums, const backward *b, int64_t t) {
    float mean, slope, r = b->rstd[t];
    gather_row(&mean, &slope, sums, b, t);
    float *ds = b->ds + t * b->hidden;
    const float *standard = b->normalised + t * b->hidden, *gain = b->gain;
#pragma omp simd
    for (int64_t c = 0; c < b->hidden; c++) ds[c] = r * (ds[c] * gain[c] - mean - standard[c] * slope);
}

void sum_layernorm_backward(float *ds, float *dgain, float *dshift, const layernorm_branch_gradient *branches,
                            int n_branches, const float *residual_gradient, const float *const *parts, int count,
                            const float *normalised, const float *rstd, const float *gain, const int64_t *numbers,
                            int64_t tokens, int64_t hidden) {
    REQUIRE(hidden <= LAYERNORM_WIDEST && n_branches <= LAYERNORM_BRANCHES);
    const backward b = {ds, residual_gradient, parts, count, normalised, rstd, gain, hidden};
#pragma omp parallel for ordered schedule(static, 1) if (worth_threads(tokens * hidden))
    for (int64_t first = 0; first < tokens; first += ROW_BLOCK) {
        block_sums sums;
        memset(sums.gain, 0, hidden * sizeof *sums.gain);
        memset(sums.shift, 0, hidden * sizeof *sums.shift);
        int64_t rows = smaller(ROW_BLOCK, tokens - first), at = first * hidden;
        for (int64_t i = 0; i < rows; i++) backward_row(&sums, &b, first + i);
        for (int i = 0; i < n_branches; i++) {
            memset(sums.bias[i], 0, hidden * sizeof *sums.bias[i]);
            dropout_rows(branches[i].d + at, sums.bias[i], ds + at, numbers + first, rows, hidden, branches[i].drop);
        }
#pragma omp ordered
        {
            row_add(dgain, sums.gain, hidden);
            row_add(dshift, sums.shift, hidden);
            for (int i = 0; i < n_branches; i++) row_add(branches[i].dbias, sums.bias[i], hidden);
        }
    }
}
