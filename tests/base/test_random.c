// Random numbers: Philox against published answers, streams, uniforms, normals, permutations.
#include "../support.h"

static random_stream stream_of(uint32_t key0, uint32_t key1) { return (random_stream){{key0, key1}}; }

static random_stream test_stream(uint64_t step) { return random_stream_create(17, RANDOM_TEST, step, 0); }

// ---- blocks --------------------------------------------------------------------------------------------------------

// The known answers that Random123 publishes for philox4x32 with ten rounds.
static void test_known_answers(void **state) {
    (void)state;
    const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const uint32_t *c = known[k].counter;
        uint32_t out[4];
        random_block(out, stream_of(known[k].key[0], known[k].key[1]), (uint64_t)c[1] << 32 | c[0], c[2], c[3]);
        for (int i = 0; i < 4; i++) assert_int_equal(out[i], known[k].answer[i]);
    }
}

// A stream's key is the first half of the block that its name makes, as base.h and the checkpoint format say.
static void test_stream_key(void **state) {
    (void)state;
    const uint64_t seed = 0x0123456789abcdef, step = 0xfedcba9876543210;
    random_stream stream = random_stream_create(seed, RANDOM_DROPOUT_FFN, step, 23);
    uint32_t out[4];
    random_block(out, stream_of(0x89abcdef, 0x01234567), step, 5u << 16 | 23, 0);
    assert_int_equal(stream.key[0], out[0]);
    assert_int_equal(stream.key[1], out[1]);
}

static void test_every_part_of_a_name_counts(void **state) {
    (void)state;
    const uint64_t far = 1ull << 32;
    const random_stream streams[] = {
        random_stream_create(1, RANDOM_TEST, 1, 1),       random_stream_create(2, RANDOM_TEST, 1, 1),
        random_stream_create(1 + far, RANDOM_TEST, 1, 1), random_stream_create(1, RANDOM_ORDER, 1, 1),
        random_stream_create(1, RANDOM_TEST, 2, 1),       random_stream_create(1, RANDOM_TEST, 1 + far, 1),
        random_stream_create(1, RANDOM_TEST, 1, 2),
    };
    enum { N = sizeof streams / sizeof *streams };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < i; j++) assert_memory_not_equal(&streams[i], &streams[j], sizeof *streams);
    uint32_t blocks[5][4];
    random_block(blocks[0], streams[0], 7, 3, 2);
    random_block(blocks[1], streams[0], 8, 3, 2);
    random_block(blocks[2], streams[0], 7 + far, 3, 2);
    random_block(blocks[3], streams[0], 7, 4, 2);
    random_block(blocks[4], streams[0], 7, 3, 3);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++) assert_memory_not_equal(blocks[i], blocks[j], sizeof *blocks);
}

// ---- numbers -------------------------------------------------------------------------------------------------------

static void test_uniform(void **state) {
    (void)state;
    enum { N = 200000, BINS = 20 };
    int bins[BINS] = {0};
    for (int i = 0; i < N; i++) {
        double u = random_uniform(test_stream(1), (uint64_t)i / 100, (uint32_t)i % 100);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
    }
    // A bin's count has a deviation of 97; all twenty stay within five of them.
    for (int b = 0; b < BINS; b++) assert_in_range(bins[b], N / BINS - 490, N / BINS + 490);
}

// The 53 upper bits of two words, high word first.
static double uniform_of(uint32_t high, uint32_t low) {
    return ldexp((double)(((uint64_t)high << 32 | low) >> 11), -53);
}

// The numbers that a block makes, to the bit: weights and orders of old runs depend on it.
static void test_numbers_of_a_block(void **state) {
    (void)state;
    for (uint64_t row = 0; row < 100; row++) {
        uint32_t word[4];
        double z[2];
        random_block(word, test_stream(1), row, 7, 0);
        assert_close("uniform", random_uniform(test_stream(1), row, 7), uniform_of(word[0], word[1]), 0);
        random_normal_pair(z, test_stream(1), row, 7);
        double radius = sqrt(-2 * log(1 - uniform_of(word[0], word[1])));
        double angle = 2 * M_PI * uniform_of(word[2], word[3]);
        assert_close("first normal", z[0], radius * cos(angle), 1e-14);
        assert_close("second normal", z[1], radius * sin(angle), 1e-14);
    }
}

// Of 400,000 draws; the bounds are five standard deviations of each estimate.
static void test_normal(void **state) {
    (void)state;
    enum { PAIRS = 200000 };
    double sum = 0, squares = 0, cubes = 0, fourths = 0, product = 0, neighbours = 0, before = 0;
    const double n = 2.0 * PAIRS;
    for (int i = 0; i < PAIRS; i++) {
        double z[2];
        random_normal_pair(z, test_stream(2), (uint64_t)i, 5);
        for (int j = 0; j < 2; j++) {
            assert_true(isfinite(z[j]));
            sum += z[j];
            squares += z[j] * z[j];
            cubes += z[j] * z[j] * z[j];
            fourths += pow(z[j], 4);
        }
        product += z[0] * z[1];
        neighbours += z[0] * before;
        before = z[0];
    }
    assert_close("mean", sum / n, 0, 5 / sqrt(n));
    assert_close("second moment", squares / n, 1, 5 * sqrt(2 / n));
    assert_close("third moment", cubes / n, 0, 5 * sqrt(15 / n));
    assert_close("fourth moment", fourths / n, 3, 5 * sqrt(96 / n));
    assert_close("correlation in a pair", product / PAIRS, 0, 5 / sqrt(PAIRS));
    assert_close("correlation of neighbours", neighbours / PAIRS, 0, 5 / sqrt(PAIRS));
}

// ---- permutations --------------------------------------------------------------------------------------------------

static void check_bijection(random_stream stream, uint64_t n) {
    bool *seen = memory_allocate(n, sizeof *seen);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t image = random_permutation(stream, n, i);
        if (image >= n || seen[image]) fail_msg("n %llu: element %llu", (unsigned long long)n, (unsigned long long)i);
        seen[image] = true;
    }
    memory_free(seen);
}

static void test_permutation_is_a_bijection(void **state) {
    (void)state;
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        for (uint64_t n = 1; n <= 70; n++) check_bijection(test_stream(epoch), n);
        for (int bits = 7; bits <= 13; bits++)
            for (int by = -1; by <= 1; by++) check_bijection(test_stream(epoch), (1ull << bits) + (uint64_t)by);
    }
    check_bijection(test_stream(4), 67349);
}

// The order of a run is a part of its checkpoints' meaning: these images may never change.
static void test_permutation_stays(void **state) {
    (void)state;
    const uint64_t of_16[] = {2, 0, 13, 10, 6, 1, 5, 7, 3, 14, 15, 11, 4, 12, 8, 9};
    const uint64_t of_many[] = {34703, 49065, 6144, 27373, 15150, 52833};
    for (uint64_t i = 0; i < 16; i++) assert_int_equal(random_permutation(test_stream(1), 16, i), of_16[i]);
    for (uint64_t i = 0; i < 6; i++) assert_int_equal(random_permutation(test_stream(1), 67349, i), of_many[i]);
}

// Numbers too large to try them all: images are within n and differ.
static void test_permutation_of_many(void **state) {
    (void)state;
    const uint64_t sizes[] = {1ull << 40, (1ull << 62) + 1, 1ull << 63, UINT64_MAX};
    enum { TRIED = 512 };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        uint64_t images[TRIED];
        for (uint64_t i = 0; i < TRIED; i++) {
            images[i] = random_permutation(test_stream(5), sizes[k], i % 2 ? sizes[k] - 1 - i : i);
            assert_true(images[i] < sizes[k]);
            for (uint64_t j = 0; j < i; j++) assert_true(images[i] != images[j]);
        }
    }
}

// An order of 20,000 is nothing like the order of files, nor like that of another epoch: about one element in all keeps
// its place, and about two neighbours stay neighbours.
static void test_permutation_mixes(void **state) {
    (void)state;
    enum { N = 20000 };
    int fixed = 0, same = 0, neighbours = 0;
    uint64_t before = N;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t first = random_permutation(test_stream(0), N, i), second = random_permutation(test_stream(1), N, i);
        fixed += first == i;
        same += first == second;
        neighbours += first == before + 1 || first + 1 == before;
        before = first;
    }
    assert_in_range(fixed, 0, 10);
    assert_in_range(same, 0, 10);
    assert_in_range(neighbours, 0, 12);
}

// Every element is as likely in every place: the images of 0 over 4,000 streams fill ten bins evenly (deviation 19).
static void test_permutation_is_fair(void **state) {
    (void)state;
    enum { STREAMS = 4000, N = 10 };
    int bins[N] = {0};
    for (uint64_t s = 0; s < STREAMS; s++) bins[random_permutation(test_stream(s), N, 0)]++;
    for (int b = 0; b < N; b++) assert_in_range(bins[b], STREAMS / N - 95, STREAMS / N + 95);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_stream_key),
        cmocka_unit_test(test_every_part_of_a_name_counts),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_numbers_of_a_block),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_permutation_is_a_bijection),
        cmocka_unit_test(test_permutation_stays),
        cmocka_unit_test(test_permutation_of_many),
        cmocka_unit_test(test_permutation_mixes),
        cmocka_unit_test(test_permutation_is_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
