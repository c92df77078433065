// The table of GLUE: medians and spreads, averages over tasks, its three forms; and which lists of tasks are refused.
#include "../support.h"

#include "glue/glue.h"

// ---- statistics

static void assert_spread(const double *values, size_t n, double median, double low, double high) {
    glue_spread s = glue_spread_of(values, n);
    assert_int_equal(s.n, n);
    assert_close("median", s.median, median, 0);
    assert_close("low", s.low, low, 0);
    assert_close("high", s.high, high, 0);
}

static void test_spread(void **state) {
    (void)state;
    assert_spread(NULL, 0, 0, 0, 0);
    assert_spread((double[]){0.5}, 1, 0.5, 0.5, 0.5);
    assert_spread((double[]){0.75, 0.25}, 2, 0.5, 0.25, 0.75);
    assert_spread((double[]){0.75, -0.5, 0.25}, 3, 0.25, -0.5, 0.75);
    assert_spread((double[]){4, 1, 3, 2}, 4, 2.5, 1, 4);
    assert_spread((double[]){5, 5, 1, 5, 2}, 5, 5, 1, 5);
    double unsorted[] = {3, 1, 2};
    glue_spread_of(unsorted, 3);
    assert_close("first", unsorted[0], 3, 0); // is left as it was
    assert_close("second", unsorted[1], 1, 0);
}

// ---- tables

// MRPC of both designs, MNLI's two parts of both, and RTE of SAF alone.
static glue_table example(void) {
    glue_table t = {.shown = {true, true}};
    const double saf[] = {0.5, 0.75, 0.625};
    for (int i = 0; i < 3; i++) {
        glue_table_add(&t, "mrpc", "mrpc", "accuracy", DESIGN_SAF, saf[i]);
        glue_table_add(&t, "mrpc", "mrpc", "f1", DESIGN_SAF, saf[i] + 0.125);
    }
    glue_table_add(&t, "mrpc", "mrpc", "accuracy", DESIGN_PAF, 0.5);
    glue_table_add(&t, "mrpc", "mrpc", "f1", DESIGN_PAF, 1);
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        glue_table_add(&t, "mnli", "mnli-m", "accuracy", (model_design)d, 0.25);
        glue_table_add(&t, "mnli", "mnli-mm", "accuracy", (model_design)d, 0.75);
    }
    glue_table_add(&t, "rte", "rte", "accuracy", DESIGN_SAF, 1);
    return t;
}

static void assert_written(const glue_table *t, glue_format format, const char *expected) {
    char *text = glue_table_write(t, format);
    assert_string_equal(text, expected);
    memory_free(text);
}

static void test_averages(void **state) {
    (void)state;
    glue_table t = example();
    double averages[GLUE_DESIGNS];
    assert_int_equal(glue_table_averages(&t, averages), 2); // RTE is not whole
    assert_close("average of SAF", averages[DESIGN_SAF], ((0.625 + 0.75) / 2 + 0.5) / 2, 0);
    assert_close("average of PAF", averages[DESIGN_PAF], (0.75 + 0.5) / 2, 0);
    t.shown[DESIGN_PAF] = false;
    assert_int_equal(glue_table_averages(&t, averages), 3);
    glue_table_destroy(&t);
    assert_int_equal(glue_table_averages(&t, averages), 0);
    assert_close("average of SAF", averages[DESIGN_SAF], 0, 0);
}

static void test_csv(void **state) {
    (void)state;
    glue_table t = example();
    assert_written(&t, GLUE_CSV,
                   "task,metric,saf_runs,saf_median,saf_least,saf_largest,"
                   "paf_runs,paf_median,paf_least,paf_largest,difference\n"
                   "mrpc,accuracy,3,0.625000,0.500000,0.750000,1,0.500000,0.500000,0.500000,-0.125000\n"
                   "mrpc,f1,3,0.750000,0.625000,0.875000,1,1.000000,1.000000,1.000000,0.250000\n"
                   "mnli-m,accuracy,1,0.250000,0.250000,0.250000,1,0.250000,0.250000,0.250000,0.000000\n"
                   "mnli-mm,accuracy,1,0.750000,0.750000,0.750000,1,0.750000,0.750000,0.750000,0.000000\n"
                   "rte,accuracy,1,1.000000,1.000000,1.000000,0,,,,\n"
                   "average,tasks 2,,0.593750,,,,0.625000,,,0.031250\n");
    t.shown[DESIGN_SAF] = false;
    char *text = glue_table_write(&t, GLUE_CSV);
    assert_memory_equal(text, "task,metric,paf_runs,paf_median,paf_least,paf_largest\n", 54);
    memory_free(text);
    glue_table_destroy(&t);
    assert_written(&t, GLUE_CSV, "task,metric\n");
}

static void test_text(void **state) {
    (void)state;
    glue_table t = example();
    assert_written(
        &t, GLUE_TEXT,
        "task     metric    SAF median  SAF least to largest  PAF median  PAF least to largest  PAF - SAF     runs\n"
        "mrpc     accuracy       62.50        50.00 to 75.00       50.00        50.00 to 50.00     -12.50  3 and 1\n"
        "mrpc     f1             75.00        62.50 to 87.50      100.00      100.00 to 100.00     +25.00  3 and 1\n"
        "mnli-m   accuracy       25.00        25.00 to 25.00       25.00        25.00 to 25.00      +0.00        1\n"
        "mnli-mm  accuracy       75.00        75.00 to 75.00       75.00        75.00 to 75.00      +0.00        1\n"
        "rte      accuracy      100.00      100.00 to 100.00                                               1 and 0\n"
        "average  2 tasks        59.38                             62.50                            +3.12\n");
    glue_table_destroy(&t);
}

static void test_markdown(void **state) {
    (void)state;
    glue_table t = {.shown = {[DESIGN_PAF] = true}};
    glue_table_add(&t, "rte", "rte", "accuracy", DESIGN_PAF, 0.5);
    assert_written(&t, GLUE_MARKDOWN,
                   "| task    | metric   | PAF median | PAF least to largest | runs |\n"
                   "|---|---|---:|---:|---:|\n"
                   "| rte     | accuracy |      50.00 |       50.00 to 50.00 |    1 |\n"
                   "| average | 1 task   |      50.00 |                      |      |\n");
    glue_table_destroy(&t);
}

// ---- lists

static void assert_refused(const char *tasks, const char *designs, glue_intermediate intermediate,
                           const char *message) {
    glue_settings s = {.seeds = 1};
    snprintf(s.tasks, sizeof s.tasks, "%s", tasks);
    snprintf(s.designs, sizeof s.designs, "%s", designs);
    s.intermediate = intermediate;
    glue_list l;
    error err = {0};
    assert_false(glue_list_create(&l, &s, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    if (!strstr(err.text, message)) fail_msg("'%s', not '%s'", err.text, message);
    glue_list_destroy(&l);
}

static void test_refused_lists(void **state) {
    (void)state;
    assert_refused("mrpc,rtee", "saf", INTERMEDIATE_OFF, "there is no task 'rtee'; did you mean rte?");
    assert_refused("mrpc,rte,mrpc", "saf", INTERMEDIATE_OFF, "names mrpc twice");
    assert_refused("mrpc,ax", "saf", INTERMEDIATE_OFF, "ax has no training data");
    assert_refused(",", "saf", INTERMEDIATE_OFF, "names no task");
    assert_refused("mrpc", "saf,pafs", INTERMEDIATE_OFF, "there is no design 'pafs'");
    assert_refused("mrpc", "paf,paf", INTERMEDIATE_OFF, "names paf twice");
    assert_refused("mrpc", "", INTERMEDIATE_OFF, "names no design");
    assert_refused("mrpc,rte", "saf", INTERMEDIATE_MNLI, "wants mnli among glue.tasks");
}

static void test_list(void **state) {
    (void)state;
    glue_settings s = {
        .tasks = "mnli, rte,configs/tasks/example.ini", .designs = "paf", .intermediate = INTERMEDIATE_MNLI};
    glue_list l;
    error err = {0};
    if (!glue_list_create(&l, &s, &err)) fail_msg("%s", err.text);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.tasks[1].task.name, "rte");
    assert_string_equal(l.tasks[2].name, "configs/tasks/example.ini");
    assert_true(l.designs[DESIGN_PAF] && !l.designs[DESIGN_SAF]);
    glue_list_destroy(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread), cmocka_unit_test(test_averages), cmocka_unit_test(test_csv),
        cmocka_unit_test(test_text),   cmocka_unit_test(test_markdown), cmocka_unit_test(test_refused_lists),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
