// Dropout: a Philox4x32-10 (Salmon et al., SC 2011) that compilers vectorise, and the masks made from it.
#include "tensor/dropout.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#include <string.h>

// Philox gives 32-bit words; read as 16-bit ones in memory order they must come low half first.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "dropout masks are read in little-endian order");

enum {
    LANES = 16, // random blocks computed side by side
    TILE = 256  // random blocks that dropout_apply draws at a time: 4 KB of bits
};

typedef struct {
    uint32_t row_low[LANES], row_high[LANES], column[LANES];
} counters;

// words [LANES, 4]: the random blocks of the given counters, the same bits that base's random_block gives.
static inline void philox(uint32_t *restrict words, const counters *restrict c, uint32_t head, random_stream stream) {
#pragma omp simd
    for (int lane = 0; lane < LANES; lane++) {
        uint32_t x0 = c->row_low[lane], x1 = c->row_high[lane], x2 = c->column[lane], x3 = head;
        uint32_t key0 = stream.key[0], key1 = stream.key[1];
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            uint64_t product0 = (uint64_t)0xD2511F53u * x0, product1 = (uint64_t)0xCD9E8D57u * x2;
            x0 = (uint32_t)(product1 >> 32) ^ x1 ^ key0;
            x1 = (uint32_t)product1;
            x2 = (uint32_t)(product0 >> 32) ^ x3 ^ key1;
            x3 = (uint32_t)product0;
            key0 += 0x9E3779B9u;
            key1 += 0xBB67AE85u;
        }
        words[4 * lane] = x0;
        words[4 * lane + 1] = x1;
        words[4 * lane + 2] = x2;
        words[4 * lane + 3] = x3;
    }
}

// Counters of `count` blocks, from `block` of the first of numbers on; rows of `blocks` follow one another.
static inline void set_counters(counters *c, int count, const int64_t *numbers, int64_t first, int64_t block,
                                int64_t blocks) {
    uint64_t number = (uint64_t)numbers[0];
    if (block + LANES <= blocks) { // all in one row: no end to look for
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
            c->row_low[lane] = (uint32_t)number;
            c->row_high[lane] = (uint32_t)(number >> 32);
            c->column[lane] = (uint32_t)(first + block) + (uint32_t)lane;
        }
        return;
    }
    for (int lane = 0, row = 0; lane < count; lane++, block++) {
        if (block == blocks) {
            block = 0;
            number = (uint64_t)numbers[++row];
        }
        c->row_low[lane] = (uint32_t)number;
        c->row_high[lane] = (uint32_t)(number >> 32);
        c->column[lane] = (uint32_t)(first + block);
    }
}

// Lanes walk over rows and blocks as if they were one long row, so that short rows fill them too. The last group may be
// partly beyond the end; its surplus is computed and forgotten.
void dropout_bits(uint16_t *bits, random_stream stream, const int64_t *numbers, int64_t rows, uint32_t head,
                  int64_t first, int64_t blocks) {
    counters c = {0};
    uint32_t words[4 * LANES];
    int64_t total = rows * blocks;
    for (int64_t done = 0; done < total; done += LANES) {
        int64_t count = smaller(LANES, total - done);
        set_counters(&c, (int)count, numbers + done / blocks, first, done % blocks, blocks);
        philox(words, &c, head, stream);
        memcpy(bits + done * DROPOUT_COLUMNS, words, count * sizeof words / LANES);
    }
}

dropout_rule dropout_rule_create(dropout d) { return (dropout_rule){(uint32_t)lround(65536.0 * d.p), 1 / (1 - d.p)}; }

// y [n] = x * mask, or, where there is a sum, also sum += y
static inline void mask_row(float *y, float *sum, const float *x, const uint16_t *bits, dropout_rule rule, int64_t n) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        float kept = x[c] * dropout_factor(rule, bits[c]);
        y[c] = kept;
        if (sum) sum[c] += kept;
    }
}

static void copy_rows(float *y, float *sum, const float *x, int64_t rows, int64_t n) {
    if (y != x) memcpy(y, x, rows * n * sizeof *y);
    for (int64_t i = 0; sum && i < rows; i++) row_add(sum, x + i * n, n);
}

void dropout_rows(float *y, float *sum, const float *x, const int64_t *numbers, int64_t rows, int64_t n, dropout d) {
    if (d.p == 0) {
        copy_rows(y, sum, x, rows, n);
        return;
    }
    dropout_rule rule = dropout_rule_create(d);
    uint16_t bits[TILE * DROPOUT_COLUMNS];
    int64_t columns = smaller(n, TILE * DROPOUT_COLUMNS); // of a tile: a whole row, if it fits
    for (int64_t left = 0; left < n; left += columns) {
        int64_t width = smaller(columns, n - left), blocks = dropout_blocks(width), height = TILE / blocks;
        for (int64_t i = 0; i < rows; i++) {
            if (i % height == 0)
                dropout_bits(bits, d.stream, numbers + i, smaller(height, rows - i), 0, left / DROPOUT_COLUMNS, blocks);
            const uint16_t *bits_row = bits + i % height * blocks * DROPOUT_COLUMNS;
            if (sum)
                mask_row(y + i * n + left, sum + left, x + i * n + left, bits_row, rule, width);
            else
                mask_row(y + i * n + left, NULL, x + i * n + left, bits_row, rule, width);
        }
    }
}

void dropout_apply(float *y, const float *x, const int64_t *numbers, int64_t tokens, int64_t n, dropout d) {
#pragma omp parallel for if (worth_threads(tokens * n))
    for (int64_t t = 0; t < tokens; t += ROW_BLOCK)
        dropout_rows(y + t * n, NULL, x + t * n, numbers + t, smaller(ROW_BLOCK, tokens - t), n, d);
}
