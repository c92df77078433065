// The gradient's norm: every parameter counted once, however many ranks hold it; the same bits on every rank.
// ranks: 1 2 3

#include "../support.h"

#include "optim/optim.h"

static comm *world;
static int rank, size;

static float gradient_of(int row, int64_t i) {
    double z[2];
    random_normal_pair(z, random_stream_create(4, RANDOM_TEST, (uint64_t)row, 0), (uint64_t)i, 0);
    return (float)z[0];
}

enum { TALL = 13, WIDE = 29, LONG = 7 };

// Two tensors that all ranks hold, one split by rows, one by columns, and one that the last rank alone holds.
static parameter_table build(void) {
    parameter_table table = {0};
    int64_t rows = TALL * rank / size, columns = WIDE * rank / size;
    int64_t n_rows = TALL * (rank + 1) / size - rows, n_columns = WIDE * (rank + 1) / size - columns;
    bool last = rank == size - 1, first = rank == 0;
    parameter_add(&table, "all.weight", 2, TALL, WIDE, SPLIT_NONE, 0, 0, first, true, INITIAL_ZERO);
    parameter_add(&table, "rows", 2, TALL, WIDE, SPLIT_ROWS, rows, n_rows, n_rows > 0, true, INITIAL_ZERO);
    parameter_add(&table, "columns", 2, TALL, WIDE, SPLIT_COLUMNS, columns, n_columns, n_columns > 0, true,
                  INITIAL_ZERO);
    parameter_add(&table, "all.bias", 1, LONG, 1, SPLIT_NONE, 0, 0, first, false, INITIAL_ZERO);
    parameter_add(&table, "last", 2, LONG, LONG, SPLIT_ROWS, 0, last ? LONG : 0, last, true, INITIAL_ZERO);
    parameter_allocate(&table, true, false);
    // Padding is no parameter: whatever is in it must not count.
    for (int64_t i = 0; i < table.total; i++) table.gradients[i] = 1e9f;
    for (size_t k = 0; k < table.n; k++) {
        const parameter *p = &table.rows[k];
        for (int64_t r = 0; r < p->size[0]; r++)
            for (int64_t c = 0; c < p->size[1]; c++)
                p->gradient[r * p->size[1] + c] =
                    gradient_of((int)k, (p->offset[0] + r) * p->shape[1] + p->offset[1] + c);
    }
    return table;
}

static double norm_of_all(void) {
    const int64_t counts[] = {TALL * WIDE, TALL * WIDE, TALL * WIDE, LONG, LONG * LONG};
    double sum = 0;
    for (int k = 0; k < 5; k++)
        for (int64_t i = 0; i < counts[k]; i++) sum += pow(gradient_of(k, i), 2);
    return sqrt(sum);
}

static void test_each_parameter_once(void **state) {
    (void)state;
    parameter_table table = build();
    double norm = optim_gradient_norm(&table, world), expected = norm_of_all();
    assert_close("norm", norm, expected, 1e-12 * expected);
    double most = norm, least = -norm;
    comm_max_doubles(world, &most, 1);
    comm_max_doubles(world, &least, 1);
    assert_close("largest norm of all ranks", most, -least, 0);
    parameter_destroy(&table);
}

// A gradient that is no number on one rank is none on all: they stop together.
static void test_not_a_number(void **state) {
    (void)state;
    parameter_table table = build();
    if (rank == size - 1) parameter_find(&table, "last")->gradient[3] = NAN;
    REQUIRE(isnan(optim_gradient_norm(&table, world)));
    if (rank == size - 1) parameter_find(&table, "last")->gradient[3] = INFINITY;
    REQUIRE(isinf(optim_gradient_norm(&table, world)));
    parameter_destroy(&table);
}

// Squares beyond float's range are still numbers.
static void test_large(void **state) {
    (void)state;
    parameter_table table = build();
    for (size_t k = 0; k < table.n; k++)
        for (int64_t j = 0; j < parameter_count(&table.rows[k]); j++) table.rows[k].gradient[j] = 1e30f;
    double expected = 1e30 * sqrt(3 * TALL * WIDE + LONG + LONG * LONG);
    assert_close("norm", optim_gradient_norm(&table, world), expected, 1e-6 * expected);
    parameter_destroy(&table);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_parameter_once),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_large),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
