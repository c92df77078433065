// Embeddings: rows of tables, added forward, accumulated backward in the order of the tokens.
#include "tensor/tensor.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

void word_embedding_forward(float *out, const int32_t *ids, const float *table, int64_t first_row, int64_t rows,
                            int64_t tokens, int64_t hidden) {
#pragma omp parallel for if (worth_threads(tokens * hidden))
    for (int64_t t = 0; t < tokens; t++) {
        int64_t row = ids[t] - first_row;
        float *to = out + t * hidden;
        if (row >= 0 && row < rows)
            memcpy(to, table + row * hidden, hidden * sizeof *to);
        else
            memset(to, 0, hidden * sizeof *to);
    }
}

// Each row of the table belongs to one thread, which looks at all tokens, in their order.
void word_embedding_backward(float *dtable, const int32_t *ids, const float *dx, int64_t first_row, int64_t rows,
                             int64_t tokens, int64_t hidden) {
#pragma omp parallel if (worth_threads(tokens * hidden))
    {
        int64_t threads = omp_get_num_threads(), mine = omp_get_thread_num();
        for (int64_t t = 0; t < tokens; t++) {
            int64_t row = ids[t] - first_row;
            if (row >= 0 && row < rows && row % threads == mine)
                row_add(dtable + row * hidden, dx + t * hidden, hidden);
        }
    }
}

void place_embedding_forward(float *out, const int32_t *positions, const int32_t *types, const float *position_table,
                             const float *type_table, int64_t tokens, int64_t hidden) {
#pragma omp parallel for if (worth_threads(tokens * hidden))
    for (int64_t t = 0; t < tokens; t++) {
        const float *position = position_table + positions[t] * hidden, *type = type_table + types[t] * hidden;
        float *to = out + t * hidden;
#pragma omp simd
        for (int64_t c = 0; c < hidden; c++) to[c] = position[c] + type[c];
    }
}

// A few rows, added to by every token: not worth threads, once a micro-batch.
void place_embedding_backward(float *dposition_table, float *dtype_table, const int32_t *positions,
                              const int32_t *types, const float *dx, int64_t tokens, int64_t hidden) {
    for (int64_t t = 0; t < tokens; t++) {
        const float *row = dx + t * hidden;
        row_add(dposition_table + positions[t] * hidden, row, hidden);
        row_add(dtype_table + types[t] * hidden, row, hidden);
    }
}
