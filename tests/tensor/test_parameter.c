// The parameter table: its layout, what a rank holds, and values that no split changes.
#include "../support.h"

#include "tensor/tensor.h"

static bool is_aligned(const float *piece) { return (uintptr_t)piece % MEMORY_ALIGNMENT == 0; }

// ---- rectangles ----------------------------------------------------------------------------------------------------

static void test_rows(void **state) {
    (void)state;
    parameter_table table = {0};
    assert_int_equal(parameter_add(&table, "whole", 2, 5, 3, SPLIT_NONE, 0, 0, true, true, INITIAL_NORMAL), 0);
    assert_int_equal(parameter_add(&table, "rows", 2, 10, 4, SPLIT_ROWS, 3, 5, true, true, INITIAL_NORMAL), 1);
    assert_int_equal(parameter_add(&table, "columns", 2, 10, 4, SPLIT_COLUMNS, 1, 2, false, false, INITIAL_ONE), 2);
    assert_int_equal(parameter_add(&table, "vector", 1, 9, 1, SPLIT_ROWS, 8, 1, true, false, INITIAL_ZERO), 3);
    assert_int_equal(parameter_add(&table, "elsewhere", 2, 10, 4, SPLIT_ROWS, 10, 0, false, true, INITIAL_NORMAL), 4);
    const int64_t first[] = {6, 2}, count[] = {4, 2}, nothing[] = {4, 0};
    assert_int_equal(parameter_add_tile(&table, "tile", 10, 4, first, count, true, INITIAL_NORMAL), 5);
    assert_int_equal(parameter_add_tile(&table, "no tile", 10, 4, first, nothing, true, INITIAL_NORMAL), 6);
    const parameter expected[] = {
        {.shape = {5, 3}, .offset = {0, 0}, .size = {5, 3}, .dimensions = 2, .writer = true, .decay = true},
        {.shape = {10, 4}, .offset = {3, 0}, .size = {5, 4}, .dimensions = 2, .writer = true, .decay = true},
        {.shape = {10, 4}, .offset = {0, 1}, .size = {10, 2}, .dimensions = 2},
        {.shape = {9, 1}, .offset = {8, 0}, .size = {1, 1}, .dimensions = 1, .writer = true},
        {.shape = {10, 4}, .offset = {10, 0}, .size = {0, 0}, .dimensions = 2, .decay = true},
        {.shape = {10, 4}, .offset = {6, 2}, .size = {4, 2}, .dimensions = 2, .writer = true, .decay = true},
        {.shape = {10, 4}, .offset = {6, 2}, .size = {0, 0}, .dimensions = 2, .decay = true},
    };
    assert_int_equal(table.n, 7);
    for (size_t i = 0; i < table.n; i++) {
        const parameter *p = &table.rows[i];
        assert_memory_equal(p->shape, expected[i].shape, sizeof p->shape);
        assert_memory_equal(p->offset, expected[i].offset, sizeof p->offset);
        assert_memory_equal(p->size, expected[i].size, sizeof p->size);
        assert_int_equal(p->dimensions, expected[i].dimensions);
        assert_int_equal(p->writer, expected[i].writer);
        assert_int_equal(p->decay, expected[i].decay);
        assert_int_equal(parameter_count(p), expected[i].size[0] * expected[i].size[1]);
    }
    parameter_destroy(&table);
    assert_int_equal(table.n, 0);
}

static void test_find(void **state) {
    (void)state;
    parameter_table table = {0};
    char name[128];
    for (int i = 0; i < 100; i++) { // more than a table first has room for
        snprintf(name, sizeof name, "encoder.layer.%d.weight", i);
        parameter_add(&table, name, 2, i + 1, 2, SPLIT_NONE, 0, 0, true, true, INITIAL_ZERO);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.weight", i);
        assert_ptr_equal(parameter_find(&table, name), &table.rows[i]);
        assert_int_equal(table.rows[i].shape[0], i + 1);
    }
    assert_null(parameter_find(&table, "encoder.layer.1"));
    assert_null(parameter_find(&table, "encoder.layer.1.weights"));
    assert_null(parameter_find(&table, ""));
    parameter_destroy(&table);
}

// The longest name that fits is kept whole.
static void test_long_name(void **state) {
    (void)state;
    parameter_table table = {0};
    char name[128];
    memset(name, 'n', sizeof name);
    name[127] = 0;
    parameter_add(&table, name, 1, 1, 1, SPLIT_NONE, 0, 0, true, true, INITIAL_ZERO);
    assert_string_equal(table.rows[0].name, name);
    parameter_destroy(&table);
}

// ---- layout --------------------------------------------------------------------------------------------------------

static parameter_table mixed(bool gradients, bool moments) {
    parameter_table table = {0};
    parameter_add(&table, "split.a", 2, 7, 5, SPLIT_ROWS, 2, 3, true, true, INITIAL_NORMAL);
    parameter_add(&table, "all.a", 2, 3, 3, SPLIT_NONE, 0, 0, true, true, INITIAL_NORMAL);
    parameter_add(&table, "split.none", 2, 7, 5, SPLIT_ROWS, 0, 0, false, true, INITIAL_NORMAL);
    parameter_add(&table, "all.b", 1, 17, 1, SPLIT_NONE, 0, 0, true, false, INITIAL_ONE);
    parameter_add(&table, "split.b", 2, 4, 16, SPLIT_COLUMNS, 0, 8, true, true, INITIAL_NORMAL);
    parameter_add(&table, "all.c", 1, 16, 1, SPLIT_NONE, 0, 0, true, false, INITIAL_ZERO);
    parameter_allocate(&table, gradients, moments);
    return table;
}

// Replicated tensors in front, in the table's order, at cache lines, without overlap; so are the others behind them.
static void test_layout(void **state) {
    (void)state;
    parameter_table table = mixed(true, true);
    assert_int_equal(table.replicated, 16 + 32 + 16);
    assert_int_equal(table.total, table.replicated + 16 + 32);
    const int64_t places[] = {64, 0, 80, 16, 80, 48};
    for (size_t i = 0; i < table.n; i++) {
        const parameter *p = &table.rows[i];
        assert_int_equal(p->value - table.values, places[i]);
        assert_ptr_equal(p->gradient, table.gradients + places[i]);
        assert_ptr_equal(p->moment1, table.moments1 + places[i]);
        assert_ptr_equal(p->moment2, table.moments2 + places[i]);
        assert_true(is_aligned(p->value) && is_aligned(p->gradient) && is_aligned(p->moment1) &&
                    is_aligned(p->moment2));
    }
    parameter_destroy(&table);
    assert_null(table.values);
}

static void test_zeroed(void **state) {
    (void)state;
    parameter_table table = mixed(true, true);
    for (int64_t i = 0; i < table.total; i++) {
        assert_true(table.gradients[i] == 0 && table.moments1[i] == 0 && table.moments2[i] == 0);
        table.gradients[i] = 1;
        table.values[i] = 2;
    }
    parameter_zero_gradients(&table);
    for (int64_t i = 0; i < table.total; i++) assert_true(table.gradients[i] == 0 && table.values[i] == 2);
    parameter_destroy(&table);
}

static void test_only_what_is_wanted(void **state) {
    (void)state;
    for (int wanted = 0; wanted < 4; wanted++) {
        bool gradients = wanted & 1, moments = wanted & 2;
        parameter_table table = mixed(gradients, moments);
        assert_int_equal(table.gradients != NULL, gradients);
        assert_int_equal(table.moments1 != NULL, moments);
        assert_int_equal(table.moments2 != NULL, moments);
        for (size_t i = 0; i < table.n; i++) {
            assert_non_null(table.rows[i].value);
            assert_int_equal(table.rows[i].gradient != NULL, gradients);
            assert_int_equal(table.rows[i].moment1 != NULL, moments);
            assert_int_equal(table.rows[i].moment2 != NULL, moments);
        }
        parameter_destroy(&table);
    }
}

static void test_empty_table(void **state) {
    (void)state;
    parameter_table table = {0};
    parameter_allocate(&table, true, true);
    assert_int_equal(table.total, 0);
    parameter_initialise(&table, 1, 0.02);
    parameter_zero_gradients(&table);
    parameter_destroy(&table);
}

// ---- values --------------------------------------------------------------------------------------------------------

enum { TALL = 9, WIDE = 13 };

static parameter_table tensor(const char *name, int dimensions, int64_t columns, parameter_split split, int64_t first,
                              int64_t count, uint64_t seed) {
    parameter_table table = {0};
    parameter_add(&table, name, dimensions, TALL, columns, split, first, count, true, true, INITIAL_NORMAL);
    parameter_allocate(&table, false, false);
    parameter_initialise(&table, seed, 0.02);
    return table;
}

// Any cut of a tensor holds what the whole holds there, to the bit.
static void check_cuts(int dimensions, int64_t columns, parameter_split split) {
    parameter_table whole = tensor("w", dimensions, columns, SPLIT_NONE, 0, 0, 7);
    int64_t n = split == SPLIT_ROWS ? TALL : columns;
    for (int64_t first = 0; first < n; first++)
        for (int64_t count = 1; first + count <= n; count++) {
            parameter_table part = tensor("w", dimensions, columns, split, first, count, 7);
            const parameter *p = &part.rows[0];
            for (int64_t r = 0; r < p->size[0]; r++)
                assert_memory_equal(p->value + r * p->size[1],
                                    whole.values + (p->offset[0] + r) * columns + p->offset[1],
                                    (size_t)p->size[1] * sizeof *p->value);
            parameter_destroy(&part);
        }
    parameter_destroy(&whole);
}

// The same of what is cut both ways.
static void check_tiles(void) {
    parameter_table whole = tensor("w", 2, WIDE, SPLIT_NONE, 0, 0, 7);
    for (int64_t row = 0; row < TALL; row += 2)
        for (int64_t column = 0; column < WIDE; column++)
            for (int64_t columns = 1; column + columns <= WIDE; columns++) {
                const int64_t first[] = {row, column}, count[] = {smaller(3, TALL - row), columns};
                parameter_table part = {0};
                parameter_add_tile(&part, "w", TALL, WIDE, first, count, true, INITIAL_NORMAL);
                parameter_allocate(&part, false, false);
                assert_int_equal(part.replicated, 0);
                parameter_initialise(&part, 7, 0.02);
                for (int64_t r = 0; r < count[0]; r++)
                    assert_memory_equal(part.rows[0].value + r * columns, whole.values + (row + r) * WIDE + column,
                                        (size_t)columns * sizeof *whole.values);
                parameter_destroy(&part);
            }
    parameter_destroy(&whole);
}

static void test_no_split_changes_values(void **state) {
    (void)state;
    check_cuts(2, WIDE, SPLIT_ROWS);
    check_cuts(2, WIDE, SPLIT_COLUMNS);
    check_cuts(1, 1, SPLIT_ROWS);
    check_tiles();
}

// Whatever else is in a table, and in whichever order, a name has its values: so SAF and PAF begin alike.
static void test_no_neighbour_changes_values(void **state) {
    (void)state;
    parameter_table alone = tensor("split.b", 2, WIDE, SPLIT_NONE, 0, 0, 7), table = {0};
    parameter_add(&table, "split.a", 2, 7, 5, SPLIT_ROWS, 2, 3, true, true, INITIAL_NORMAL);
    parameter_add(&table, "split.b", 2, TALL, WIDE, SPLIT_NONE, 0, 0, true, true, INITIAL_NORMAL);
    parameter_allocate(&table, true, true);
    parameter_initialise(&table, 7, 0.02);
    assert_memory_equal(table.rows[1].value, alone.values, TALL * WIDE * sizeof *alone.values);
    parameter_destroy(&alone);
    parameter_destroy(&table);
}

static int64_t count_same(const parameter_table *a, const parameter_table *b) {
    int64_t same = 0;
    for (int64_t i = 0; i < TALL * WIDE; i++) same += a->values[i] == b->values[i];
    return same;
}

static void test_name_and_seed_count(void **state) {
    (void)state;
    parameter_table one = tensor("one", 2, WIDE, SPLIT_NONE, 0, 0, 7);
    parameter_table other = tensor("two", 2, WIDE, SPLIT_NONE, 0, 0, 7);
    parameter_table seeded = tensor("one", 2, WIDE, SPLIT_NONE, 0, 0, 8);
    assert_int_equal(count_same(&one, &other), 0);
    assert_int_equal(count_same(&one, &seeded), 0);
    assert_int_equal(count_same(&one, &one), TALL * WIDE);
    parameter_destroy(&one);
    parameter_destroy(&other);
    parameter_destroy(&seeded);
}

// Elements are normal and know nothing of their neighbours: five standard deviations of each estimate.
static void test_normal(void **state) {
    (void)state;
    enum { N = 300 };
    const double n = N * N, deviation = 0.02;
    parameter_table table = {0};
    parameter_add(&table, "w", 2, N, N, SPLIT_NONE, 0, 0, true, true, INITIAL_NORMAL);
    parameter_allocate(&table, false, false);
    parameter_initialise(&table, 1, deviation);
    double sum = 0, squares = 0, fourths = 0, below = 0, beside[4] = {0};
    for (int64_t i = 0; i < N * N; i++) {
        double z = table.values[i] / deviation;
        sum += z;
        squares += z * z;
        fourths += pow(z, 4);
        for (int lag = 1; lag < 4; lag++)
            if (i % N >= lag) beside[lag] += z * table.values[i - lag] / deviation;
        if (i >= N) below += z * table.values[i - N] / deviation;
    }
    assert_close("mean", sum / n, 0, 5 / sqrt(n));
    assert_close("second moment", squares / n, 1, 5 * sqrt(2 / n));
    assert_close("fourth moment", fourths / n, 3, 5 * sqrt(96 / n));
    for (int lag = 1; lag < 4; lag++) assert_close("correlation beside", beside[lag] / n, 0, 5 / sqrt(n));
    assert_close("correlation below", below / n, 0, 5 / sqrt(n));
    parameter_destroy(&table);
}

static void test_ones_and_zeros(void **state) {
    (void)state;
    parameter_table table = mixed(false, false);
    for (int64_t i = 0; i < table.total; i++) table.values[i] = 5;
    parameter_initialise(&table, 1, 0.02);
    const parameter *one = parameter_find(&table, "all.b"), *zero = parameter_find(&table, "all.c");
    for (int64_t i = 0; i < parameter_count(one); i++) assert_close(one->name, one->value[i], 1, 0);
    for (int64_t i = 0; i < parameter_count(zero); i++) assert_close(zero->name, zero->value[i], 0, 0);
    parameter_destroy(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_only_what_is_wanted),
        cmocka_unit_test(test_empty_table),
        cmocka_unit_test(test_no_split_changes_values),
        cmocka_unit_test(test_no_neighbour_changes_values),
        cmocka_unit_test(test_name_and_seed_count),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_ones_and_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
