// Dropout: the bits against Random123, the masks against their twin, and what masks promise.
#include "numbers.h"
#include "tensor/dropout.h"

#include <Random123/philox.h>

static void bits_are_those_of_random123(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {1, 16}, {3, 5}, {1, 37}, {4, 16}, {5, 33}, {40, 2}, {17, 1}, {2, 128}};
    random_stream stream = random_stream_create(3, RANDOM_TEST, 1, 2);
    philox4x32_key_t key = {{stream.key[0], stream.key[1]}};
    for (int s = 0; s < 9; s++) {
        int64_t rows = shapes[s][0], blocks = shapes[s][1], first = s * 3;
        int64_t *numbers = token_numbers(rows, ((int64_t)1 << 32) - 2, 1); // from below 2^32 to above
        uint16_t *bits = memory_allocate((size_t)(rows * blocks * 8), sizeof *bits);
        dropout_bits(bits, stream, numbers, rows, (uint32_t)s, first, blocks);
        for (int64_t i = 0; i < rows * blocks; i++) {
            uint64_t row = (uint64_t)numbers[i / blocks];
            philox4x32_ctr_t counter = {
                {(uint32_t)row, (uint32_t)(row >> 32), (uint32_t)(first + i % blocks), (uint32_t)s}};
            philox4x32_ctr_t block = philox4x32(counter, key);
            for (int half = 0; half < 8; half++)
                assert_int_equal(bits[i * 8 + half], block.v[half / 2] >> (half % 2 ? 16 : 0) & 0xffff);
        }
        memory_free(numbers);
        memory_free(bits);
    }
}

static void masks_match_their_twin(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {5, 3}, {300, 5}, {40, 16}, {3, 130}, {2, 2048}, {2, 5000}};
    for (int s = 0; s < 8; s++) {
        for (int k = 0; k < 4; k++) {
            int64_t tokens = shapes[s][0], n = shapes[s][1], size = tokens * n;
            dropout d = test_dropout((float[]){0, 0.1f, 0.5f, 0.99999f}[k], 5, 1, RANDOM_TEST);
            int64_t *numbers = token_numbers(tokens, 1000, 17);
            float *x = random_floats(size, 1, 1), *y = random_floats(size, 1, 2), *twin = random_floats(size, 1, 3);
            dropout_apply(y, x, numbers, tokens, n, d);
            naive_dropout_apply(twin, x, numbers, tokens, n, d);
            assert_near(y, twin, size, 1e-6);
            for (int64_t i = 0; i < size; i++) assert_int_equal(y[i] == 0, twin[i] == 0);
            dropout_apply(x, x, numbers, tokens, n, d); // in place
            assert_same(x, y, size);
            memory_free(numbers);
            memory_free(x);
            memory_free(y);
            memory_free(twin);
        }
    }
}

// The mask of tokens x n, as 0 or 1 / (1 - p). Caller frees.
static float *mask_of(const int64_t *numbers, int64_t tokens, int64_t n, dropout d) {
    float *mask = memory_allocate((size_t)(tokens * n), sizeof *mask);
    for (int64_t i = 0; i < tokens * n; i++) mask[i] = 1;
    dropout_apply(mask, mask, numbers, tokens, n, d);
    return mask;
}

static bool within_five_sigma(int64_t count, int64_t n, double p) {
    return fabs((double)count - n * p) < 5 * sqrt(n * p * (1 - p));
}

static void the_rate_is_p(void **state) {
    (void)state;
    int64_t tokens = 500, n = 1000;
    int64_t *numbers = token_numbers(tokens, 0, 1);
    for (int k = 0; k < 3; k++) {
        float p = (float[]){0.1f, 0.25f, 0.5f}[k];
        float *mask = mask_of(numbers, tokens, n, test_dropout(p, 1, 0, RANDOM_TEST));
        int64_t dropped = 0, low = 0, pairs = 0; // in all, in even columns, together with the right neighbour
        for (int64_t i = 0; i < tokens * n; i++) {
            dropped += mask[i] == 0;
            low += mask[i] == 0 && i % 2 == 0;
            pairs += i % 2 == 0 && mask[i] == 0 && mask[i + 1] == 0;
            assert_true(mask[i] == 0 || mask[i] == 1 / (1 - p));
        }
        double rate = round(65536 * p) / 65536;
        assert_true(within_five_sigma(dropped, tokens * n, rate));
        assert_true(within_five_sigma(low, tokens * n / 2, rate));
        assert_true(within_five_sigma(pairs, tokens * n / 2, rate * rate));
        memory_free(mask);
    }
    memory_free(numbers);
}

// A token has one mask, wherever it lies, whatever lies beside it, and however many columns are asked for.
static void packing_changes_nothing(void **state) {
    (void)state;
    int64_t tokens = 60, n = 77;
    dropout d = test_dropout(0.3f, 2, 3, RANDOM_TEST);
    int64_t *numbers = token_numbers(tokens, 500, 1), *reversed = token_numbers(tokens, 500 + tokens - 1, -1);
    float *whole = mask_of(numbers, tokens, n, d), *back = mask_of(reversed, tokens, n, d);
    float *narrow = mask_of(numbers, tokens, 20, d);
    for (int64_t t = 0; t < tokens; t++) {
        assert_same(whole + t * n, back + (tokens - 1 - t) * n, n);
        assert_same(whole + t * n, narrow + t * 20, 20);
        float *alone = mask_of(numbers + t, 1, n, d);
        assert_same(whole + t * n, alone, n);
        memory_free(alone);
    }
    memory_free(numbers);
    memory_free(reversed);
    memory_free(whole);
    memory_free(back);
    memory_free(narrow);
}

// Masks of other steps, layers, purposes, seeds and tokens have nothing to do with each other.
static void other_names_have_other_masks(void **state) {
    (void)state;
    int64_t tokens = 100, n = 256, size = tokens * n;
    double p = 0.25;
    int64_t *numbers = token_numbers(tokens, 0, 1), *others = token_numbers(tokens, tokens, 1);
    random_stream seeded = random_stream_create(8, RANDOM_DROPOUT_FFN, 1, 1);
    float *masks[] = {
        mask_of(numbers, tokens, n, test_dropout(0.25f, 1, 1, RANDOM_DROPOUT_FFN)),
        mask_of(numbers, tokens, n, test_dropout(0.25f, 2, 1, RANDOM_DROPOUT_FFN)),
        mask_of(numbers, tokens, n, test_dropout(0.25f, 1, 2, RANDOM_DROPOUT_FFN)),
        mask_of(numbers, tokens, n, test_dropout(0.25f, 1, 1, RANDOM_DROPOUT_ATTENTION)),
        mask_of(numbers, tokens, n, (dropout){0.25f, seeded}),
        mask_of(others, tokens, n, test_dropout(0.25f, 1, 1, RANDOM_DROPOUT_FFN)),
    };
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < i; j++) {
            int64_t differ = 0;
            for (int64_t c = 0; c < size; c++) differ += masks[i][c] != masks[j][c];
            assert_true(within_five_sigma(differ, size, 2 * p * (1 - p)));
        }
    }
    for (int i = 0; i < 6; i++) memory_free(masks[i]);
    memory_free(numbers);
    memory_free(others);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_of_random123),
        cmocka_unit_test(masks_match_their_twin),
        cmocka_unit_test(the_rate_is_p),
        cmocka_unit_test(packing_changes_nothing),
        cmocka_unit_test(other_names_have_other_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
