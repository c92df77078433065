#include "base/base.h"

#include <Random123/philox.h>
#include <math.h>

static philox4x32_ctr_t philox(uint32_t a, uint32_t b, uint32_t c, uint32_t d, const uint32_t key[2]) {
    philox4x32_ctr_t counter = {{a, b, c, d}};
    philox4x32_key_t words = {{key[0], key[1]}};
    return philox4x32(counter, words);
}

random_stream random_stream_create(uint64_t seed, random_purpose purpose, uint64_t step, uint32_t layer) {
    REQUIRE(layer < 1 << 16);
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    philox4x32_ctr_t out = philox((uint32_t)step, (uint32_t)(step >> 32), (uint32_t)purpose << 16 | layer, 0, key);
    return (random_stream){{out.v[0], out.v[1]}};
}

void random_block(uint32_t out[4], random_stream stream, uint64_t row, uint32_t column, uint32_t head) {
    philox4x32_ctr_t block = philox((uint32_t)row, (uint32_t)(row >> 32), column, head, stream.key);
    for (int i = 0; i < 4; i++) out[i] = block.v[i];
}

static double uniform53(uint32_t high, uint32_t low) { return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53; }

double random_uniform(random_stream stream, uint64_t row, uint32_t column) {
    uint32_t word[4];
    random_block(word, stream, row, column, 0);
    return uniform53(word[0], word[1]);
}

void random_normal_pair(double out[2], random_stream stream, uint64_t row, uint32_t column) {
    uint32_t word[4];
    random_block(word, stream, row, column, 0);
    double radius = sqrt(-2 * log(1 - uniform53(word[0], word[1]))); // 1 - u is never 0
    double angle = 2 * M_PI * uniform53(word[2], word[3]);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

// A Feistel network of six rounds over the smallest even number of bits that holds n - 1. It is a bijection of that
// power of four; an image outside n is fed back until it falls inside (four rounds of walking on average, at most).
uint64_t random_permutation(random_stream stream, uint64_t n, uint64_t i) {
    REQUIRE(i < n);
    int half = 1;
    while (half < 32 && (n - 1) >> (2 * half)) half++;
    uint64_t mask = (1ull << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t word[4];
            random_block(word, stream, right, round, 0);
            uint64_t mixed = left ^ (word[0] & mask);
            left = right;
            right = mixed;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
