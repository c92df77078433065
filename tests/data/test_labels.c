// labels = auto: whichever labels the training file holds.
#include "files.h"

static tokenizer *tok;

static task auto_task(const char *folder, const char *metric) {
    task t;
    error err = {0};
    char *text =
        memory_format("[task]\nmetric = %s\nlabels = auto\n[columns]\ntext = 1\nlabel = 2\nheader = yes\n", metric);
    char *path = memory_format("%s/auto.ini", folder);
    write_text(folder, "auto.ini", text);
    assert_true(task_read(&t, path, &err));
    memory_free(text);
    memory_free(path);
    return t;
}

static void test_collect(void **state) {
    task t = auto_task(*state, "accuracy");
    dataset d;
    error err = {0};
    write_text(*state, "train.tsv", "t\tl\na\tnoun.b\nb\tb\nc\tnoun\nd\tB\ne\tnoun.b\nf\t\xc3\xbc\n");
    assert_true(task_collect_labels(&t, *state, &err));
    static const char *const expected[] = {"B", "b", "noun", "noun.b", "\xc3\xbc"}; // byte order
    assert_int_equal(t.classes, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(t.label_words[i], expected[i]);
    write_text(*state, "train.tsv", "t\tl\na\tx\na\ty\n");
    assert_true(task_collect_labels(&t, *state, &err)); // they stand
    assert_int_equal(t.classes, 5);
    assert_false(load_dev(&d, &t, *state, tok, "t\tl\na\tverb\n", 16, &err));
    assert_error(&err, "%s/dev.tsv:2: label 'verb' is not known; expected one of B, b, noun, noun.b, \xc3\xbc", *state);
    task_destroy(&t);
}

static void test_collect_errors(void **state) {
    static const struct {
        const char *metric, *text, *message;
    } rows[] = {
        {"accuracy", "t\tl\na\tx\nb\tx\n",
         "%s/train.tsv: 1 distinct labels, where 2 to 10000 are possible; is it the right column?"},
        {"accuracy", "t\tl\n",
         "%s/train.tsv: 0 distinct labels, where 2 to 10000 are possible; is it the right column?"},
        {"accuracy", "t\tl\na\tx\nb\t\n", "%s/train.tsv:3: '' is no label: it should be 1 to 127 bytes of UTF-8"},
        {"accuracy", "t\tl\na\tx\nb\ta\1b\n",
         "%s/train.tsv:3: 'a?b' is no label: it should be 1 to 127 bytes of UTF-8"},
        {"accuracy", "t\tl\na\tx\ny\n", "%s/train.tsv:3: 1 field instead of 2 (separated by tabs)"},
        {"matthews", "t\tl\na\tx\nb\ty\nc\tz\n", "%s/train.tsv: metric matthews is for two classes, not 3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        task t = auto_task(*state, rows[i].metric);
        error err = {0};
        write_text(*state, "train.tsv", rows[i].text);
        assert_false(task_collect_labels(&t, *state, &err));
        assert_error(&err, rows[i].message, *state);
        task_destroy(&t);
    }
}

// With many classes the message shows the first few.
static void test_many_labels(void **state) {
    task t = auto_task(*state, "accuracy");
    dataset d;
    error err = {0};
    char text[1024] = "t\tl\n";
    for (int i = 10; i < 55; i++) sprintf(text + strlen(text), "a\t%d\n", i);
    write_text(*state, "train.tsv", text);
    assert_true(task_collect_labels(&t, *state, &err));
    assert_false(load_dev(&d, &t, *state, tok, "t\tl\na\t9\n", 16, &err));
    assert_error(&err, "%s/dev.tsv:2: label '9' is not known; expected one of 10, 11, 12, 13, 14, 15, ... (45 in all)",
                 *state);
    task_destroy(&t);
}

static int set_up(void **state) {
    *state = test_folder();
    return 0;
}

static int tear_down(void **state) {
    error err = {0};
    file_remove_tree(*state, &err);
    memory_free(*state);
    return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_collect),
        IN_FOLDER(test_collect_errors),
        IN_FOLDER(test_many_labels),
    };
    tok = small_tokenizer();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_destroy(tok);
    return failed;
}
