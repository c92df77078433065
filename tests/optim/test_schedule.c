// Learning rates at the corners of their schedules.
#include "../support.h"

#include "optim/optim.h"

#define POWER 0.5 // of the polynomial

static double rate(optim_schedule schedule, double warmup, int64_t step, int64_t steps) {
    optim_settings s = {.lr = 0.5, .schedule = schedule, .power = POWER, .warmup = warmup};
    return optim_learning_rate(&s, step, steps);
}

static void assert_rate(optim_schedule schedule, double warmup, int64_t step, int64_t steps, double expected) {
    double got = rate(schedule, warmup, step, steps);
    char what[128];
    snprintf(what, sizeof what, "%s, warm-up %g, step %d of %d", optim_schedule_words[schedule], warmup, (int)step,
             (int)steps);
    assert_close(what, got, expected, 1e-15);
}

static const optim_schedule schedules[] = {SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT, SCHEDULE_POLYNOMIAL};
enum { SCHEDULES = sizeof schedules / sizeof *schedules };

static void test_warmup(void **state) {
    (void)state;
    for (int k = 0; k < SCHEDULES; k++) {
        for (int64_t s = 0; s < 10; s++) assert_rate(schedules[k], 10, s, 100, 0.5 * (double)(s + 1) / 10);
        bool polynomial = schedules[k] == SCHEDULE_POLYNOMIAL; // is at its curve by then
        assert_rate(schedules[k], 10, 10, 100, polynomial ? 0.5 * sqrt(0.9) : 0.5);
        assert_rate(schedules[k], 1, 0, 100, 0.5);
    }
}

// Below 1 it is a fraction of all steps, in whole steps.
static void test_warmup_as_fraction(void **state) {
    (void)state;
    for (int k = 0; k < SCHEDULES; k++)
        for (int64_t s = 0; s < 100; s++) {
            assert_rate(schedules[k], 0.1, s, 100, rate(schedules[k], 10, s, 100));
            assert_rate(schedules[k], 0.259, s, 100, rate(schedules[k], 25, s, 100));
            assert_rate(schedules[k], 0.009, s, 100, rate(schedules[k], 0, s, 100));
        }
}

// A warm-up of 2.5 steps would have a third step beyond the peak.
static void test_warmup_in_whole_steps(void **state) {
    (void)state;
    for (int k = 0; k < SCHEDULES; k++)
        for (int64_t s = 0; s < 10; s++) assert_rate(schedules[k], 2.5, s, 10, rate(schedules[k], 2, s, 10));
}

static void test_no_warmup(void **state) {
    (void)state;
    for (int k = 0; k < SCHEDULES; k++) assert_rate(schedules[k], 0, 0, 7, 0.5);
}

static void test_warmup_of_all_steps(void **state) {
    (void)state;
    for (int k = 0; k < SCHEDULES; k++) {
        assert_rate(schedules[k], 10, 9, 10, 0.5);
        assert_rate(schedules[k], 1000, 9, 10, 0.005);
    }
}

static void test_linear(void **state) {
    (void)state;
    assert_rate(SCHEDULE_LINEAR, 0, 25, 100, 0.375);
    assert_rate(SCHEDULE_LINEAR, 0, 99, 100, 0.005);
    assert_rate(SCHEDULE_LINEAR, 20, 60, 100, 0.25);
}

static void test_cosine(void **state) {
    (void)state;
    assert_rate(SCHEDULE_COSINE, 0, 50, 100, 0.25);
    assert_rate(SCHEDULE_COSINE, 20, 60, 100, 0.25);
    assert_rate(SCHEDULE_COSINE, 0, 25, 100, 0.5 * (1 + sqrt(0.5)) / 2);
}

static void test_constant(void **state) {
    (void)state;
    for (int64_t s = 10; s < 100; s += 89) assert_rate(SCHEDULE_CONSTANT, 10, s, 100, 0.5);
}

// Of the whole run, warm-up included.
static void test_polynomial(void **state) {
    (void)state;
    assert_rate(SCHEDULE_POLYNOMIAL, 0, 25, 100, 0.5 * sqrt(0.75));
    assert_rate(SCHEDULE_POLYNOMIAL, 20, 75, 100, 0.25);
    assert_rate(SCHEDULE_POLYNOMIAL, 0.2, 99, 100, 0.05);
}

// Power 1 is a straight line, as `linear` is without a warm-up; power 0 is none at all.
static void test_powers(void **state) {
    (void)state;
    optim_settings s = {.lr = 0.5, .schedule = SCHEDULE_POLYNOMIAL};
    const double powers[] = {0, 1, 2, 3.5};
    for (int k = 0; k < 4; k++) {
        s.power = powers[k];
        for (int64_t step = 0; step < 10; step++)
            assert_close("rate", optim_learning_rate(&s, step, 10), 0.5 * pow(1 - 0.1 * (double)step, powers[k]),
                         1e-15);
    }
    s.power = 1;
    for (int64_t step = 0; step < 10; step++)
        assert_close("rate", optim_learning_rate(&s, step, 10), rate(SCHEDULE_LINEAR, 0, step, 10), 1e-15);
}

static void test_the_end(void **state) {
    (void)state;
    assert_rate(SCHEDULE_LINEAR, 0, 100, 100, 0);
    assert_rate(SCHEDULE_COSINE, 0, 100, 100, 0);
    assert_rate(SCHEDULE_POLYNOMIAL, 0, 100, 100, 0);
    assert_rate(SCHEDULE_LINEAR, 5, 1000, 100, 0);
    assert_rate(SCHEDULE_POLYNOMIAL, 5, 1000, 100, 0);
    assert_rate(SCHEDULE_LINEAR, 0, 0, 1, 0.5); // a run of one step
}

// Up, then down, never beyond the peak nor below 0.
static void test_shape(void **state) {
    (void)state;
    const double warmups[] = {0, 0.06, 0.5, 1, 3, 17.5, 50, 200};
    for (int k = 0; k < SCHEDULES; k++)
        for (int w = 0; w < 8; w++) {
            bool falling = false;
            double before = 0;
            for (int64_t s = 0; s < 50; s++) {
                double now = rate(schedules[k], warmups[w], s, 50);
                assert_true(now > 0 && now <= 0.5);
                assert_true(!falling || now <= before);
                falling |= now < before;
                before = now;
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warmup),
        cmocka_unit_test(test_warmup_as_fraction),
        cmocka_unit_test(test_warmup_in_whole_steps),
        cmocka_unit_test(test_no_warmup),
        cmocka_unit_test(test_warmup_of_all_steps),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_polynomial),
        cmocka_unit_test(test_powers),
        cmocka_unit_test(test_the_end),
        cmocka_unit_test(test_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
