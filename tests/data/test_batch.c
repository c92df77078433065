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
            assert_int_equal(b.list[i].example, data_sample(3, 10, k));
            assert_int_equal(b.list[i].first, number);
            number += dataset_length(&d, b.list[i].example);
            seen[b.list[i].example]++;
            if (k % 10 == 9)
                for (int e = 0; e < 10; e++) assert_int_equal(seen[e], k / 10 + 1); // an epoch is whole
        }
    }
    batch_sample(&b, &d, NULL, 3, 1, 7); // any step, at any time
    assert_int_equal(b.list[0].example, data_sample(3, 10, 7));
    batch_sample(&b, &d, NULL, 3, 0, 25); // a batch larger than the data
    for (int64_t i = 0; i < 25; i++) assert_int_equal(b.list[i].example, data_sample(3, 10, i));
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
        assert_int_equal(b.list[i].example, 4 + i);
        assert_int_equal(b.list[i].first, d.starts[4 + i] - d.starts[4]);
    }
    batch_range(&b, &d, 10, 0);
    assert_int_equal(b.n, 0);
    batch_destroy(&b);
    dataset_destroy(&d);
}

// ---- micro-batches -------------------------------------------------------------------------------------------------

// Packs all of b with these capacities; every micro-batch must be as full as it can be, and together they must say
// token by token what the dataset and the batch say. Returns how many there are.
static int64_t check_packing(const dataset *d, const batch *b, int64_t tokens, int64_t sequences) {
    micro_batch m = micro_batch_create(tokens, sequences);
    int64_t next = 0, count = 0;
    for (; next < b->n; count++) {
        int64_t from = next;
        next = micro_batch_pack(&m, d, b, from, b->n);
        assert_int_equal(next - from, m.sequences);
        assert_true(m.sequences >= 1 && m.sequences <= sequences && m.tokens <= tokens);
        assert_int_equal(m.starts[0], 0);
        assert_int_equal(m.starts[m.sequences], m.tokens);
        if (next < b->n && m.sequences < sequences && b->list[next].part == b->list[from].part)
            assert_true(m.tokens + dataset_length(d, b->list[next].example) > tokens);
        int64_t longest = 0;
        for (int64_t s = 0; s < m.sequences; s++) {
            int64_t example = b->list[from + s].example, length = m.starts[s + 1] - m.starts[s];
            assert_int_equal(m.examples[s], example);
            assert_int_equal(length, dataset_length(d, example));
            if (length > longest) longest = length;
            for (int64_t i = 0; i < length; i++) {
                int64_t at = m.starts[s] + i;
                assert_int_equal(m.ids[at], d->ids[d->starts[example] + i]);
                assert_int_equal(m.positions[at], i);
                assert_int_equal(m.types[at], i >= d->second[example]);
                assert_int_equal(m.numbers[at], b->list[from + s].first + i);
            }
        }
        assert_int_equal(m.longest, longest);
    }
    assert_int_equal(next, b->n);
    micro_batch_destroy(&m);
    return count;
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

// ---- sorted and cut ------------------------------------------------------------------------------------------------

static bool is_longest_first(const batch_item *a, const batch_item *b) {
    return a->length > b->length || (a->length == b->length && a->first < b->first);
}

static void test_sort(void **state) {
    (void)state;
    dataset d = made_up(40);
    batch b = {0};
    batch_range(&b, &d, 0, 40);
    batch_sort(&b);
    for (int64_t i = 0; i < 40; i++) {
        assert_int_equal(b.list[i].length, dataset_length(&d, b.list[i].example));
        assert_int_equal(b.list[i].first, d.starts[b.list[i].example]);
        if (i > 0) assert_true(is_longest_first(&b.list[i - 1], &b.list[i]));
    }
    check_packing(&d, &b, 30, 5);
    batch_destroy(&b);
    dataset_destroy(&d);
}

// items [n] are those of b, in any order.
static void check_same_items(const batch *b, const batch_item *items, int64_t n) {
    assert_int_equal(b->n, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = 0; // numbers are all different
        while (k < n && b->list[k].first != items[i].first) k++;
        assert_in_range(k, 0, n - 1);
        assert_int_equal(b->list[k].example, items[i].example);
        assert_int_equal(b->list[k].length, items[i].length);
    }
}

// Tokens of the fullest part less those of the emptiest; each part is longest first, and there are so many.
static int64_t check_parts(const batch *b, int64_t parts) {
    int64_t most = 0, least = INT64_MAX, part = 0;
    for (int64_t i = 0; i < b->n; part++) {
        int64_t tokens = 0;
        assert_int_equal(b->list[i].part, part);
        for (int64_t first = i; i < b->n && b->list[i].part == part; i++) {
            if (i > first) assert_true(is_longest_first(&b->list[i - 1], &b->list[i]));
            tokens += b->list[i].length;
        }
        most = tokens > most ? tokens : most;
        least = smaller(least, tokens);
    }
    assert_int_equal(part, parts);
    return most - least;
}

// Cuts what b has now. Every item must be in one part, no capacity exceeded, and no more parts than full ones in
// sampling order make. How uneven they are.
static int64_t check_cut(const dataset *d, batch *b, int64_t tokens, int64_t sequences) {
    int64_t n = b->n, in_order = check_packing(d, b, tokens, sequences);
    batch_item *items = memory_allocate((size_t)n, sizeof *items);
    memcpy(items, b->list, (size_t)n * sizeof *items);
    int64_t parts = batch_cut(b, tokens, sequences);
    assert_in_range(parts, 1, in_order);
    check_same_items(b, items, n);
    assert_int_equal(check_packing(d, b, tokens, sequences), parts); // each part fits whole
    memory_free(items);
    return check_parts(b, parts);
}

static void test_cut_any_capacity(void **state) {
    (void)state;
    static const int64_t batches[] = {1, 7, 32, 100};
    dataset d = made_up(40);
    batch b = {0};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
        for (int64_t tokens = 9; tokens < 200; tokens += tokens < 30 ? 1 : 17)
            for (int64_t sequences = 1; sequences < 40; sequences += 3) {
                batch_sample(&b, &d, NULL, 5, i, batches[i]);
                check_cut(&d, &b, tokens, sequences);
            }
    batch_destroy(&b);
    dataset_destroy(&d);
}

// In sampling order 2 3 4 5 6, 7 8 and 9 would be three parts, the last nearly empty.
static void test_cut_is_even(void **state) {
    (void)state;
    dataset d = made_up(80);
    batch b = {0};
    batch_range(&b, &d, 0, 8);
    assert_int_equal(check_packing(&d, &b, 23, 100), 3);
    assert_int_equal(check_cut(&d, &b, 23, 100), 0);
    static const int64_t lengths[] = {9, 6, 5, 2, 8, 7, 4, 3};
    for (int i = 0; i < 8; i++) assert_int_equal(b.list[i].length, lengths[i]);
    // Where parts hold many, they differ by less than one of them; and by number alone, they are as even.
    for (int64_t step = 0; step < 20; step++) {
        batch_sample(&b, &d, NULL, 5, step, 64);
        assert_true(check_cut(&d, &b, 100, 64) < d.longest);
        batch_sample(&b, &d, NULL, 5, step, 64);
        assert_true(check_cut(&d, &b, 1000, 16) < d.longest);
        assert_int_equal(b.list[15].part, 0);
        assert_int_equal(b.list[16].part, 1);
        assert_int_equal(b.list[48].part, 3);
    }
    batch_destroy(&b);
    dataset_destroy(&d);
}

// 6 3 2, 7 4 fill two parts of 11 in sampling order; the longest first, each onto the emptier, leave no room for the
// last: 7 3, 6 4, and 2. So it is cut in sampling order.
static void test_cut_in_order(void **state) {
    (void)state;
    static const int64_t lengths[] = {6, 3, 2, 7, 4}, examples[] = {4, 1, 0, 5, 2};
    dataset d = made_up(8);
    batch b = {0};
    batch_range(&b, &d, 0, 5);
    for (int64_t i = 0, first = 0; i < 5; first += lengths[i++])
        b.list[i] = (batch_item){.example = examples[i], .length = lengths[i], .first = first};
    check_cut(&d, &b, 11, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(b.list[i].part, i / 3);
    batch_destroy(&b);
    dataset_destroy(&d);
}

// Replicas serve every item once, in sampling order, and like numbers of items and tokens each.
static void test_deal(void **state) {
    (void)state;
    dataset d = made_up(29);
    batch whole = {0}, b = {0};
    batch_range(&whole, &d, 0, d.n);
    for (int replicas = 1; replicas <= 40; replicas++) {
        int seen[29] = {0};
        int64_t tokens[40] = {0}, most = 0, least = INT64_MAX;
        for (int r = 0; r < replicas; r++) {
            batch_range(&b, &d, 0, d.n);
            batch_deal(&b, r, replicas);
            assert_true(b.n == d.n / replicas || b.n == d.n / replicas + 1);
            for (int64_t i = 0; i < b.n; i++) {
                const batch_item *item = &b.list[i], *same = &whole.list[item->example];
                seen[item->example]++;
                tokens[r] += item->length;
                assert_true(item->first == same->first && item->length == same->length);
                assert_true(i == 0 || item->first > b.list[i - 1].first);
            }
            if (tokens[r] > most) most = tokens[r];
            if (tokens[r] < least) least = tokens[r];
        }
        for (int i = 0; i < 29; i++) assert_int_equal(seen[i], 1);
        assert_true(most - least <= 9 + 1); // an item, and what pairs differ by
    }
    batch_destroy(&whole);
    batch_destroy(&b);
    dataset_destroy(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_crosses_epochs),
        cmocka_unit_test(test_batch_range),
        cmocka_unit_test(test_any_capacity),
        cmocka_unit_test(test_part_of_a_batch),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_deal),
        cmocka_unit_test(test_cut_any_capacity),
        cmocka_unit_test(test_cut_is_even),
        cmocka_unit_test(test_cut_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
