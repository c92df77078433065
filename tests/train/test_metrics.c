// Metrics against values worked out by hand and values that scikit-learn 1.9 and SciPy 1.17 gave.
#include "../support.h"

#include "train/train.h"

static double member(const json_t *metrics, const char *name) {
    json_t *value = json_object_get(metrics, name);
    assert_true(json_is_real(value));
    return json_number_value(value);
}

static json_t *of_classes(metric_kind kind, int64_t n, const int32_t *predicted, const int32_t *labels) {
    return metrics_compute(kind, n, predicted, labels, NULL, NULL);
}

static json_t *of_values(int64_t n, const float *values, const float *targets) {
    return metrics_compute(METRIC_CORRELATION, n, NULL, NULL, values, targets);
}

// ---- by hand -------------------------------------------------------------------------------------------------------

// tp 3, fp 1, fn 2, tn 4
static void test_classes_by_hand(void **state) {
    (void)state;
    const int32_t predicted[] = {1, 1, 1, 1, 0, 0, 0, 0, 0, 0}, labels[] = {1, 1, 1, 0, 1, 1, 0, 0, 0, 0};
    json_t *m = of_classes(METRIC_ACCURACY_F1, 10, predicted, labels);
    assert_int_equal(json_object_size(m), 2);
    assert_close("accuracy", member(m, "accuracy"), 0.7, 1e-12);
    assert_close("f1", member(m, "f1"), 6.0 / 9, 1e-12);
    assert_close("mean", metrics_mean(m), (0.7 + 6.0 / 9) / 2, 1e-12);
    json_decref(m);
    m = of_classes(METRIC_MATTHEWS, 10, predicted, labels);
    assert_int_equal(json_object_size(m), 1);
    assert_close("matthews_correlation", member(m, "matthews_correlation"), (3.0 * 4 - 1 * 2) / sqrt(4.0 * 5 * 5 * 6),
                 1e-12);
    json_decref(m);
    m = of_classes(METRIC_ACCURACY, 10, predicted, labels);
    assert_int_equal(json_object_size(m), 1);
    assert_close("mean", metrics_mean(m), 0.7, 1e-12);
    json_decref(m);
}

static void test_many_classes(void **state) {
    (void)state;
    const int32_t predicted[] = {44, 3, 0, 7}, labels[] = {44, 2, 0, 3};
    json_t *m = of_classes(METRIC_ACCURACY, 4, predicted, labels);
    assert_close("accuracy", member(m, "accuracy"), 0.5, 1e-12);
    json_decref(m);
}

static void test_perfect_and_opposite(void **state) {
    (void)state;
    const int32_t up[] = {0, 1, 0, 1}, down[] = {1, 0, 1, 0};
    json_t *m = of_classes(METRIC_MATTHEWS, 4, up, up);
    assert_close("mean", metrics_mean(m), 1, 1e-12);
    json_decref(m);
    m = of_classes(METRIC_MATTHEWS, 4, up, down);
    assert_close("mean", metrics_mean(m), -1, 1e-12);
    json_decref(m);
    const float x[] = {1, 2, 3}, y[] = {30, 20, 10}, curved[] = {1, 10, 1000};
    m = of_values(3, x, x);
    assert_close("pearson", member(m, "pearson"), 1, 1e-12);
    json_decref(m);
    m = of_values(3, x, y);
    assert_close("pearson", member(m, "pearson"), -1, 1e-12);
    assert_close("spearmanr", member(m, "spearmanr"), -1, 1e-12);
    json_decref(m);
    m = of_values(3, x, curved);
    assert_close("spearmanr", member(m, "spearmanr"), 1, 1e-12);
    assert_true(member(m, "pearson") < 0.9);
    json_decref(m);
}

// What has no value is 0: one class only, constants, nothing at all, values that are no numbers.
static void test_undefined(void **state) {
    (void)state;
    const int32_t zeros[4] = {0}, ones[] = {1, 1, 1, 1}, mixed[] = {0, 1, 1, 0};
    const int32_t *const pairs[][2] = {{zeros, mixed}, {ones, mixed}, {mixed, zeros}, {mixed, ones}, {zeros, zeros}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        json_t *m = of_classes(METRIC_MATTHEWS, 4, pairs[i][0], pairs[i][1]);
        assert_close("matthews_correlation", member(m, "matthews_correlation"), 0, 0);
        json_decref(m);
    }
    json_t *m = of_classes(METRIC_ACCURACY_F1, 4, zeros, zeros);
    assert_close("f1", member(m, "f1"), 0, 0);
    assert_close("accuracy", member(m, "accuracy"), 1, 0);
    json_decref(m);

    const float third[] = {1.f / 3, 1.f / 3, 1.f / 3, 1.f / 3, 1.f / 3}, x[] = {1, 2, 3, 4, 6};
    const float nan_inside[] = {1, NAN, 3, 4, 5}, infinite[] = {1, INFINITY, 3, 4, 5};
    const float *const undefined[][2] = {{third, x}, {x, third}, {nan_inside, x}, {x, infinite}};
    for (size_t i = 0; i < sizeof undefined / sizeof *undefined; i++) {
        m = of_values(5, undefined[i][0], undefined[i][1]);
        assert_close("pearson", member(m, "pearson"), 0, 0);
        assert_close("spearmanr", member(m, "spearmanr"), 0, 0);
        json_decref(m);
    }
    m = of_values(1, x, x);
    assert_close("mean", metrics_mean(m), 0, 0);
    json_decref(m);
    for (metric_kind kind = METRIC_ACCURACY; kind <= METRIC_CORRELATION; kind++) {
        m = metrics_compute(kind, 0, NULL, NULL, NULL, NULL);
        assert_true(json_object_size(m) > 0);
        assert_close("mean", metrics_mean(m), 0, 0);
        json_decref(m);
    }
    m = json_object();
    assert_close("mean", metrics_mean(m), 0, 0);
    json_decref(m);
}

// ---- by the libraries ----------------------------------------------------------------------------------------------

static uint32_t generator; // a linear congruential one, so that a few lines of any language make the same examples

static uint32_t draw(uint32_t n) {
    generator = (generator * 1103515245u + 12345u) & 0x7fffffff;
    return (generator >> 16) % n;
}

static void test_against_sklearn(void **state) {
    (void)state;
    static const struct {
        int64_t n;
        uint32_t classes, seed;
        double accuracy, f1, matthews;
    } rows[] = {{200, 2, 1, 0.765, 0.7853881278538812, 0.5276198911711786},
                {1000, 2, 42, 0.845, 0.8472906403940886, 0.6900130788025505},
                {37, 2, 7, 0.8378378378378378, 0.8235294117647058, 0.6784926451795892},
                {500, 5, 3, 0.772, 0, 0}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        int32_t predicted[1000], labels[1000];
        generator = rows[r].seed;
        for (int64_t i = 0; i < rows[r].n; i++) {
            labels[i] = (int32_t)draw(rows[r].classes);
            predicted[i] = draw(100) < 70 ? labels[i] : (int32_t)draw(rows[r].classes);
        }
        json_t *m = of_classes(METRIC_ACCURACY, rows[r].n, predicted, labels);
        assert_close("accuracy", member(m, "accuracy"), rows[r].accuracy, 1e-12);
        json_decref(m);
        if (rows[r].classes != 2) continue;
        m = of_classes(METRIC_ACCURACY_F1, rows[r].n, predicted, labels);
        assert_close("accuracy", member(m, "accuracy"), rows[r].accuracy, 1e-12);
        assert_close("f1", member(m, "f1"), rows[r].f1, 1e-12);
        json_decref(m);
        m = of_classes(METRIC_MATTHEWS, rows[r].n, predicted, labels);
        assert_close("matthews_correlation", member(m, "matthews_correlation"), rows[r].matthews, 1e-12);
        json_decref(m);
    }
}

// The fewer the levels, the more ties.
static void test_against_scipy(void **state) {
    (void)state;
    static const struct {
        int64_t n;
        uint32_t levels, seed;
        double pearson, spearman;
    } rows[] = {{100, 26, 1, 0.6201631448590501, 0.5918894388731849},
                {1000, 26, 9, 0.620061912458395, 0.6019502772641921},
                {50, 3, 5, 0.6334184739372172, 0.5048667090907042},
                {300, 100000, 11, 0.5794976817399953, 0.5609012457696881}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        float values[1000], targets[1000];
        generator = rows[r].seed;
        for (int64_t i = 0; i < rows[r].n; i++) {
            targets[i] = (float)draw(rows[r].levels) / 5.f;
            values[i] = targets[i] + (float)draw(rows[r].levels) / 4.f;
        }
        json_t *m = of_values(rows[r].n, values, targets);
        assert_close("pearson", member(m, "pearson"), rows[r].pearson, 1e-12);
        assert_close("spearmanr", member(m, "spearmanr"), rows[r].spearman, 1e-12);
        json_decref(m);
    }
    const float a[] = {1, 2, 2, 3, 3, 3, 4.5f}, b[] = {1, 3, 2, 2, 5, 5, 4};
    json_t *m = of_values(7, a, b);
    assert_close("pearson", member(m, "pearson"), 0.6558748127330359, 1e-12);
    assert_close("spearmanr", member(m, "spearmanr"), 0.6764666413954515, 1e-12);
    json_decref(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes_by_hand),      cmocka_unit_test(test_many_classes),
        cmocka_unit_test(test_perfect_and_opposite), cmocka_unit_test(test_undefined),
        cmocka_unit_test(test_against_sklearn),      cmocka_unit_test(test_against_scipy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
