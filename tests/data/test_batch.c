// Batches, and micro-batches that say the same however they are cut.
#include "files.h"

// A dataset of n examples whose lengths go 2, 3, ... 9, 2, ...; ids name the example.
static dataset made_up(int64_t n) {
    dataset d = {.n = n, .longest = n < 8 ? n + 1 : 9};
    d.starts = memory_allocate((size_t)n + 1, sizeof *d.starts);
    d.second = memory_allocate((size_t)n, sizeof *d.second);
    d.ids = memory_allocate((size_t)n * 9, sizeof *d.ids);
    for (int64_t i = 0; i < n; i++) {
        int64_t length = 2 + i % 8;
        d.starts[i + 1] = d.starts[i] + length;
        d.second[i] = (int32_t)(i % 3 ? length : length / 2);
        for (int64_t k = 0; k < length; k++) d.ids[d.starts[i] + k] = (int32_t)(100 * i + k);
    }
    return d;
}

// ---- batches -------------------------------------------------------------------------------------------------------

// Steps of 7 over 10 examples: the second crosses the end of the epoch, and nothing is left out or repeated.
static void test_batch_crosses_epochs(void **state) {
    (void)state;
    dataset d = made_up(10);
    batch b = {0};
    int seen[10] = {0};
    for (int64_t step = 0; step < 10; step++) {
        batch_sample(&b, &d, NULL, 3, step, 7);
        assert_int_equal(b.n, 7);
        int64_t number = 0;
        for (int64_t i = 0; i < 7; i++) {
            int64_t k = step * 7 + i;
            assert_int_equal(b.examples[i], data_sample(3, 10, k));
            assert_int_equal(b.first[i], number);
            number += dataset_length(&d, b.examples[i]);
            seen[b.examples[i]]++;
            if (k % 10 == 9)
                for (int e = 0; e < 10; e++) assert_int_equal(seen[e], k / 10 + 1); // an epoch is whole
        }
    }
    batch_sample(&b, &d, NULL, 3, 1, 7); // any step, at any time
    assert_int_equal(b.examples[0], data_sample(3, 10, 7));
    batch_sample(&b, &d, NULL, 3, 0, 25); // a batch larger than the data
    for (int64_t i = 0; i < 25; i++) assert_int_equal(b.examples[i], data_sample(3, 10, i));
    batch_destroy(&b);
    dataset_destroy(&d);
}

static void test_batch_range(void **state) {
    (void)state;
    dataset d = made_up(10);
    batch b = {0};
    batch_range(&b, &d, 4, 6);
    assert_int_equal(b.n, 6);
    for (int64_t i = 0; i < 6; i++) {
        assert_int_equal(b.examples[i], 4 + i);
        assert_int_equal(b.first[i], d.starts[4 + i] - d.starts[4]);
    }
    batch_range(&b, &d, 10, 0);
    assert_int_equal(b.n, 0);
    batch_destroy(&b);
    dataset_destroy(&d);
}

// ---- micro-batches -------------------------------------------------------------------------------------------------

// Packs all of b with these capacities; every micro-batch must be as full as it can be, and together they must say
// token by token what the dataset says.
static void check_packing(const dataset *d, const batch *b, int64_t tokens, int64_t sequences) {
    micro_batch m = micro_batch_create(tokens, sequences);
    int64_t next = 0, number = 0;
    while (next < b->n) {
        int64_t from = next;
        next = micro_batch_pack(&m, d, b, from, b->n);
        assert_int_equal(next - from, m.sequences);
        assert_true(m.sequences >= 1 && m.sequences <= sequences && m.tokens <= tokens);
        assert_int_equal(m.starts[0], 0);
        assert_int_equal(m.starts[m.sequences], m.tokens);
        if (next < b->n && m.sequences < sequences)
            assert_true(m.tokens + dataset_length(d, b->examples[next]) > tokens);
        int64_t longest = 0;
        for (int64_t s = 0; s < m.sequences; s++) {
            int64_t example = b->examples[from + s], length = m.starts[s + 1] - m.starts[s];
            assert_int_equal(m.examples[s], example);
            assert_int_equal(length, dataset_length(d, example));
            if (length > longest) longest = length;
            for (int64_t i = 0; i < length; i++) {
                int64_t at = m.starts[s] + i;
                assert_int_equal(m.ids[at], d->ids[d->starts[example] + i]);
                assert_int_equal(m.positions[at], i);
                assert_int_equal(m.types[at], i >= d->second[example]);
                assert_int_equal(m.numbers[at], number++);
            }
        }
        assert_int_equal(m.longest, longest);
    }
    assert_int_equal(next, b->n);
    micro_batch_destroy(&m);
}

static void test_any_capacity(void **state) {
    (void)state;
    dataset d = made_up(40);
    batch b = {0};
    batch_sample(&b, &d, NULL, 5, 1, 30);
    for (int64_t tokens = 9; tokens < 200; tokens += tokens < 30 ? 1 : 17)
        for (int64_t sequences = 1; sequences < 40; sequences += 3) check_packing(&d, &b, tokens, sequences);
    batch_destroy(&b);
    dataset_destroy(&d);
}

// `to` ends a micro-batch too: replicas serve parts of a batch, with the numbers of the whole.
static void test_part_of_a_batch(void **state) {
    (void)state;
    dataset d = made_up(10);
    batch b = {0};
    batch_range(&b, &d, 0, 10);
    micro_batch m = micro_batch_create(1000, 1000);
    assert_int_equal(micro_batch_pack(&m, &d, &b, 3, 5), 5);
    assert_int_equal(m.sequences, 2);
    assert_int_equal(m.numbers[0], d.starts[3]);
    assert_int_equal(m.ids[0], 300);
    micro_batch_destroy(&m);
    batch_destroy(&b);
    dataset_destroy(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_crosses_epochs),
        cmocka_unit_test(test_batch_range),
        cmocka_unit_test(test_any_capacity),
        cmocka_unit_test(test_part_of_a_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
