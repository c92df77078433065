// Dropout's random bits and the rule that turns them into a mask. Internal to the tensor room.
#ifndef PAF_TENSOR_DROPOUT_H
#define PAF_TENSOR_DROPOUT_H

#include "tensor/tensor.h"

enum { DROPOUT_COLUMNS = 8 }; // that share a random block

// An element stays if its bits reach the threshold, and is then multiplied by scale.
typedef struct {
    uint32_t threshold;
    float scale;
} dropout_rule;

dropout_rule dropout_rule_create(dropout d);
static inline float dropout_factor(dropout_rule rule, uint16_t bits) { return bits < rule.threshold ? 0 : rule.scale; }

static inline int64_t dropout_blocks(int64_t columns) { return (columns + DROPOUT_COLUMNS - 1) / DROPOUT_COLUMNS; }

// bits [rows, blocks * 8]: 16 for each column of blocks first .. first + blocks - 1, in the rows that numbers [rows]
// names.
void dropout_bits(uint16_t *bits, random_stream stream, const int64_t *numbers, int64_t rows, uint32_t head,
                  int64_t first, int64_t blocks);

// dropout_apply for the rows of one block, on the thread that calls; sum [n] += column sums of y, NULL is not wanted.
void dropout_rows(float *y, float *sum, const float *x, const int64_t *numbers, int64_t rows, int64_t n, dropout d);

#endif
