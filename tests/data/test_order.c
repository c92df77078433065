// Which example is met when: at random, and in the even order.
#include "files.h"

// Only lengths matter here: most are short, few are long, as they are in text.
static dataset skewed(int64_t n) {
    random_stream stream = random_stream_create(1, RANDOM_TEST, 3, 0);
    dataset d = {.n = n, .starts = memory_allocate((size_t)n + 1, sizeof *d.starts)};
    for (int64_t i = 0; i < n; i++) {
        int64_t length = 2 + (int64_t)(60 * pow(random_uniform(stream, (uint64_t)i, 0), 4));
        d.starts[i + 1] = d.starts[i] + length;
        if (length > d.longest) d.longest = length;
    }
    return d;
}

typedef struct {
    int64_t n, batch;
} size_pair;

// Divisible and not, a stratum an example, one stratum, batches larger than the data, even by several times.
static const size_pair sizes[] = {{1, 1},    {2, 1},   {17, 1},    {64, 8},    {65, 8},   {71, 8},
                                  {100, 32}, {97, 96}, {32, 32},   {10, 7},    {31, 32},  {10, 25},
                                  {3, 100},  {1, 32},  {1000, 33}, {3668, 32}, {999, 500}};
enum { SIZES = sizeof sizes / sizeof *sizes, EPOCHS = 5 };

// ---- at random -----------------------------------------------------------------------------------------------------

static void test_random_every_example_once(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 17, 64, 1000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t n = sizes[s];
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int *seen = memory_allocate((size_t)n, sizeof *seen);
            for (int64_t k = 0; k < n; k++) seen[data_sample(7, n, epoch * n + k)]++;
            for (int64_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
            memory_free(seen);
        }
    }
}

// Epochs and seeds have orders of their own, and none is the files' order.
static void test_random_orders_differ(void **state) {
    (void)state;
    int64_t n = 1000, same_epoch = 0, same_seed = 0, in_place = 0;
    for (int64_t k = 0; k < n; k++) {
        same_epoch += data_sample(7, n, k) == data_sample(7, n, n + k);
        same_seed += data_sample(7, n, k) == data_sample(8, n, k);
        in_place += data_sample(7, n, k) == k;
    }
    assert_in_range(same_epoch, 0, 10); // one by chance is expected
    assert_in_range(same_seed, 0, 10);
    assert_in_range(in_place, 0, 10);
}

// ---- the even order ------------------------------------------------------------------------------------------------

static void test_sorted(void **state) {
    (void)state;
    dataset d = skewed(500);
    strata s = strata_create(&d, 16);
    for (int64_t i = 1; i < d.n; i++) {
        int64_t before = s.by_length[i - 1], after = s.by_length[i];
        int64_t longer = dataset_length(&d, after) - dataset_length(&d, before);
        assert_true(longer > 0 || (longer == 0 && after > before));
    }
    strata_destroy(&s);
    dataset_destroy(&d);
}

static void test_even_every_example_once(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        int64_t n = sizes[i].n;
        dataset d = skewed(n);
        strata s = strata_create(&d, sizes[i].batch);
        for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
            int *seen = memory_allocate((size_t)n, sizeof *seen);
            for (int64_t k = 0; k < n; k++) seen[strata_sample(&s, 7, epoch * n + k)]++;
            for (int64_t e = 0; e < n; e++) assert_int_equal(seen[e], 1);
            memory_free(seen);
        }
        strata_destroy(&s);
        dataset_destroy(&d);
    }
}

// rank [n] of each example in the order of lengths
static int64_t *ranks_of(const strata *s) {
    int64_t *rank = memory_allocate((size_t)s->n, sizeof *rank);
    for (int64_t i = 0; i < s->n; i++) rank[s->by_length[i]] = i;
    return rank;
}

// The strata of an epoch follow each other in the order of lengths and differ by one example at most; samples that are
// a batch apart are of the same one. So as many samples as a batch has, wherever in an epoch they begin, are one of
// every stratum.
static void test_one_of_every_stratum(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        int64_t n = sizes[i].n, count = sizes[i].batch;
        dataset d = skewed(n);
        strata s = strata_create(&d, count);
        int64_t *rank = ranks_of(&s), *low = memory_allocate((size_t)count, sizeof *low);
        int64_t *size = memory_allocate((size_t)count, sizeof *size);
        int64_t *high = memory_allocate((size_t)count, sizeof *high);
        for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
            for (int64_t c = 0; c < count; c++) low[c] = n, high[c] = -1, size[c] = 0;
            for (int64_t k = epoch * n; k < (epoch + 1) * n; k++) {
                int64_t c = k % count, r = rank[strata_sample(&s, 7, k)];
                low[c] = smaller(low[c], r);
                high[c] = r > high[c] ? r : high[c];
                size[c]++;
            }
            int64_t next = 0;
            for (int64_t c = 0; c < count; c++) {
                assert_true(size[c] == n / count || size[c] == n / count + 1);
                if (size[c] == 0) continue;
                assert_int_equal(low[c], next);
                assert_int_equal(high[c], next + size[c] - 1);
                next += size[c];
            }
            assert_int_equal(next, n);
        }
        memory_free(rank);
        memory_free(low);
        memory_free(high);
        memory_free(size);
        strata_destroy(&s);
        dataset_destroy(&d);
    }
}

// Chance decides within a stratum: epochs and seeds differ, and strata do not go the same way.
static void test_even_orders_differ(void **state) {
    (void)state;
    dataset d = skewed(1024);
    strata s = strata_create(&d, 2); // 512 each: by chance one sample in 512 is the same
    int64_t *rank = ranks_of(&s), same_epoch = 0, same_seed = 0, same_stratum = 0, in_place = 0;
    for (int64_t k = 0; k < d.n; k++) {
        int64_t mine = strata_sample(&s, 7, k);
        same_epoch += mine == strata_sample(&s, 7, d.n + k);
        same_seed += mine == strata_sample(&s, 8, k);
        same_stratum += rank[mine] + 512 == rank[strata_sample(&s, 7, k ^ 1)];
        in_place += rank[mine] % 512 == k / 2;
    }
    assert_in_range(same_epoch, 0, 15); // two are expected
    assert_in_range(same_seed, 0, 15);
    assert_in_range(same_stratum, 0, 15);
    assert_in_range(in_place, 0, 15);
    memory_free(rank);
    strata_destroy(&s);
    dataset_destroy(&d);
}

// The standard deviation of a step's tokens over their mean, over whole epochs and the steps between them.
static double spread(const dataset *d, const strata *even, int64_t size) {
    batch b = {0};
    int64_t steps = EPOCHS * d->n / size;
    double sum = 0, squares = 0;
    for (int64_t step = 0; step < steps; step++) {
        batch_sample(&b, d, even, 7, step, size);
        double tokens = 0;
        for (int64_t i = 0; i < size; i++) tokens += (double)b.list[i].length;
        sum += tokens;
        squares += tokens * tokens;
    }
    batch_destroy(&b);
    double mean = sum / (double)steps;
    return sqrt(squares / (double)steps - mean * mean) / mean;
}

static void test_steps_are_even(void **state) {
    (void)state;
    static const int64_t sizes[] = {1000, 1024, 1031};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        dataset d = skewed(sizes[i]);
        strata s = strata_create(&d, 32);
        double at_random = spread(&d, NULL, 32), even = spread(&d, &s, 32);
        print_message("%lld examples: tokens of a step spread by %.1f %%, in the even order by %.2f %%\n",
                      (long long)d.n, 100 * at_random, 100 * even);
        assert_true(even < 0.25 * at_random);
        strata_destroy(&s);
        dataset_destroy(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_every_example_once),
        cmocka_unit_test(test_random_orders_differ),
        cmocka_unit_test(test_sorted),
        cmocka_unit_test(test_even_every_example_once),
        cmocka_unit_test(test_one_of_every_stratum),
        cmocka_unit_test(test_even_orders_differ),
        cmocka_unit_test(test_steps_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
