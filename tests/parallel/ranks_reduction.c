// Sums over replicas in the background: the bits of a serial sum, whatever the shapes and whatever else passes.
// ranks: 1 2 3 4

#include "../support.h"

#include "parallel/parallel.h"

#include <math.h>
#include <string.h>

static comm *world;
static int rank, size;

// A number of one rank, with many different exponents, so that the order of a sum shows.
static float number(int r, int64_t i) { return (float)(sin((double)(i + 1) * (r + 2)) * pow(10, (double)(i * 7 % 9))); }

static float expected(int64_t i) {
    float sum = number(0, i);
    for (int r = 1; r < size; r++) sum += number(r, i);
    return sum;
}

static const int64_t shapes[][2] = {{1, 1}, {0, 5}, {3, 7}, {1000, 1}, {2, 300000}, {300001, 1}, {130, 1024}, {1, 9}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct {
    float *values[SHAPES];
} tensors;

static tensors made_up(void) {
    tensors t;
    for (int s = 0; s < SHAPES; s++) {
        int64_t n = shapes[s][0] * shapes[s][1];
        t.values[s] = memory_allocate((size_t)n + 1, sizeof(float));
        for (int64_t i = 0; i < n; i++) t.values[s][i] = number(rank, i + s);
        t.values[s][n] = 17; // behind the end
    }
    return t;
}

static void check(const tensors *t, bool everything) {
    for (int s = 0; s < SHAPES; s++) {
        int64_t n = shapes[s][0] * shapes[s][1];
        range own = reduction_share(shapes[s][0], rank, size);
        for (int64_t i = 0; i < n; i++) {
            bool mine = i >= own.first * shapes[s][1] && i < (own.first + own.count) * shapes[s][1];
            float wanted = expected(i + s);
            if ((everything || mine) && memcmp(&t->values[s][i], &wanted, sizeof wanted))
                FATAL("tensor %d, number %lld: %.9g, expected %.9g", s, (long long)i, t->values[s][i], wanted);
        }
        assert_close("beyond the end", t->values[s][n], 17, 0);
    }
}

static void release(tensors *t) {
    for (int s = 0; s < SHAPES; s++) memory_free(t->values[s]);
}

static void test_shares(void **state) {
    (void)state;
    for (int64_t rows = 0; rows < 40; rows++)
        for (int n = 1; n < 9; n++) {
            int64_t at = 0;
            for (int r = 0; r < n; r++) {
                range share = reduction_share(rows, r, n);
                assert_int_equal(share.first, at);
                assert_true(share.count == rows / n || share.count == rows / n + 1);
                at += share.count;
            }
            assert_int_equal(at, rows);
        }
}

// Other sums on the way, as a team has them, and ranks that begin at other times.
static void test_sums(void **state) {
    (void)state;
    reduction *r = reduction_create(world);
    REQUIRE((r != NULL) == (size > 1));
    for (int round = 0; r && round < 3; round++) {
        tensors t = made_up();
        for (int s = 0; s < SHAPES; s++) {
            reduction_add_sum(r, t.values[s], shapes[s][0], shapes[s][1], true);
            for (int i = 0; i < rank * 10; i++) parallel_progress();
            double sum = 1;
            comm_sum_doubles(world, &sum, 1);
            assert_close("sum", sum, size, 0);
        }
        reduction_finish(r);
        check(&t, true);
        release(&t);
    }
    reduction_destroy(r);
}

static void test_sums_of_own_rows_and_gather(void **state) {
    (void)state;
    reduction *r = reduction_create(world);
    if (!r) return;
    tensors t = made_up();
    for (int s = 0; s < SHAPES; s++) reduction_add_sum(r, t.values[s], shapes[s][0], shapes[s][1], false);
    reduction_finish(r);
    check(&t, false);
    for (int s = 0; s < SHAPES; s++) reduction_add_gather(r, t.values[s], shapes[s][0], shapes[s][1]);
    reduction_finish(r);
    check(&t, true);
    release(&t);
    reduction_destroy(r);
}

// Jobs that are left are finished before the reduction goes.
static void check_two(reduction *a, reduction *b) {
    tensors t = made_up(), u = made_up();
    for (int s = 0; s < SHAPES; s++) {
        reduction_add_sum(a, t.values[s], shapes[s][0], shapes[s][1], true);
        reduction_add_sum(b, u.values[s], shapes[s][0], shapes[s][1], true);
    }
    reduction_destroy(b);
    check(&u, true);
    reduction_finish(a);
    check(&t, true);
    reduction_destroy(a);
    release(&t);
    release(&u);
}

static void test_two_at_a_time(void **state) {
    (void)state;
    comm *other = comm_split(world, 0, rank);
    reduction *a = reduction_create(world), *b = reduction_create(other);
    if (a) check_two(a, b);
    comm_free(other);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_sums_of_own_rows_and_gather),
        cmocka_unit_test(test_two_at_a_time),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
