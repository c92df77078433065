// The table of GLUE's tasks, and tasks as JSON.
#include "files.h"

static task found(const char *name) {
    task t;
    error err = {0};
    assert_true(task_find(&t, name, &err));
    return t;
}

// ---- the table -----------------------------------------------------------------------------------------------------

static void test_names(void **state) {
    (void)state;
    static const char *const expected[] = {"cola", "sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli", "mnli", "ax"};
    size_t n;
    const char *const *names = task_glue_names(&n);
    assert_int_equal(n, 10);
    assert_null(names[n]);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(names[i], expected[i]);
        task t = found(names[i]);
        assert_string_equal(t.name, names[i]);
        task_destroy(&t);
    }
}

static void test_columns(void **state) {
    (void)state;
    task t = found("cola");
    assert_columns(&t.train, 4, 0, 2, 4, false, false);
    assert_columns(&t.dev, 4, 0, 2, 4, false, false);
    assert_columns(&t.test, 2, 0, 0, 2, true, false);
    task_destroy(&t);

    t = found("qqp");
    assert_true(t.train.drop_wrong && t.dev.drop_wrong && !t.test.drop_wrong);
    assert_int_equal(t.test.text[0], 2);
    assert_int_equal(t.test.text[1], 3);
    task_destroy(&t);

    t = found("stsb");
    assert_true(t.regression && !t.label_words);
    assert_int_equal(t.classes, 1);
    assert_close("low", t.low, 0, 0);
    assert_close("high", t.high, 5, 0);
    assert_string_equal(t.submission[0], "STS-B.tsv");
    task_destroy(&t);

    t = found("mnli");
    assert_int_equal(t.train.label, TASK_LAST_COLUMN);
    assert_string_equal(t.dev_file, "dev_matched.tsv");
    assert_string_equal(t.dev2_file, "dev_mismatched.tsv");
    assert_string_equal(t.submission[0], "MNLI-m.tsv");
    assert_string_equal(t.submission[1], "MNLI-mm.tsv");
    task_destroy(&t);

    t = found("ax");
    assert_string_equal(t.submission[0], "AX.tsv");
    assert_string_equal(t.train_file, "");
    task_destroy(&t);
}

static void test_labels(void **state) {
    (void)state;
    static const struct {
        const char *task, *words;
        bool in_submission;
        metric_kind metric;
    } rows[] = {{"cola", "0 1", false, METRIC_MATTHEWS},
                {"sst2", "0 1", false, METRIC_ACCURACY},
                {"mrpc", "0 1", false, METRIC_ACCURACY_F1},
                {"qqp", "0 1", false, METRIC_ACCURACY_F1},
                {"mnli", "entailment neutral contradiction", true, METRIC_ACCURACY},
                {"qnli", "entailment not_entailment", true, METRIC_ACCURACY},
                {"rte", "entailment not_entailment", true, METRIC_ACCURACY},
                {"wnli", "0 1", false, METRIC_ACCURACY},
                {"ax", "entailment neutral contradiction", true, METRIC_ACCURACY}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        task t = found(rows[i].task);
        char words[256] = "";
        for (int64_t c = 0; c < t.classes; c++) {
            const char *word = t.label_words[c];
            assert_int_equal(task_label_index(&t, word, strlen(word)), c);
            sprintf(words + strlen(words), "%s%s", c ? " " : "", word);
        }
        assert_string_equal(words, rows[i].words);
        assert_int_equal(t.words_in_submission, rows[i].in_submission);
        assert_int_equal(t.metric, rows[i].metric);
        assert_int_equal(task_label_index(&t, "entail", 6), -1); // a beginning is not the word
        assert_int_equal(task_label_index(&t, "", 0), -1);
        task_destroy(&t);
    }
}

static void test_unknown(void **state) {
    (void)state;
    task t;
    error err = {0};
    assert_false(task_find(&t, "sst3", &err));
    assert_error(
        &err, "there is no task 'sst3'; did you mean sst2? (a task of your own is the path of its file, NAME.ini)", "");
    assert_false(task_open(&t, "nowhere.ini", &err)); // a path, by its ending
    assert_non_null(strstr(err.text, "cannot open nowhere.ini"));
    assert_false(task_open(&t, "no/where", &err)); // by its slash
    assert_non_null(strstr(err.text, "cannot open no/where"));
    assert_true(task_open(&t, "rte", &err));
    task_destroy(&t);
}

// ---- JSON ----------------------------------------------------------------------------------------------------------

// Every task comes back the same from its JSON, by way of text.
static void test_round_trip(void **state) {
    (void)state;
    size_t n;
    const char *const *names = task_glue_names(&n);
    for (size_t i = 0; i <= n; i++) {
        task t = {0}, back;
        error err = {0};
        if (i < n)
            t = found(names[i]);
        else
            assert_true(task_read(&t, "configs/tasks/wordnet.ini", &err)); // labels are not there yet
        json_t *value = task_to_json(&t);
        char *text = json_dumps(value, 0);
        json_t *parsed = json_loads(text, 0, NULL);
        assert_true(task_from_json(&back, parsed, &err));
        json_t *again = task_to_json(&back);
        assert_true(json_equal(value, again));
        assert_int_equal(back.classes, t.classes);
        assert_int_equal(back.regression, t.regression);
        assert_string_equal(back.test_elsewhere, t.test_elsewhere);
        assert_columns(&back.train, t.train.text[0], t.train.text[1], t.train.label, t.train.fields, t.train.header,
                       t.train.drop_wrong);
        json_decref(value);
        json_decref(parsed);
        json_decref(again);
        free(text);
        task_destroy(&t);
        task_destroy(&back);
    }
}

// One member of sst2's JSON changed, and what is said about it.
static void test_untrusted(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *message; // NULL: the message is storage's
    } rows[] = {
        {"name", "7", "task: name should be a text of at most 127 bytes"},
        {"name", "\"\"", "task: a task needs a name, and a name for its submission"},
        {"name", "\"../sst2\"",
         "task: the task's name and its submission's must be valid UTF-8, without a '/' or a leading dot"},
        {"submission", "[\"../../etc/x\", \"\"]",
         "task: the task's name and its submission's must be valid UTF-8, without a '/' or a leading dot"},
        {"submission", "\"SST-2.tsv\"", "task: submission should be a text of at most 127 bytes"},
        {"folder", "\"/etc\"", "task: folder and files must be valid UTF-8 and lie below data.dir"},
        {"dev_file", "\"a/../../b\"", "task: folder and files must be valid UTF-8 and lie below data.dir"},
        {"dev_file", "\"a\\nb\"", "task: folder and files must be valid UTF-8 and lie below data.dir"},
        {"metric", "null", NULL},
        {"metric", "\"acuracy\"", "there is no metric 'acuracy'; did you mean accuracy?"},
        {"metric", "\"correlation\"",
         "task: metric correlation goes with a range of numbers (low and high), not with labels"},
        {"regression", "true", "task: labels should be an array of 2 to 10000 words, or null"},
        {"regression", "1", "task: regression should be true or false"},
        {"labels", "[]", "task: labels should be an array of 2 to 10000 words, or null"},
        {"labels", "{\"0\": 1}", "task: labels should be an array of 2 to 10000 words, or null"},
        {"labels", "[\"0\"]", "task: 1 labels, where 2 to 10000 are possible"},
        {"labels", "[\"0\", 1]", "task: label 2 should be a word"},
        {"labels", "[\"0\", \"0\"]", "task: label '0' stands twice"},
        {"labels", "[\"0\", \"\"]", "task: label 2 is empty, or not valid UTF-8"},
        {"train", "[]", "task: train should have an array text of two columns"},
        {"train", "{\"text\": [1], \"label\": 2}", "task: train should have an array text of two columns"},
        {"train", "{\"text\": [1, 0], \"label\": 9999999999}", "task: label should be a number"},
        {"train", "{\"text\": [0, 0], \"label\": 2, \"fields\": 2, \"header\": true, \"drop_wrong\": false}",
         "task: train: one text at least, in columns that count from 1"},
        {"train", "{\"text\": [1, 0], \"label\": -2, \"fields\": 2, \"header\": true, \"drop_wrong\": false}",
         "task: train: one text at least, in columns that count from 1"},
        {"train", "{\"text\": [1, 0], \"label\": 3, \"fields\": 2, \"header\": true, \"drop_wrong\": false}",
         "task: train: column 3 of 2 fields"},
        {"train", "{\"text\": [1, 0], \"label\": 2, \"fields\": 2, \"header\": 1, \"drop_wrong\": false}",
         "task: header should be true or false"},
        {"low", "\"0\"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        task t = found("sst2"), back;
        error err = {0};
        json_t *value = task_to_json(&t);
        json_t *member = json_loads(rows[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(member);
        json_object_set_new(value, rows[i].key, member);
        assert_false(task_from_json(&back, value, &err));
        if (rows[i].message) assert_string_equal(err.text, rows[i].message);
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_null(back.label_words);
        assert_true(json_object_del(value, rows[i].key) == 0); // and missing altogether
        assert_false(task_from_json(&back, value, &err));
        json_decref(value);
        task_destroy(&t);
    }
    // A text that is one byte too long, and what is no object at all.
    task t = found("sst2"), back;
    error err = {0};
    char *name = memory_format("%0128d", 0);
    json_t *value = task_to_json(&t), *null = json_null();
    json_object_set_new(value, "dev_file", json_string(name));
    assert_false(task_from_json(&back, value, &err));
    assert_error(&err, "task: dev_file should be a text of at most 127 bytes", "");
    json_object_set_new(value, "dev_file", json_string(name + 1));
    assert_true(task_from_json(&back, value, &err));
    assert_string_equal(back.dev_file, name + 1);
    task_destroy(&t);
    task_destroy(&back);
    assert_false(task_from_json(&back, null, &err));
    assert_error(&err, "task: it should be an object", "");
    json_decref(value);
    memory_free(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_columns),    cmocka_unit_test(test_labels),
        cmocka_unit_test(test_unknown), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_untrusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
