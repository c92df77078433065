// batch: what data makes and the model computes on, one micro-batch at a time.
//
// Types alone: data allocates and fills them, the model reads them. Local to the rank.
#ifndef PAF_BATCH_H
#define PAF_BATCH_H

#include "base/base.h"

// What passes through the layers together: sequences laid end to end.
//
//     starts      0           5       8                 14 = tokens
//     ids         c a a a s | c a s | c a a s b s
//     positions   0 1 2 3 4   0 1 2   0 1 2 3 4 5
//     types       0 0 0 0 0   0 0 0   0 0 0 0 1 1
typedef struct {
    int64_t tokens, sequences, longest;
    int32_t *ids, *positions, *types; // [tokens]
    int64_t *numbers;                 // [tokens] the token's global number in the step
    int32_t *starts;                  // [sequences + 1]
    int64_t *examples;                // [sequences] index in the dataset
    int64_t token_capacity, sequence_capacity;
} micro_batch;

// The tokens of a micro-batch whose pieces are to be guessed.
typedef struct {
    int64_t n, capacity;
    int32_t *rows;   // [n] which tokens, in ascending order
    int32_t *labels; // [n] what stood there
} masked_tokens;

#endif
