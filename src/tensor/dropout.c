// Dropout: a Philox4x32-10 (Salmon et al., SC 2011) that compilers vectorise, and the masks made from it.
#include "tensor/dropout.h"
#include "tensor/threads.h"
#include "tensor/vector_math.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <string.h>

// Philox gives 32-bit words; read as 16-bit ones in memory order they must come low half first.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "dropout masks are read in little-endian order");

// A vector register as wide as the compiler was told of, in lanes of 64 bits, anywhere in memory.
#if defined(__AVX512F__)
enum { LANES = 8 };
#elif defined(__AVX2__)
enum { LANES = 4 };
#else
enum { LANES = 2 };
#endif
typedef uint64_t lanes __attribute__((vector_size(LANES * sizeof(uint64_t)), aligned(2), may_alias));

enum {
    GROUPS = 4,              // of lanes side by side, which hide the latency of multiplications
    BLOCKS = GROUPS * LANES, // random blocks computed at a time
    TILE = 256               // random blocks that dropout_apply draws at a time: 4 KB of bits
};

// What BLOCKS random blocks are counted by, beside their head.
typedef struct {
    uint64_t number[BLOCKS], column[BLOCKS];
} counters;

// The products of the lanes' low halves with m. gcc knows no other name for the instruction that does just this: from
// plain C it makes a whole 64-bit product, which takes 1.2 times as long with AVX-512 and three times with AVX2.
static inline lanes multiply_low_halves(lanes x, uint32_t m) {
#if defined(__AVX512F__)
    return (lanes)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
    return (lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(m));
#else
    return (x & UINT32_MAX) * m;
#endif
}

// bits [BLOCKS, 8] = the random blocks of the given counters, the same bits that base's random_block gives.
//
// A word of Philox is the low half of a lane; what the high half holds does not matter, so that a product's low word is
// the product itself, and its high word a shift.
static inline void philox(uint16_t *restrict bits, const counters *restrict c, uint32_t head, random_stream stream) {
    lanes x0[GROUPS], x1[GROUPS], x2[GROUPS], x3[GROUPS];
    for (int g = 0; g < GROUPS; g++) {
        x0[g] = ((const lanes *)c->number)[g];
        x1[g] = x0[g] >> 32;
        x2[g] = ((const lanes *)c->column)[g];
        x3[g] = (lanes){0} + head;
    }
    uint32_t key0 = stream.key[0], key1 = stream.key[1];
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        for (int g = 0; g < GROUPS; g++) {
            lanes product0 = multiply_low_halves(x0[g], 0xD2511F53u),
                  product1 = multiply_low_halves(x2[g], 0xCD9E8D57u);
            x0[g] = (product1 >> 32) ^ x1[g] ^ key0;
            x1[g] = product1;
            x2[g] = (product0 >> 32) ^ x3[g] ^ key1;
            x3[g] = product0;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int g = 0; g < GROUPS; g++) {
        lanes first = (x0[g] & UINT32_MAX) | x1[g] << 32, second = (x2[g] & UINT32_MAX) | x3[g] << 32;
        lanes *out = (lanes *)bits + 2 * g; // a block is a lane of first, then the same lane of second
#if defined(__AVX512F__)
        out[0] = __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
        out[1] = __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
#elif defined(__AVX2__)
        out[0] = __builtin_shufflevector(first, second, 0, 4, 1, 5);
        out[1] = __builtin_shufflevector(first, second, 2, 6, 3, 7);
#else
        out[0] = __builtin_shufflevector(first, second, 0, 2);
        out[1] = __builtin_shufflevector(first, second, 1, 3);
#endif
    }
}

// Counters of `count` blocks, from `block` of the first of numbers on; rows of `blocks` follow one another.
static inline void set_counters(counters *c, int count, const int64_t *numbers, int64_t first, int64_t block,
                                int64_t blocks) {
    if (block + BLOCKS <= blocks) { // all in one row: no end to look for
#pragma omp simd
        for (int i = 0; i < BLOCKS; i++) {
            c->number[i] = (uint64_t)numbers[0];
            c->column[i] = (uint64_t)(first + block) + (uint64_t)i;
        }
        return;
    }
    for (int i = 0, row = 0; i < count; i++, block++) {
        if (block == blocks) {
            block = 0;
            row++;
        }
        c->number[i] = (uint64_t)numbers[row];
        c->column[i] = (uint64_t)(first + block);
    }
}

// Lanes walk over rows and blocks as if they were one long row, so that short rows fill them too. The last blocks may
// be partly beyond the end; that surplus is computed and forgotten.
void dropout_bits(uint16_t *bits, random_stream stream, const int64_t *numbers, int64_t rows, uint32_t head,
                  int64_t first, int64_t blocks) {
    counters c = {0};
    uint16_t last[BLOCKS * DROPOUT_COLUMNS];
    int64_t total = rows * blocks;
    for (int64_t done = 0; done < total; done += BLOCKS) {
        int64_t count = smaller(BLOCKS, total - done);
        set_counters(&c, (int)count, numbers + done / blocks, first, done % blocks, blocks);
        philox(count < BLOCKS ? last : bits + done * DROPOUT_COLUMNS, &c, head, stream);
        if (count < BLOCKS) memcpy(bits + done * DROPOUT_COLUMNS, last, count * DROPOUT_COLUMNS * sizeof *bits);
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
