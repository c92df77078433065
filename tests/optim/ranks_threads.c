// Threads inside a rank change no bit of an update or of the gradient's norm, nor does the place of an element.
// ranks: 1

#include "../support.h"

#include "optim/optim.h"

#include <omp.h>

// Rows of more elements than have their squares summed in one go, of one that is worth threads, and of a few. Contents
// repeat after PERIOD elements, which no block is a multiple of.
enum { LARGE = (1 << 20) + 5000, MIDDLE = 70001, SMALL = 7, PERIOD = 1009, UPDATES = 3 };

static parameter_table build(void) {
    parameter_table table = {0};
    parameter_add(&table, "large", 1, LARGE, 1, SPLIT_NONE, 0, 0, true, true, INITIAL_ZERO);
    parameter_add(&table, "middle", 1, MIDDLE, 1, SPLIT_NONE, 0, 0, true, false, INITIAL_ZERO);
    parameter_add(&table, "small", 1, SMALL, 1, SPLIT_NONE, 0, 0, true, true, INITIAL_ZERO);
    parameter_allocate(&table, true, true);
    random_stream stream = random_stream_create(3, RANDOM_TEST, 0, 0);
    for (size_t r = 0; r < table.n; r++)
        for (int64_t j = 0; j < parameter_count(&table.rows[r]); j++) {
            table.rows[r].value[j] = (float)random_uniform(stream, (uint64_t)(j % PERIOD), 0);
            table.rows[r].gradient[j] = (float)(random_uniform(stream, (uint64_t)(j % PERIOD), 1) - 0.5);
        }
    return table;
}

// A few steps with so many threads; the norm of the gradient is the return value. Caller destroys the table.
static double run(parameter_table *table, optim_kind optimizer, int threads) {
    optim_settings s = {.weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    s.optimizer = optimizer;
    *table = build();
    omp_set_num_threads(threads);
    double norm = optim_gradient_norm(table, comm_world());
    for (int update = 1; update <= UPDATES; update++) optim_update(table, &s, 0.01, update, 0.7, comm_world());
    return norm;
}

static const optim_kind optimizers[] = {OPTIM_ADAMW, OPTIM_LAMB};

static void test_same_bits(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        parameter_table right, table;
        double norm = run(&right, optimizers[k], 1), sum = 0;
        for (int64_t i = 0; i < right.total; i++) sum += pow(right.gradients[i], 2);
        assert_close("norm", norm, sqrt(sum), 1e-12 * sqrt(sum));
        for (int threads = 1; threads <= 3; threads++) {
            assert_close("norm", run(&table, optimizers[k], threads), norm, 0);
            size_t size = (size_t)right.total * sizeof(float);
            assert_memory_equal(table.values, right.values, size);
            assert_memory_equal(table.moments1, right.moments1, size);
            assert_memory_equal(table.moments2, right.moments2, size);
            parameter_destroy(&table);
        }
        parameter_destroy(&right);
    }
}

static void check_places(const parameter *p) {
    for (int64_t j = PERIOD; j < parameter_count(p); j++)
        if (fabsf(p->value[j] - p->value[j % PERIOD]) > 1e-6f)
            fail_msg("%s: element %lld is %.9g, element %lld is %.9g", p->name, (long long)j, p->value[j],
                     (long long)(j % PERIOD), p->value[j % PERIOD]);
}

static void test_no_place_is_special(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        parameter_table table;
        run(&table, optimizers[k], 2);
        for (size_t r = 0; r < table.n; r++) check_places(&table.rows[r]);
        parameter_destroy(&table);
    }
}

// The ratio of a tensor that threads share is that of all its elements: its first step is as long as LAMB says.
static void test_length_of_a_large_tensor(void **state) {
    (void)state;
    const optim_settings s = {.weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    parameter_table before = build(), after = build();
    before.rows[0].value[LARGE - 1] = after.rows[0].value[LARGE - 1] = 1000; // as long as all others together
    omp_set_num_threads(2);
    optim_lamb(&after, &s, 0.01, 1, 0.7, comm_world());
    double moved = 0, length = 0;
    for (int64_t j = 0; j < LARGE; j++) {
        moved += pow((double)after.rows[0].value[j] - before.rows[0].value[j], 2);
        length += pow(before.rows[0].value[j], 2);
    }
    assert_close("length of the step", sqrt(moved), 0.01 * sqrt(length), 1e-7 * sqrt(length));
    parameter_destroy(&before);
    parameter_destroy(&after);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    test_rank = comm_rank(comm_world());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_no_place_is_special),
                                       cmocka_unit_test(test_length_of_a_large_tensor)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
