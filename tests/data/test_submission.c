// Submission files, byte by byte.
#include "../support.h"

#include "data/data.h"
#include "storage/storage.h"

static char *path; // of the file written last

static void assert_written(const char *task_name, int64_t n, const int32_t *predicted, const float *values,
                           const char *expected) {
    task t;
    error err = {0};
    assert_true(task_find(&t, task_name, &err));
    if (!submission_write(path, &t, n, predicted, values, &err)) fail_msg("%s", err.text);
    char *text = text_read(path, NULL, &err);
    assert_string_equal(text, expected);
    memory_free(text);
    task_destroy(&t);
}

static void test_numbers(void **state) {
    (void)state;
    const int32_t predicted[] = {1, 0, 1};
    const char *expected = "index\tprediction\n0\t1\n1\t0\n2\t1\n";
    static const char *const tasks[] = {"cola", "sst2", "mrpc", "qqp", "wnli"};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) assert_written(tasks[i], 3, predicted, NULL, expected);
}

static void test_words(void **state) {
    (void)state;
    const int32_t predicted[] = {2, 0, 1};
    assert_written("mnli", 3, predicted, NULL, "index\tprediction\n0\tcontradiction\n1\tentailment\n2\tneutral\n");
    assert_written("ax", 1, predicted, NULL, "index\tprediction\n0\tcontradiction\n");
    assert_written("rte", 2, predicted + 1, NULL, "index\tprediction\n0\tentailment\n1\tnot_entailment\n");
    assert_written("qnli", 2, predicted + 1, NULL, "index\tprediction\n0\tentailment\n1\tnot_entailment\n");
    assert_written("rte", 0, NULL, NULL, "index\tprediction\n");
}

static void test_values(void **state) {
    (void)state;
    const float values[] = {2.5f, -0.3f, 5.2f, 0.0004f, -0.f, 4.9996f, 3.14159f, 1e30f};
    assert_written(
        "stsb", 8, NULL, values,
        "index\tprediction\n0\t2.500\n1\t0.000\n2\t5.000\n3\t0.000\n4\t0.000\n5\t5.000\n6\t3.142\n7\t5.000\n");
}

static void test_negative_range(void **state) {
    (void)state;
    task t = {.regression = true, .classes = 1, .low = -1, .high = 1};
    const float values[] = {-0.0004f, -2, -0.25f};
    error err = {0};
    assert_true(submission_write(path, &t, 3, NULL, values, &err));
    char *text = text_read(path, NULL, &err);
    assert_string_equal(text, "index\tprediction\n0\t0.000\n1\t-1.000\n2\t-0.250\n");
    memory_free(text);
}

static void test_errors(void **state) {
    (void)state;
    task t;
    error err = {0};
    const float values[] = {1, NAN};
    assert_true(task_find(&t, "stsb", &err));
    assert_false(submission_write(path, &t, 2, NULL, values, &err));
    assert_string_equal(err.text, "the prediction of example 1 is not a number: the model has diverged");
    assert_int_equal(err.kind, ERROR_INTERNAL);
    error_clear(&err);
    assert_false(submission_write("/no/such/folder/x.tsv", &t, 1, NULL, values, &err));
    assert_true(err.kind != ERROR_NONE);
    assert_non_null(strstr(err.text, "/no/such/folder/x.tsv"));
}

// The index is the place in the file, however long that is.
static void test_many(void **state) {
    (void)state;
    enum { N = 100000 };
    task t;
    error err = {0};
    int32_t *predicted = memory_allocate(N, sizeof *predicted);
    for (int i = 0; i < N; i++) predicted[i] = i % 3;
    assert_true(task_find(&t, "mnli", &err));
    assert_true(submission_write(path, &t, N, predicted, NULL, &err));
    size_t size, at = 0, length;
    char *text = text_read(path, &size, &err), expected[64];
    const char *line;
    assert_true(text_next_line(text, size, &at, &line, &length));
    for (int i = 0; i < N; i++) {
        assert_true(text_next_line(text, size, &at, &line, &length));
        snprintf(expected, sizeof expected, "%d\t%s", i, t.label_words[i % 3]);
        assert_int_equal(length, strlen(expected));
        assert_memory_equal(line, expected, length);
    }
    assert_false(text_next_line(text, size, &at, &line, &length));
    memory_free(text);
    memory_free(predicted);
    task_destroy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_words),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_negative_range), cmocka_unit_test(test_errors), cmocka_unit_test(test_many),
    };
    char *folder = test_folder();
    error err = {0};
    path = memory_format("%s/submission.tsv", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(folder, &err);
    memory_free(path);
    memory_free(folder);
    return failed;
}
