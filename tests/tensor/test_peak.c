// The peak is a plausible number; how exact it is, the bench shows.
#include "numbers.h"

static void peak_is_plausible(void **state) {
    (void)state;
    double peak = peak_measure(0.01);
    print_message("             peak: %.1f GFLOP/s\n", peak);
    assert_true(peak > 0.01 && peak < 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(peak_is_plausible)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
