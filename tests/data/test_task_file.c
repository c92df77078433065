// Task files: what they say, what is refused, and that the shipped ones are good.
#include "files.h"

static bool read_text(task *t, const char *folder, const char *text, error *err) {
    write_text(folder, "mine.ini", text);
    char *path = memory_format("%s/mine.ini", folder);
    *err = (error){0};
    bool good = task_read(t, path, err);
    memory_free(path);
    return good;
}

static void test_short(void **state) {
    char *folder = *state;
    task t;
    error err;
    assert_true(
        read_text(&t, folder, "[columns]\ntext = 1\nlabel = 2\n[task]\nmetric = accuracy\nlabels = auto\n", &err));
    assert_string_equal(t.name, "mine");
    assert_string_equal(t.folder, "");
    assert_string_equal(t.train_file, "train.tsv");
    assert_string_equal(t.dev_file, "dev.tsv");
    assert_string_equal(t.test_file, "test.tsv");
    assert_string_equal(t.submission[0], "mine.tsv");
    assert_true(t.words_in_submission);
    assert_null(t.label_words);
    assert_int_equal(t.classes, 0);
    assert_columns(&t.train, 1, 0, 2, 0, false, false);
    assert_columns(&t.test, 1, 0, 2, 0, false, false);
    task_destroy(&t);
}

// [columns] behind a split does not undo what the split says.
static void test_splits_win(void **state) {
    char *folder = *state;
    task t;
    error err;
    assert_true(
        read_text(&t, folder,
                  "[test]\r\nfile = sub/unlabelled.txt\r\nlabel = none\r\ntext = 2 , 1\r\nfields = 3\r\n"
                  "[columns]\r\ntext = 1, 2 ; a pair\r\nlabel = last\r\nheader = yes\r\ndrop_wrong = on\r\n"
                  "[task]\r\nname = pairs\r\nfolder = the/pairs\r\nmetric = correlation\r\nlow = -1.5\r\nhigh=2\r\n"
                  "submission = P.tsv\r\nsubmission_words = no\r\n",
                  &err));
    assert_columns(&t.train, 1, 2, TASK_LAST_COLUMN, 0, true, true);
    assert_columns(&t.test, 2, 1, 0, 3, true, true);
    assert_string_equal(t.test_file, "sub/unlabelled.txt");
    assert_true(t.regression && t.low == -1.5 && t.high == 2 && t.classes == 1 && !t.words_in_submission);
    assert_string_equal(t.submission[0], "P.tsv");
    task_destroy(&t);
}

static void test_labels(void **state) {
    char *folder = *state;
    task t;
    error err;
    assert_true(read_text(&t, folder,
                          "[task]\nmetric = accuracy\nlabel = so so\nlabel = \xc3\xbc"
                          "ber\nlabel = 0\n[columns]\ntext = 1\n",
                          &err));
    assert_int_equal(t.classes, 3);
    assert_int_equal(task_label_index(&t, "so so", 5), 0);
    assert_int_equal(task_label_index(&t,
                                      "\xc3\xbc"
                                      "ber",
                                      5),
                     1);
    assert_int_equal(task_label_index(&t, "0", 1), 2);
    task_destroy(&t);
}

#define GOOD "[task]\nmetric = accuracy\nlabels = auto\n[columns]\ntext = 1\n"

static void test_errors(void **state) {
    char *folder = *state;
    char longest[400];
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"[task]\nmetrc = accuracy\n", "%s/mine.ini:2: there is no key metrc in [task]; did you mean metric?"},
        {"[colums]\ntext = 1\n", "%s/mine.ini:2: there is no section [colums]; did you mean [columns]?"},
        {"name = x\n", "%s/mine.ini:1: name stands before the first [section]"},
        {"[columns]\nfile = x\n", "%s/mine.ini:2: there is no key file in [columns]; did you mean fields?"},
        {GOOD "[test]\nlabels = 1\n", "%s/mine.ini:7: there is no key labels in [test]; did you mean label?"},
        {"[task]\nmetric = acuracy\n", "%s/mine.ini:2: metric: there is no metric 'acuracy'; did you mean accuracy?"},
        {"[task]\n\nlabels = 0 1\n",
         "%s/mine.ini:3: labels: '0 1' should be auto (labels by name are lines of their own: "
         "label = WORD)"},
        {"[task]\nlow = five\n", "%s/mine.ini:2: low: 'five' should be a number"},
        {"[task]\nhigh = nan\n", "%s/mine.ini:2: high: 'nan' should be a number"},
        {"[task]\nsubmission_words = maybe\n", "%s/mine.ini:2: submission_words: 'maybe' should be yes or no"},
        {"[columns]\ntext = 0\n", "%s/mine.ini:2: text: '0' should be a column, counted from 1, or two: 4, 5"},
        {"[columns]\ntext = 1, 2, 3\n",
         "%s/mine.ini:2: text: '1, 2, 3' should be a column, counted from 1, or two: 4, 5"},
        {"[columns]\nlabel = first\n",
         "%s/mine.ini:2: label: 'first' should be a column, counted from 1, or last, or none"},
        {"[columns]\nlabel = 99999999999\n",
         "%s/mine.ini:2: label: '99999999999' should be a column, counted from 1, or last, or none"},
        {"[columns]\nfields = -2\n", "%s/mine.ini:2: fields: '-2' should be a number of fields"},
        {GOOD "[dev]\nheader = 2\n", "%s/mine.ini:7: header: '2' should be yes or no"},
        {"[task]\njust a line\n", "%s/mine.ini:2: expected [section] or key = value"},
        {"[task]\nmetric = accuracy\n[columns]\ntext = 1\n",
         "%s/mine.ini: [task] wants either lines label = WORD, or labels = auto, or a range: low and high"},
        {GOOD "[task]\nlabel = x\nlabel = y\n",
         "%s/mine.ini: [task] wants either lines label = WORD, or labels = auto, or a range: low and high"},
        {"[task]\nmetric = correlation\nlow = 0\n[columns]\ntext = 1\n", "%s/mine.ini: low and high go together"},
        {"[task]\nmetric = correlation\nlow = 5\nhigh = 0\n[columns]\ntext = 1\n",
         "%s/mine.ini: low should be less than high, and both between -1e9 and 1e9"},
        {"[task]\nmetric = correlation\nlabels = auto\n[columns]\ntext = 1\n",
         "%s/mine.ini: metric correlation goes with a range of numbers (low and high), not with labels"},
        {"[task]\nmetric = accuracy\nlow = 0\nhigh = 1\n[columns]\ntext = 1\n",
         "%s/mine.ini: metric accuracy goes with labels, not with a range of numbers"},
        {"[task]\nmetric = matthews\nlabel = a\nlabel = b\nlabel = c\n[columns]\ntext = 1\n",
         "%s/mine.ini: metric matthews is for two classes, not 3"},
        {"[task]\nlabel = a\n[columns]\ntext = 1\n", "%s/mine.ini: 1 labels, where 2 to 10000 are possible"},
        {"[task]\nlabel = a\nlabel = a\n[columns]\ntext = 1\n", "%s/mine.ini: label 'a' stands twice"},
        {"[task]\nlabel = a\nlabel =\n[columns]\ntext = 1\n", "%s/mine.ini: label 2 is empty, or not valid UTF-8"},
        {"[task]\nlabel = a\nlabel = \xff\n[columns]\ntext = 1\n",
         "%s/mine.ini:3: not valid UTF-8, or with control characters"},
        {"[task]\nme\x1btric = accuracy\n", "%s/mine.ini:2: not valid UTF-8, or with control characters"},
        {"[task]\nlabels = auto\n", "%s/mine.ini: train: one text at least, in columns that count from 1"},
        {GOOD "[columns]\nfields = 2\n[dev]\nlabel = 3\n", "%s/mine.ini: dev: column 3 of 2 fields"},
        {GOOD "[task]\nfolder = ../x\n", "%s/mine.ini: folder and files must be valid UTF-8 and lie below data.dir"},
        {GOOD "[task]\nname = a/b\n",
         "%s/mine.ini: the task's name and its submission's must be valid UTF-8, without a '/' or a leading dot"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        task t;
        error err;
        assert_false(read_text(&t, folder, rows[i].text, &err));
        assert_error(&err, rows[i].message, folder);
        assert_null(t.label_words);
    }
    // inih would cut a long line without a word
    task t;
    error err;
    snprintf(longest, sizeof longest, "%s# %0197d\n", GOOD, 0);
    assert_true(read_text(&t, folder, longest, &err)); // 199 characters
    task_destroy(&t);
    snprintf(longest, sizeof longest, "%s# %0198d\n", GOOD, 0);
    assert_false(read_text(&t, folder, longest, &err));
    assert_error(&err, "%s/mine.ini:6: the line has 200 characters, a configuration line may have 199; shorten it",
                 folder);
    snprintf(longest, sizeof longest, "%s[task]\nname = %0128d\n", GOOD, 0);
    assert_false(read_text(&t, folder, longest, &err));
    assert_error(&err, "%s/mine.ini:7: name: a text of at most 127 characters", folder);
}

static void test_shipped(void **state) {
    (void)state;
    error err = {0};
    size_t n;
    char **names = file_list("configs/tasks", &n, &err);
    assert_non_null(names);
    assert_true(n >= 2);
    for (size_t i = 0; i < n; i++) {
        task t;
        char *path = memory_format("configs/tasks/%s", names[i]);
        if (!task_open(&t, path, &err)) fail_msg("%s", err.text);
        task_destroy(&t);
        memory_free(path);
        memory_free(names[i]);
    }
    memory_free(names);

    task t;
    assert_true(task_read(&t, "configs/tasks/example.ini", &err));
    assert_string_equal(t.name, "reviews");
    assert_int_equal(t.classes, 3);
    assert_columns(&t.train, 2, 3, 4, 4, true, false);
    assert_columns(&t.test, 1, 2, 0, 2, true, false);
    task_destroy(&t);
    assert_true(task_read(&t, "configs/tasks/wordnet.ini", &err));
    assert_string_equal(t.name, "wordnet");
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short),  cmocka_unit_test(test_splits_win), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
