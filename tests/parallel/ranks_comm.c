// Communicators: agreement, broadcasts, and sums that have the same bits everywhere.
// ranks: 1 2 3 4 8

// A check that fails on one rank ends all (REQUIRE), so that the others do not wait for it.
#include "../support.h"

#include "parallel/internal.h"

static comm *world;
static int rank, size;

// The same number for every rank that asks for number i of a rank: of both signs, and of magnitudes so different that
// the order of a sum shows in its bits.
static double number(int of_rank, int64_t i) {
    uint64_t x = (uint64_t)(of_rank + 1) * 0x9e3779b97f4a7c15 + (uint64_t)i * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 31) * 0x94d049bb133111eb;
    x ^= x >> 29;
    return ldexp((double)(int64_t)x, (int)(x & 15) - 70);
}

// ---- agreement -----------------------------------------------------------------------------------------------------

// Ranks whose bit is set in `failing` come with an error of their own.
static void check_agreement(unsigned failing) {
    error err = {0};
    char text[64];
    if (failing >> rank & 1) error_set(&err, rank % 2 ? ERROR_DAMAGED : ERROR_INPUT, "rank %d%*s", rank, 900, ".");
    bool fine = comm_agree(world, &err);
    REQUIRE(fine == !failing);
    if (fine) {
        REQUIRE(err.kind == ERROR_NONE);
        return;
    }
    int lowest = __builtin_ctz(failing);
    snprintf(text, sizeof text, "rank %d ", lowest);
    REQUIRE(err.kind == (lowest % 2 ? ERROR_DAMAGED : ERROR_INPUT));
    REQUIRE(!strncmp(err.text, text, strlen(text)) && strlen(err.text) > 900);
}

static void test_agree(void **state) {
    (void)state;
    for (unsigned failing = 0; failing < 1u << size; failing++) check_agreement(failing);
}

// ---- handing round -------------------------------------------------------------------------------------------------

static void check_broadcast(size_t bytes, int root) {
    unsigned char *data = memory_allocate(bytes + 1, 1);
    for (size_t i = 0; rank == root && i < bytes; i++) data[i] = (unsigned char)(i * 7 + i / 251 + (size_t)root);
    data[bytes] = 99;
    comm_broadcast(world, data, bytes, root);
    for (size_t i = 0; i < bytes; i++) REQUIRE(data[i] == (unsigned char)(i * 7 + i / 251 + (size_t)root));
    REQUIRE(data[bytes] == 99);
    memory_free(data);
}

static void test_broadcast(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 1000, 3000001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int root = 0; root < size; root++) check_broadcast(sizes[k], root);
}

static void test_broadcast_text(void **state) {
    (void)state;
    const int lengths[] = {0, 1, 100000};
    for (int k = 0; k < 3; k++)
        for (int root = 0; root < size; root++) {
            char *expected = memory_format("%*s", lengths[k], lengths[k] ? "x" : "");
            char *text = comm_broadcast_text(world, rank == root ? expected : NULL, root);
            REQUIRE(!strcmp(text, expected));
            memory_free(text);
            memory_free(expected);
        }
}

static char *text_of(int of_rank) { return memory_format("%*s", of_rank * 1000, of_rank ? "end" : ""); }

static void test_gather_texts(void **state) {
    (void)state;
    char *mine = text_of(rank), **all = comm_gather_texts(world, mine);
    for (int r = 0; r < size; r++) {
        char *expected = text_of(r);
        REQUIRE(!strcmp(all[r], expected));
        memory_free(expected);
        memory_free(all[r]);
    }
    memory_free(all);
    memory_free(mine);
}

static int taken;

static void take(void *context, int from, const void *data, size_t bytes) {
    REQUIRE(context == &taken && from == taken);
    taken++;
    char *expected = text_of(from);
    REQUIRE(bytes == strlen(expected) && !memcmp(data, expected, bytes));
    memory_free(expected);
}

static void test_hand_over(void **state) {
    (void)state;
    char *mine = text_of(rank);
    taken = 0;
    comm_hand_over(world, mine, strlen(mine), take, &taken);
    REQUIRE(taken == (rank == 0 ? size : 0));
    memory_free(mine);
}

// ---- clocks --------------------------------------------------------------------------------------------------------

static double skewed_clock(void) { return time_now() + 1000.0 * rank; }

// The node's clock is one; one that is put wrong is found to be wrong by as much, give or take what the answer itself
// says of its error.
static void test_clock_offset(void **state) {
    (void)state;
    double error, offset = comm_clock_offset(world, time_now, &error);
    REQUIRE(offset == 0);
    REQUIRE(rank == 0 ? error == 0 : error > 0 && error < 500);
    offset = comm_clock_offset(world, skewed_clock, &error);
    assert_close("offset", offset, -1000.0 * rank, error + 1e-9);
    REQUIRE(rank == 0 ? error == 0 : error > 0 && error < 500);
}

// ---- sums ----------------------------------------------------------------------------------------------------------

static double serial_sum(int64_t i) {
    double sum = number(0, i);
    for (int r = 1; r < size; r++) sum += number(r, i);
    return sum;
}

static void check_doubles(int n) {
    double *values = memory_allocate((size_t)n + 1, sizeof *values);
    for (int i = 0; i <= n; i++) values[i] = number(rank, i);
    comm_sum_doubles(world, values, n);
    for (int i = 0; i < n; i++) {
        double expected = serial_sum(i);
        REQUIRE(!memcmp(&values[i], &expected, sizeof expected));
    }
    assert_close("beyond the end", values[n], number(rank, n), 0);
    memory_free(values);
}

static void test_sum_doubles(void **state) {
    (void)state;
    const int lengths[] = {0, 1, 2, 7, 1000};
    for (int k = 0; k < 5; k++) check_doubles(lengths[k]);
}

static void test_max_doubles(void **state) {
    (void)state;
    double values[100];
    for (int i = 0; i < 100; i++) values[i] = i % 3 ? number(rank, i) : -fabs(number(rank, i));
    comm_max_doubles(world, values, 99);
    for (int i = 0; i < 99; i++) {
        double most = -INFINITY;
        for (int r = 0; r < size; r++) most = fmax(most, i % 3 ? number(r, i) : -fabs(number(r, i)));
        assert_close("max", values[i], most, 0);
    }
    assert_close("beyond the end", values[99], -fabs(number(rank, 99)), 0);
}

static float serial_float_sum(int64_t i, bool backwards) {
    float sum = (float)number(backwards ? size - 1 : 0, i);
    for (int r = 1; r < size; r++) sum += (float)number(backwards ? size - 1 - r : r, i);
    return sum;
}

static void check_floats(int64_t n) {
    enum { BEYOND = 32 };
    float *values = memory_allocate((size_t)n + BEYOND, sizeof *values);
    for (int64_t i = 0; i < n + BEYOND; i++) values[i] = (float)number(rank, i);
    comm_sum_floats(world, values, n);
    for (int64_t i = 0; i < n; i++) {
        float expected = serial_float_sum(i, false);
        if (memcmp(&values[i], &expected, sizeof expected))
            FATAL("of %lld: number %lld is %.9g, expected %.9g", (long long)n, (long long)i, values[i], expected);
    }
    for (int64_t i = n; i < n + BEYOND; i++) assert_close("beyond the end", values[i], (float)number(rank, i), 0);
    memory_free(values);
}

static void test_sum_floats(void **state) {
    (void)state;
    for (int64_t n = 0; n < 3 * size; n++) check_floats(n);
    const int64_t chunk = COMM_CHUNK;
    const int64_t lengths[] = {1000, chunk - 1, chunk, chunk + 1, chunk + size - 1, 2 * chunk - 1, 2 * chunk + 3};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) check_floats(lengths[k]);
}

// What these tests rest on: summed the other way round, many of the numbers have other bits.
static void test_that_order_shows(void **state) {
    (void)state;
    int differ = 0;
    for (int64_t i = 0; i < 1000; i++) differ += serial_float_sum(i, true) != serial_float_sum(i, false);
    REQUIRE(size < 3 || differ > 50);
}

// ---- parts of the world --------------------------------------------------------------------------------------------

// Odd and even ranks, each in the opposite order.
static void test_split(void **state) {
    (void)state;
    comm *part = comm_split(world, rank % 2, -rank);
    int members = (size + 1 - rank % 2) / 2;
    REQUIRE(comm_size(part) == members);
    REQUIRE(comm_rank(part) == members - 1 - rank / 2);
    double sum = rank;
    comm_sum_doubles(part, &sum, 1);
    double expected = 0;
    for (int r = rank % 2; r < size; r += 2) expected += r;
    assert_close("sum of a part", sum, expected, 0);

    // An error in one part is no business of the other.
    error err = {0};
    if (rank == 0) error_set(&err, ERROR_INPUT, "even");
    REQUIRE(comm_agree(part, &err) == (rank % 2 == 1));
    comm_free(part);
    comm_free(NULL);
}

// ---- barriers ------------------------------------------------------------------------------------------------------

// Nobody leaves before the last has come: the clock is the node's.
static void check_barrier(void (*barrier)(comm *), int late) {
    if (rank == late) usleep(3000);
    double last = time_now();
    barrier(world);
    double left = time_now();
    comm_max_doubles(world, &last, 1);
    REQUIRE(left >= last);
}

static void test_barriers(void **state) {
    (void)state;
    for (int late = 0; late < size; late++) {
        check_barrier(comm_barrier, late);
        check_barrier(comm_barrier_asleep, late);
    }
    for (int i = 0; i < 2000; i++) {
        comm_barrier(world);
        parallel_progress();
    }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agree),          cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_broadcast_text), cmocka_unit_test(test_gather_texts),
        cmocka_unit_test(test_sum_doubles),    cmocka_unit_test(test_max_doubles),
        cmocka_unit_test(test_sum_floats),     cmocka_unit_test(test_that_order_shows),
        cmocka_unit_test(test_split),          cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_hand_over),      cmocka_unit_test(test_clock_offset),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
