// Series of times: their quantiles, and ratios of what alternated.
#include "../support.h"

#include "analysis/internal.h"

static series of(int64_t n, const double *seconds) {
    series s = series_create(n);
    for (int64_t i = 0; i < n; i++) series_add(&s, seconds[i]);
    return s;
}

static void test_quantiles(void **state) {
    (void)state;
    series s = of(5, (const double[]){5, 1, 4, 2, 3});
    series_sort(&s);
    assert_close("median", series_median(&s), 3, 0);
    assert_close("lower quartile", series_quantile(&s, 0.25), 2, 0);
    assert_close("upper quartile", series_quantile(&s, 0.75), 4, 0);
    assert_close("least", series_quantile(&s, 0), 1, 0);
    assert_close("most", series_quantile(&s, 1), 5, 0);
    series_destroy(&s);
    series two = of(2, (const double[]){3, 1});
    series_sort(&two);
    assert_close("median of two", series_median(&two), 2, 0);
    assert_close("upper quartile of two", series_quantile(&two, 0.75), 2.5, 0);
    series_destroy(&two);
    series none = {0};
    assert_close("median of none", series_median(&none), 0, 0);
}

// The machine was slow in the second round: the times spread, the ratios do not.
static void test_ratios_are_of_rounds(void **state) {
    (void)state;
    series a = of(3, (const double[]){2, 20, 4}), b = of(3, (const double[]){1, 10, 1}), ratio = series_ratio(&a, &b);
    assert_int_equal(ratio.n, 3);
    assert_close("median ratio", series_median(&ratio), 2, 0);
    assert_close("largest ratio", series_quantile(&ratio, 1), 4, 0);
    assert_close("a", a.seconds[1], 20, 0); // as they were
    assert_close("b", b.seconds[1], 10, 0);
    series_destroy(&a);
    series_destroy(&b);
    series_destroy(&ratio);
}

static void test_json(void **state) {
    (void)state;
    series s = of(5, (const double[]){1, 2, 3, 4, 5});
    json_t *object = json_object();
    series_set_json(&s, object, "speedup");
    series_to_json(&s, object);
    assert_close("speedup", json_number_value(json_object_get(object, "speedup")), 3, 0);
    const json_t *quartiles = json_object_get(object, "speedup_quartiles");
    assert_int_equal(json_array_size(quartiles), 2);
    assert_close("lower quartile", json_number_value(json_array_get(quartiles, 0)), 2, 0);
    assert_close("upper quartile", json_number_value(json_array_get(quartiles, 1)), 4, 0);
    assert_close("median_s", json_number_value(json_object_get(object, "median_s")), 3, 0);
    json_decref(object);
    series_destroy(&s);
}

// Packed sequences as the layers want them, and the length that attention sees.
static void test_synthetic_batch(void **state) {
    (void)state;
    micro_batch m = synthetic_batch(70, 32, 64);
    assert_int_equal(m.tokens, 70);
    assert_int_equal(m.sequences, 3);
    assert_int_equal(m.longest, 32);
    assert_int_equal(m.starts[2], 64);
    assert_int_equal(m.starts[3], 70);
    assert_int_equal(m.positions[65], 1);
    assert_int_equal(m.numbers[69], 69);
    for (int64_t i = 0; i < 70; i++) assert_true(m.ids[i] >= 0 && m.ids[i] < 64);
    assert_close("squares", micro_batch_squares(&m), 2 * 32 * 32 + 6 * 6, 1e-12);
    micro_batch_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_ratios_are_of_rounds),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_synthetic_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
