// What the machine can do are plausible numbers; how exact they are, the bench shows.
#include "numbers.h"

static void peak_is_plausible(void **state) {
    (void)state;
    double peak = peak_measure(0.01);
    print_message("             peak: %.1f GFLOP/s\n", peak);
    assert_true(peak > 0.01 && peak < 2000);
}

static void bandwidth_is_plausible(void **state) {
    (void)state;
    double bandwidth = bandwidth_measure(0.01);
    print_message("             memory: %.1f GB/s\n", bandwidth);
    assert_true(bandwidth > 0.01 && bandwidth < 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(peak_is_plausible), cmocka_unit_test(bandwidth_is_plausible)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
