// Files of every shape that GLUE knows, errors with their line, truncation as Hugging Face does it.
#include "files.h"

static tokenizer *tok;

static task pair_task(void) { // text, text, label behind a header
    task t;
    error err = {0};
    assert_true(task_find(&t, "rte", &err));
    return t;
}

static void assert_ids(const dataset *d, int64_t example, const int32_t *ids, int64_t n) {
    assert_int_equal(dataset_length(d, example), n);
    assert_memory_equal(d->ids + d->starts[example], ids, (size_t)n * sizeof *ids);
}

// ---- rows ----------------------------------------------------------------------------------------------------------

static void test_single(void **state) {
    task t;
    dataset d;
    error err = {0};
    assert_true(task_find(&t, "sst2", &err));
    assert_true(load_dev(&d, &t, *state, tok, "sentence\tlabel\na b \t1\n\t0\nc ? C\t1\n", 16, &err));
    assert_int_equal(d.n, 3);
    assert_ids(&d, 0, (int32_t[]){ID_CLS, ID_A, ID_A + 1, ID_SEP}, 4);
    assert_ids(&d, 1, (int32_t[]){ID_CLS, ID_SEP}, 2);
    assert_ids(&d, 2, (int32_t[]){ID_CLS, ID_A + 2, ID_UNK, ID_A + 2, ID_SEP}, 5);
    assert_memory_equal(d.second, ((int32_t[]){4, 2, 5}), 3 * sizeof(int32_t));
    assert_memory_equal(d.labels, ((int32_t[]){1, 0, 1}), 3 * sizeof(int32_t));
    assert_null(d.targets);
    assert_int_equal(d.longest, 5);
    assert_int_equal(d.truncated + d.dropped + d.replaced, 0);
    dataset_destroy(&d);
    task_destroy(&t);
}

// A byte order mark, carriage returns, no last newline, an empty last line, quotes: as the files have them.
static void test_quirks(void **state) {
    static const char *const files[] = {
        "\xef\xbb\xbfindex\ts1\ts2\tlabel\n0\ta\tb\tentailment\n1\t\"c\td\"\"\tnot_entailment\n",
        "index\ts1\ts2\tlabel\r\n0\ta\tb\tentailment\r\n1\t\"c\td\"\"\tnot_entailment\r\n",
        "index\ts1\ts2\tlabel\n0\ta\tb\tentailment\n1\t\"c\td\"\"\tnot_entailment",
        "index\ts1\ts2\tlabel\n0\ta\tb\tentailment\n1\t\"c\td\"\"\tnot_entailment\n\n",
        "index\ts1\ts2\tlabel\n0\ta\tb\tentailment\n1\t\"c\td\"\"\tnot_entailment\n\r\n",
    };
    task t = pair_task();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        dataset d;
        error err;
        if (!load_dev(&d, &t, *state, tok, files[i], 16, &err)) fail_msg("%s", err.text);
        assert_int_equal(d.n, 2);
        assert_ids(&d, 0, (int32_t[]){ID_CLS, ID_A, ID_SEP, ID_A + 1, ID_SEP}, 5);
        assert_ids(&d, 1, (int32_t[]){ID_CLS, ID_UNK, ID_A + 2, ID_SEP, ID_A + 3, ID_UNK, ID_UNK, ID_SEP}, 8);
        assert_memory_equal(d.second, ((int32_t[]){3, 4}), 2 * sizeof(int32_t));
        assert_memory_equal(d.labels, ((int32_t[]){0, 1}), 2 * sizeof(int32_t));
        dataset_destroy(&d);
    }
    task_destroy(&t);
}

// A byte order mark is skipped where there is no header, too.
static void test_mark_without_header(void **state) {
    task t;
    dataset d;
    error err = {0};
    assert_true(task_find(&t, "cola", &err));
    assert_true(load_dev(&d, &t, *state, tok,
                         "\xef\xbb\xbf"
                         "a\t1\t\tb b\na\t0\t*\tc",
                         16, &err));
    assert_int_equal(d.n, 2);
    assert_ids(&d, 0, (int32_t[]){ID_CLS, ID_A + 1, ID_A + 1, ID_SEP}, 4);
    assert_memory_equal(d.labels, ((int32_t[]){1, 0}), 2 * sizeof(int32_t));
    dataset_destroy(&d);
    task_destroy(&t);
}

static void test_last_column(void **state) {
    task t;
    dataset d;
    error err = {0};
    char text[512] = "";
    assert_true(task_find(&t, "mnli", &err));
    for (int line = 0; line < 2; line++) // MNLI's 12 columns of training, then 16 of development
        sprintf(text + strlen(text), "1\t2\t3\t4\t5\t6\t7\t8\ta\tb\tneutral\tcontradiction\n");
    assert_true(load_dev(&d, &t, *state, tok, text, 16, &err));
    assert_int_equal(d.labels[0], 2);
    dataset_destroy(&d);
    *text = 0;
    for (int line = 0; line < 2; line++)
        sprintf(text + strlen(text), "1\t2\t3\t4\t5\t6\t7\t8\ta\tb\tneutral\tneutral\tneutral\t-\t-\tentailment\n");
    assert_true(load_dev(&d, &t, *state, tok, text, 16, &err));
    assert_int_equal(d.labels[0], 0);
    dataset_destroy(&d);
    task_destroy(&t);
}

// QQP: wrong rows of train and dev are dropped and counted; of test they are an error.
static void test_drop_wrong(void **state) {
    task t;
    dataset d;
    error err = {0};
    assert_true(task_find(&t, "qqp", &err));
    assert_true(load_dev(
        &d, &t, *state, tok,
        "id\tq1\tq2\tone\ttwo\tsame\n1\t1\t2\ta\tb\t1\n2\t1\t2\ta\tb\n\n3\t1\t2\tc\td\t0\t7\n4\t1\t2\te\tf\t0\n", 16,
        &err));
    assert_int_equal(d.n, 2);
    assert_int_equal(d.dropped, 3);
    assert_memory_equal(d.labels, ((int32_t[]){1, 0}), 2 * sizeof(int32_t));
    assert_ids(&d, 1, (int32_t[]){ID_CLS, ID_A + 4, ID_SEP, ID_A + 5, ID_SEP}, 5);
    dataset_destroy(&d);

    assert_false(load_dev(&d, &t, *state, tok, "id\tq1\tq2\tone\ttwo\tsame\n1\t2\n", 16, &err));
    assert_error(&err, "%s/dev.tsv has no rows", *state);
    write_text(*state, "test.tsv", "id\tone\ttwo\n0\ta\tb\n1\ta\n");
    assert_false(dataset_load(&d, &t, *state, "test", tok, 16, &err));
    assert_error(&err, "%s/test.tsv:3: 2 fields instead of 3 (separated by tabs)", *state);
    write_text(*state, "test.tsv", "id\tone\ttwo\n0\ta\tb\n");
    assert_true(dataset_load(&d, &t, *state, "test", tok, 16, &err));
    assert_null(d.labels);
    assert_null(d.targets);
    dataset_destroy(&d);
    task_destroy(&t);
}

static void test_invalid_utf8(void **state) {
    task t = pair_task();
    dataset d;
    error err;
    assert_true(load_dev(&d, &t, *state, tok,
                         "i\ta\tb\tl\n0\ta\xff"
                         "b\tc \xfe\tentailment\n1\t\xc0\td\tentailment\n",
                         16, &err));
    assert_int_equal(d.replaced, 3);
    assert_int_equal(d.n, 2);
    dataset_destroy(&d);
    task_destroy(&t);
}

// ---- errors --------------------------------------------------------------------------------------------------------

static void test_row_errors(void **state) {
    static const struct {
        const char *task, *text, *message;
    } rows[] = {
        {"rte", "i\ta\tb\tl\n0\ta\tb\tentailment\n1\ta\tb\n",
         "%s/dev.tsv:3: 3 fields instead of 4 (separated by tabs)"},
        {"rte", "i\ta\tb\tl\n0\ta\tb\tentailment\n\n1\ta\tb\tentailment\n",
         "%s/dev.tsv:3: 1 field instead of 4 (separated by tabs)"},
        {"rte", "i\ta\tb\tl\n\n\n", "%s/dev.tsv:2: 1 field instead of 4 (separated by tabs)"},
        {"rte", "i\ta\tb\n0\ta\tb\tentailment\n",
         "%s/dev.tsv:1: 3 fields in the header instead of 4 (separated by tabs)"},
        {"rte", "", "%s/dev.tsv has no rows"},
        {"rte", "\xef\xbb\xbf", "%s/dev.tsv has no rows"},
        {"rte", "i\ta\tb\tl", "%s/dev.tsv has no rows"},
        {"rte", "i\ta\tb\tl\n\n", "%s/dev.tsv has no rows"},
        {"cola", "\n", "%s/dev.tsv has no rows"},
        {"rte", "i\ta\tb\tl\n0\ta\tb\tEntailment\n",
         "%s/dev.tsv:2: label 'Entailment' is not known; expected one of entailment, not_entailment"},
        {"rte", "i\ta\tb\tl\n0\ta\tb\t\n",
         "%s/dev.tsv:2: label '' is not known; expected one of entailment, not_entailment"},
        {"sst2", "s\tl\na\t1 \n", "%s/dev.tsv:2: label '1 ' is not known; expected one of 0, 1"},
        {"sst2", "s\tl\na\t\xfe-\xff\n", "%s/dev.tsv:2: label '?-?' is not known; expected one of 0, 1"},
        {"sst2", "s\tl\na\t\x1b[2J\n", "%s/dev.tsv:2: label '?[2J' is not known; expected one of 0, 1"},
        {"sst2", "s\tl\na\t0123456789012345678901234567890123456789012345678901234567\xc3\xbc\xc3\xbc\xc3\xbc\n",
         "%s/dev.tsv:2: label '0123456789012345678901234567890123456789012345678901234567\xc3\xbc...' is not known; "
         "expected one of 0, 1"},
        {"stsb", "1\t2\t3\t4\t5\t6\t7\ta\tb\tscore\n1\t2\t3\t4\t5\t6\t7\ta\tb\t5.001\n",
         "%s/dev.tsv:2: 5.001 is outside the task's range, 0 to 5"},
        {"stsb", "1\t2\t3\t4\t5\t6\t7\ta\tb\tscore\n1\t2\t3\t4\t5\t6\t7\ta\tb\t-1\n",
         "%s/dev.tsv:2: -1 is outside the task's range, 0 to 5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        task t;
        dataset d;
        error err = {0};
        assert_true(task_find(&t, rows[i].task, &err));
        assert_false(load_dev(&d, &t, *state, tok, rows[i].text, 16, &err));
        assert_error(&err, rows[i].message, *state);
        assert_null(d.ids);
        task_destroy(&t);
    }
    static const char *const bad[] = {
        "",    " 1",    "1 ",    "x",   "nan", "inf",
        "0x1", "1e999", "1.0.0", "1,5", "--1", "1.0000000000000000000000000000000000000000000000000000000000000000000"};
    task t;
    error err = {0};
    assert_true(task_find(&t, "stsb", &err));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        dataset d;
        sprintf(text, "1\t2\t3\t4\t5\t6\t7\ta\tb\tscore\n1\t2\t3\t4\t5\t6\t7\ta\tb\t%s\n", bad[i]);
        assert_false(load_dev(&d, &t, *state, tok, text, 16, &err));
        assert_non_null(strstr(err.text, "/dev.tsv:2: '"));
        assert_non_null(strstr(err.text, "' is not a number; expected one from 0 to 5"));
    }
    dataset d;
    assert_true(load_dev(
        &d, &t, *state, tok,
        "1\t2\t3\t4\t5\t6\t7\ta\tb\tscore\n1\t2\t3\t4\t5\t6\t7\ta\tb\t5.000\n1\t2\t3\t4\t5\t6\t7\ta\tb\t2.75e0\r\n", 16,
        &err));
    assert_close("first target", d.targets[0], 5, 0);
    assert_close("second target", d.targets[1], 2.75, 0);
    assert_null(d.labels);
    dataset_destroy(&d);
    task_destroy(&t);
}

static void test_no_header_and_few_columns(void **state) {
    task t;
    dataset d;
    error err = {0};
    write_text(*state, "few.ini", "[task]\nmetric = accuracy\nlabel = x\nlabel = y\n[columns]\ntext = 1\nlabel = 3\n");
    char *path = memory_format("%s/few.ini", (char *)*state);
    assert_true(task_read(&t, path, &err));
    assert_false(load_dev(&d, &t, *state, tok, "a\tx\nb\ty\n", 16, &err));
    assert_error(&err, "%s/dev.tsv:1: 2 fields (separated by tabs), but the task wants column 3", *state);
    // as many fields as the first line
    assert_false(load_dev(&d, &t, *state, tok, "a\t0\tx\t0\nb\t0\ty\t0\nc\t0\ty\n", 16, &err));
    assert_error(&err, "%s/dev.tsv:3: 3 fields instead of 4 (separated by tabs)", *state);
    assert_true(load_dev(&d, &t, *state, tok, "a\t0\tx\t0\nb\t0\ty\t0\n", 16, &err));
    assert_int_equal(d.n, 2);
    dataset_destroy(&d);
    task_destroy(&t);
    memory_free(path);
}

static void test_paths(void **state) {
    char *folder = *state;
    task t = pair_task(), ax, mnli;
    dataset d;
    error err = {0};
    char path[OPTION_STRING_SIZE * 2], expected[1024];
    assert_true(task_find(&ax, "ax", &err) && task_find(&mnli, "mnli", &err));
    assert_false(dataset_path(path, &t, "", "dev", &err));
    assert_error(&err, "where is the data? Set data.dir", "");
    assert_false(dataset_path(path, &t, "/no/such", "dev", &err));
    assert_error(&err, "there is no folder /no/such (data.dir)", "");
    assert_false(dataset_path(path, &t, folder, "development", &err));
    assert_error(&err, "task rte has no split 'development', only train, dev, test", "");
    assert_false(dataset_path(path, &ax, folder, "dev", &err));
    assert_error(&err, "task ax has no split 'dev', only test", "");
    assert_false(dataset_load(&d, &mnli, folder, "dev_mismatched", tok, 16, &err));
    assert_error(&err,
                 "task mnli: no dev_mismatched file: MNLI/dev_mismatched.tsv or dev_mismatched.tsv should be in %s "
                 "(data.dir)",
                 folder);
    assert_false(dataset_path(path, &ax, folder, "test", &err));
    assert_error(&err,
                 "task ax: no test file: diagnostic/diagnostic.tsv or diagnostic.tsv or AX/test.tsv should be in %s "
                 "(data.dir)",
                 folder);

    write_text(folder, "there/train.tsv", "");
    sprintf(expected, "%s/there", folder);
    assert_true(dataset_path(path, &t, expected, "train", &err)); // in data.dir itself
    write_text(folder, "there/RTE/train.tsv", "");
    assert_true(dataset_path(path, &t, expected, "train", &err)); // the task's folder is looked at first
    strcat(expected, "/RTE/train.tsv");
    assert_string_equal(path, expected);
    write_text(folder, "AX/test.tsv", "index\ts1\ts2\n0\ta\tb\n");
    assert_true(dataset_load(&d, &ax, folder, "test", tok, 16, &err));
    dataset_destroy(&d);
    write_text(folder, "diagnostic/diagnostic.tsv", "index\ts1\ts2\n0\ta\tb\n1\ta\tb\n");
    assert_true(dataset_load(&d, &ax, folder, "test", tok, 16, &err));
    assert_int_equal(d.n, 2);
    dataset_destroy(&d);
    task_destroy(&t);
    task_destroy(&ax);
    task_destroy(&mnli);
}

// ---- truncation ----------------------------------------------------------------------------------------------------

static void test_truncate_single(void **state) {
    task t;
    dataset d;
    error err = {0};
    assert_true(task_find(&t, "sst2", &err));
    assert_true(load_dev(&d, &t, *state, tok, "s\tl\na b c\t1\na b c d\t1\na b c d e\t0\n", 5, &err));
    assert_int_equal(d.truncated, 2);
    assert_int_equal(d.longest, 5);
    for (int64_t i = 0; i < 3; i++) assert_ids(&d, i, (int32_t[]){ID_CLS, ID_A, ID_A + 1, ID_A + 2, ID_SEP}, 5);
    dataset_destroy(&d);
    task_destroy(&t);
}

// Tokens of the first text that tokenizers 0.21.1 keeps (longest_first), for pairs of 0 to 9 tokens each: digit
// 10 * first + second of row max_length - 3. It always fills what room there is.
static const char *const kept[] = {
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "0000000000100000000011000000001110000000111100000011111000001111110000111111100011111111001111111110",
    "0000000000111111111121111111112111111111211111111121111111112111111111211111111121111111112111111111",
    "0000000000111111111122111111113221111111322211111132222111113222221111322222211132222222113222222221",
    "0000000000111111111122222222223322222222432222222243222222224322222222432222222243222222224322222222",
    "0000000000111111111122222222223332222222443322222254333222225433332222543333322254333333225433333332",
    "0000000000111111111122222222223333333333444333333355433333336543333333654333333365433333336543333333",
    "0000000000111111111122222222223333333333444433333355544333336654443333765444433376544444337654444443",
    "0000000000111111111122222222223333333333444444444455554444446665444444776544444487654444448765444444",
    "0000000000111111111122222222223333333333444444444455555444446666554444777655544488765555449876555554",
};

// The ids of a pair of a, b, ... [first] and p, q, ... [second]; how many.
static int64_t expect_pair(int32_t *out, int first, int second, bool roberta) {
    int32_t *at = out, a = roberta ? ID_BPE_A : ID_A;
    *at++ = roberta ? ID_BEGIN : ID_CLS;
    for (int i = 0; i < first; i++) *at++ = a + i;
    for (int i = 0; i < (roberta ? 2 : 1); i++) *at++ = roberta ? ID_END : ID_SEP;
    for (int i = 0; i < second; i++) *at++ = a + 'p' - 'a' + i;
    *at++ = roberta ? ID_END : ID_SEP;
    return at - out;
}

static void check_pairs(const task *t, const char *folder, const char *text, const tokenizer *tokens, int budget,
                        bool roberta) {
    dataset d;
    error err;
    int truncated = 0, specials = roberta ? 4 : 3;
    assert_true(load_dev(&d, t, folder, tokens, text, budget + specials, &err));
    for (int pair = 0; pair < 100; pair++) {
        int whole = pair / 10 + pair % 10, room = whole < budget ? whole : budget;
        int first = kept[budget][pair] - '0';
        int32_t ids[32];
        truncated += room < whole;
        assert_ids(&d, pair, ids, expect_pair(ids, first, room - first, roberta));
        assert_int_equal(d.second[pair], roberta ? room + specials : first + 2); // RoBERTa: none has type 1
    }
    assert_int_equal(d.truncated, truncated);
    dataset_destroy(&d);
}

static void test_truncate_pairs(void **state) {
    task t = pair_task();
    char text[8192] = "i\ta\tb\tl\n";
    for (int pair = 0; pair < 100; pair++) {
        char *out = text + strlen(text);
        out += sprintf(out, "%d\t", pair);
        for (int i = 0; i < pair / 10; i++) out += sprintf(out, "%c ", 'a' + i);
        *out++ = '\t';
        for (int i = 0; i < pair % 10; i++) out += sprintf(out, "%c ", 'p' + i);
        sprintf(out, "\tentailment\n");
    }
    tokenizer *bpe = small_bpe();
    for (int budget = 0; budget < 10; budget++) {
        check_pairs(&t, *state, text, tok, budget, false);
        check_pairs(&t, *state, text, bpe, budget, true);
    }
    dataset d;
    error err;
    assert_false(load_dev(&d, &t, *state, bpe, text, 3, &err));
    assert_error(&err, "data.max_length is 3, but task rte takes 4 special tokens alone", "");
    tokenizer_destroy(bpe);
    task_destroy(&t);
}

static void test_single_roberta(void **state) {
    task t;
    dataset d;
    error err;
    tokenizer *bpe = small_bpe();
    assert_true(task_find(&t, "sst2", &err));
    assert_true(load_dev(&d, &t, *state, bpe, "sentence\tlabel\nba\t1\n<mask>a\t0\n", 3, &err));
    assert_ids(&d, 0, (int32_t[]){ID_BEGIN, ID_BPE_A + 1, ID_END}, 3);
    assert_ids(&d, 1, (int32_t[]){ID_BEGIN, 30, ID_END}, 3);
    assert_int_equal(d.second[0], 3);
    assert_int_equal(d.truncated, 2);
    dataset_destroy(&d);
    tokenizer_destroy(bpe);
    task_destroy(&t);
}

// ---- options -------------------------------------------------------------------------------------------------------

static void test_options(void **state) {
    (void)state;
    data_settings s;
    option_table table = {data_options, &s};
    error err = {0};
    option_set_defaults(&table, 1);
    assert_string_equal(s.task, "");
    assert_true(s.lower_case);
    assert_int_equal(s.max_length, 128);
    assert_true(option_set(&table, 1, "data.max_length", "512", "here", &err));
    assert_int_equal(s.max_length, 512);
    assert_false(option_set(&table, 1, "data.max_length", "2", "here", &err));
    assert_false(option_set(&table, 1, "data.tsk", "sst2", "here", &err));
    assert_error(&err, "here: there is no option data.tsk; did you mean data.task?", "");
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
        IN_FOLDER(test_single),          IN_FOLDER(test_quirks),         IN_FOLDER(test_mark_without_header),
        IN_FOLDER(test_last_column),     IN_FOLDER(test_drop_wrong),     IN_FOLDER(test_invalid_utf8),
        IN_FOLDER(test_row_errors),      IN_FOLDER(test_paths),          IN_FOLDER(test_no_header_and_few_columns),
        IN_FOLDER(test_truncate_single), IN_FOLDER(test_truncate_pairs), IN_FOLDER(test_single_roberta),
        cmocka_unit_test(test_options),
    };
    tok = small_tokenizer();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_destroy(tok);
    return failed;
}
