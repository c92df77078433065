// The run folder: names, order of trust, leftovers, pruning. The checkpoints here are folders with a name in them.
#include "../support.h"

#include "checkpoint/internal.h"

static char *run;
static error err;

static int setup(void **state) {
    (void)state;
    run = test_folder();
    error_clear(&err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_true(file_remove_tree(run, &err));
    memory_free(run);
    return 0;
}

// A folder of the run that holds a file `content`.
static void make(const char *name, const char *content) {
    char *path = memory_format("%s/%s", run, name), *file = memory_format("%s/%s", path, content);
    assert_true(file_make_folders(path, &err) && file_write_atomic(file, "x", 1, &err));
    memory_free(path);
    memory_free(file);
}

static void write_text(const char *name, const char *text) {
    char *path = memory_format("%s/%s", run, name);
    assert_true(file_write_atomic(path, text, strlen(text), &err));
    memory_free(path);
}

static bool has(const char *name) {
    char *path = memory_format("%s/%s", run, name);
    bool is = file_exists(path);
    memory_free(path);
    return is;
}

static void expect_steps(const int64_t *wanted, size_t n) {
    size_t found;
    int64_t *steps = checkpoint_steps(run, &found, &err);
    assert_non_null(steps);
    assert_int_equal(found, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(steps[i], wanted[i]);
    memory_free(steps);
}

#define EXPECT_STEPS(...) expect_steps((int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void names(void **state) {
    (void)state;
    char name[CHECKPOINT_NAME_SIZE];
    int64_t step;
    const int64_t steps[] = {0, 7, 12345678, 123456789012, INT64_MAX};
    for (int i = 0; i < 5; i++) {
        checkpoint_step_name(name, steps[i]);
        assert_true(checkpoint_parse_name(name, "", &step) && step == steps[i]);
        char *old = memory_format("%s.old", name);
        assert_true(checkpoint_parse_name(old, ".old", &step) && step == steps[i]);
        assert_false(checkpoint_parse_name(old, "", &step));
        memory_free(old);
    }
    const char *wrong[] = {"step-1",
                           "step-000000001",
                           "step-0000000x",
                           "step-+0000001",
                           "step- 0000001",
                           "step--0000001",
                           "step-",
                           "",
                           "Step-00000001",
                           "step-00000001 ",
                           "step-99999999999999999999"};
    for (int i = 0; i < 11; i++) assert_false(checkpoint_parse_name(wrong[i], "", &step));
}

static void which_to_trust_first(void **state) {
    (void)state;
    assert_false(checkpoint_exists(run));
    make("step-00000010", "a");
    make("step-00000020", "a");
    make("step-00000030", "a");
    make("step-100000000", "a");
    make("step-00000040.tmp", "a");
    make("step-50", "a");
    make("other", "a");
    assert_true(checkpoint_exists(run));
    EXPECT_STEPS(100000000, 30, 20, 10);
    write_text("latest", "step-00000020\n");
    EXPECT_STEPS(20, 10, 100000000, 30); // those after it belong to a course that was left
    write_text("latest", "step-100000000");
    EXPECT_STEPS(100000000, 30, 20, 10);
    write_text("latest", "step-00000025\n"); // names none: what comes before it first
    EXPECT_STEPS(20, 10, 100000000, 30);
    const char *nonsense[] = {"", "\n", "step-00000020 and more", "../step-00000020", "step-20"};
    for (int i = 0; i < 5; i++) {
        write_text("latest", nonsense[i]);
        EXPECT_STEPS(100000000, 30, 20, 10);
    }
}

static void an_old_version_counts_where_there_is_no_other(void **state) {
    (void)state;
    make("step-00000001", "a");
    make("step-00000002.old", "old");
    make("step-00000003", "new");
    make("step-00000003.old", "old");
    EXPECT_STEPS(3, 2, 1);
    char *path = checkpoint_step_path(run, 2);
    assert_non_null(strstr(path, "step-00000002.old"));
    memory_free(path);
    path = checkpoint_step_path(run, 3);
    assert_null(strstr(path, ".old"));
    memory_free(path);

    make("step-00000004.tmp", "a");
    write_text("notes.tmp", "mine");
    assert_true(checkpoint_clean(run, &err));
    assert_true(has("step-00000002/old") && !has("step-00000002.old"));
    assert_true(has("step-00000003/new") && !has("step-00000003.old"));
    assert_true(!has("step-00000004.tmp") && has("notes.tmp"));
}

static void pruning(void **state) {
    (void)state;
    for (int step = 1; step <= 6; step++) {
        char name[CHECKPOINT_NAME_SIZE];
        checkpoint_step_name(name, step);
        make(name, "a");
    }
    make("step-00000007.tmp", "a");
    make("mine", "a");
    write_text("config.ini", "x");
    write_text("latest", "step-00000006\n");
    assert_true(checkpoint_mark_best(run, 2, &err));
    assert_true(checkpoint_prune(run, 3, &err));
    EXPECT_STEPS(6, 5, 4, 2);
    assert_true(!has("step-00000007.tmp") && has("mine/a") && has("config.ini") && has("latest") && has("best"));
    write_text("latest", "step-00000004\n");
    assert_true(checkpoint_prune(run, 1, &err)); // what `latest` names is the newest
    EXPECT_STEPS(4, 2);
    assert_true(checkpoint_prune(run, 100, &err));
    EXPECT_STEPS(4, 2);
    assert_false(checkpoint_prune(run, 0, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    EXPECT_STEPS(4, 2);
}

static void the_best(void **state) {
    (void)state;
    assert_int_equal(checkpoint_pointer(run, "best"), -1);
    assert_false(checkpoint_mark_best(run, 3, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_false(has("best"));
    make("step-00000003", "a");
    assert_true(checkpoint_mark_best(run, 3, &err));
    assert_int_equal(checkpoint_pointer(run, "best"), 3);
}

static void checkpoint_or_run(void **state) {
    (void)state;
    make("step-00000003", "a");
    make("renamed", "manifest.json");
    char *path = memory_format("%s/step-00000003/", run), *renamed = memory_format("%s/renamed", run);
    assert_true(checkpoint_is_folder(path));
    assert_true(checkpoint_is_folder(renamed));
    assert_false(checkpoint_is_folder(run));
    memory_free(path);
    memory_free(renamed);
}

static void questions_about_nothing(void **state) {
    (void)state;
    char *nowhere = memory_format("%s/nowhere", run);
    assert_false(checkpoint_exists(nowhere));
    FILE *out = tmpfile();
    assert_false(checkpoint_list(nowhere, out, &err) || err.kind != ERROR_INPUT);
    assert_false(checkpoint_list(run, out, &err) || err.kind != ERROR_INPUT);
    assert_non_null(strstr(err.text, "no checkpoint in"));
    assert_false(checkpoint_show(nowhere, out, &err) || err.kind != ERROR_INPUT);
    assert_false(checkpoint_show(run, out, &err) || err.kind != ERROR_INPUT);
    assert_false(checkpoint_verify(run, out, &err) || err.kind != ERROR_INPUT);
    assert_false(checkpoint_prune(nowhere, 1, &err) || err.kind != ERROR_INPUT);
    assert_int_equal(ftell(out), 0);
    make("step-00000003", "a"); // a folder that is no checkpoint
    assert_true(checkpoint_list(run, out, &err));
    assert_true(ftell(out) > 0);
    assert_false(checkpoint_show(run, out, &err) || err.kind != ERROR_DAMAGED);
    assert_false(checkpoint_verify(run, out, &err) || err.kind != ERROR_DAMAGED);
    assert_non_null(strstr(err.text, "step-00000003"));
    fclose(out);
    memory_free(nowhere);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test_setup_teardown(which_to_trust_first, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_version_counts_where_there_is_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(pruning, setup, teardown),
        cmocka_unit_test_setup_teardown(the_best, setup, teardown),
        cmocka_unit_test_setup_teardown(checkpoint_or_run, setup, teardown),
        cmocka_unit_test_setup_teardown(questions_about_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
