// exp, the normal distribution and row sums against libm and double.
#include "numbers.h"
#include "tensor/vector_math.h"

static void exp_is_exact_over_its_range(void **state) {
    (void)state;
    double worst = 0;
    for (double x = -87.3; x < 88; x += 1.3e-4) worst = fmax(worst, fabs(vector_exp((float)x) / exp((float)x) - 1));
    print_message("             exp: relative error %.2e\n", worst);
    assert_close("worst relative error", worst, 0, 1.3e-7);
    assert_close("exp(0)", vector_exp(0), 1, 0);
}

static void exp_goes_to_zero(void **state) {
    (void)state;
    assert_close("exp(-inf)", vector_exp(-INFINITY), 0, 0);
    assert_close("exp(-1e30)", vector_exp(-1e30f), 0, 0);
    assert_close("exp(-88)", vector_exp(-88), 0, 0);
    assert_true(isnan(vector_exp(NAN)));
    for (float x = -88.5f; x < -87; x += 1e-4f) assert_close("exp", vector_exp(x), exp(x), 1e-38 + 1.3e-7 * exp(x));
}

static void normal_distribution_is_exact_over_its_range(void **state) {
    (void)state;
    double worst = 0, worst_density = 0;
    float density;
    for (double step = -8; step < 8; step += 1e-5) {
        double x = (float)step;
        worst = fmax(worst, fabs(vector_normal(&density, (float)x) - 0.5 * erfc(-x * M_SQRT1_2)));
        worst_density = fmax(worst_density, fabs(density - exp(-x * x / 2) / sqrt(2 * M_PI)));
    }
    print_message("             normal distribution: absolute error %.2e, density %.2e\n", worst, worst_density);
    assert_close("worst error", worst, 0, 3.5e-7);
    assert_close("worst error of the density", worst_density, 0, 1e-7);
    assert_true(vector_normal(&density, INFINITY) == 1 && density == 0);
    assert_true(vector_normal(&density, -INFINITY) == 0 && density == 0);
    assert_true(vector_normal(&density, 1e30f) == 1 && vector_normal(&density, -1e30f) == 0);
    assert_true(isnan(vector_normal(&density, NAN)) && isnan(density));
}

static void rows_are_summed(void **state) {
    (void)state;
    for (int64_t n = 0; n < 5000; n = n < 70 ? n + 1 : n * 2 + 1) {
        float *x = random_floats(n, 3, 1), *y = random_floats(n, 3, 2), *e = random_floats(n, 1, 3);
        double sum = 0, dot = 0, exps = 0, most = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            sum += x[i];
            dot += (x[i] - 0.5) * (y[i] - 0.5);
            exps += exp((double)x[i] - 1);
            most = fmax(most, x[i]);
        }
        assert_close("sum", row_sum(x, n), sum, 1e-6 * (n + 1));
        assert_close("dot", row_dot(x, y, 0.5f, n), dot, 1e-6 * (n + 1));
        assert_close("maximum", row_maximum(x, n), most, 0);
        assert_close("sum of exp", row_exp(e, x, 1, n), exps, 1e-6 * exps);
        for (int64_t i = 0; i < n; i++) assert_close("exp", e[i], exp((double)x[i] - 1), 2e-6);
        memory_free(x);
        memory_free(y);
        memory_free(e);
    }
}

// A long row of equal numbers, which a float sum rounds the same way again and again.
static void long_rows_lose_nothing(void **state) {
    (void)state;
    int64_t n = 100000;
    float *x = memory_allocate((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = 0.1f;
    assert_close("sum", row_sum(x, n) / ((double)0.1f * n), 1, 2e-7);
    assert_close("dot", row_dot(x, x, 0, n) / ((double)0.1f * 0.1f * n), 1, 2e-7);
    memory_free(x);
}

// Wherever a row lies, its sum has the same bits.
static void rows_have_the_same_sum_everywhere(void **state) {
    (void)state;
    int64_t n = 777;
    float *x = random_floats(n, 3, 5), *moved = memory_allocate((size_t)n + 16, sizeof *moved);
    float *y = memory_allocate((size_t)n, sizeof *y);
    for (int shift = 0; shift < 16; shift++) {
        for (int64_t i = 0; i < n; i++) moved[shift + i] = x[i];
        assert_close("sum", row_sum(moved + shift, n), row_sum(x, n), 0);
        assert_close("dot", row_dot(moved + shift, moved + shift, 1, n), row_dot(x, x, 1, n), 0);
        assert_close("sum of exp", row_exp(y, moved + shift, 1, n), row_exp(y, x, 1, n), 0);
    }
    memory_free(x);
    memory_free(y);
    memory_free(moved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_exact_over_its_range),
        cmocka_unit_test(exp_goes_to_zero),
        cmocka_unit_test(normal_distribution_is_exact_over_its_range),
        cmocka_unit_test(rows_are_summed),
        cmocka_unit_test(long_rows_lose_nothing),
        cmocka_unit_test(rows_have_the_same_sum_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
