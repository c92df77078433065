// Options from a file, then from the command line; and as text that reads back to the same values.
#include "toy_options.h"

#include <float.h>

// ---- file and command line -----------------------------------------------------------------------------------------

static char *write_ini(const char *text) {
    char *folder = test_folder(), *path = memory_format("%s/run.ini", folder);
    FILE *out = fopen(path, "w");
    fputs(text, out);
    fclose(out);
    memory_free(folder);
    return path;
}

#define WORDS 12 // of a command line, at most

// Reads the words of a command line; left gets what stays in argv, each followed by a bar.
static bool read_words(fixture *f, char *left, error *err, const char *const words[]) {
    char *argv[WORDS + 1] = {(char *)(uintptr_t) "paf"};
    int argc = 1;
    for (; words[argc - 1]; argc++) argv[argc] = (char *)(uintptr_t)words[argc - 1];
    bool ok = option_read_arguments(f->tables, TABLES, &argc, argv, err);
    *left = 0;
    for (int i = 1; ok && i < argc; i++) strcat(strcat(left, argv[i]), "|");
    return ok;
}

#define WORD_LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_arguments(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    char left[256];
    begin(&f);
    assert_true(read_words(&f, left, &err,
                           WORD_LIST("RUN", "--toy.count=12", "--toy.any", "-7", "more", "--toy.name", "--toy.flag",
                                     "--toy.factor=-1", "--deep.depth", "9", "-x")));
    assert_int_equal(f.s.count, 12);
    assert_int_equal(f.s.any, -7);
    assert_string_equal(f.s.name, "--toy.flag"); // a value is a value, whatever it looks like
    assert_true(f.s.factor == -1);
    assert_int_equal(f.more.depth, 9);
    assert_string_equal(left, "RUN|more|-x|");
}

static void test_bare_bool(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    char left[256];
    begin(&f);
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.flag", "--toy.other", "off", "RUN")));
    assert_true(f.s.flag);
    assert_false(f.s.other);
    assert_string_equal(left, "RUN|");
    begin(&f);
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.flag", "RUN", "--toy.other=no")));
    assert_true(f.s.flag && !f.s.other);
    assert_string_equal(left, "RUN|");
    begin(&f);
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.flag")));
    assert_true(f.s.flag);
}

static void test_equals_in_values(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    char left[256];
    begin(&f);
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.name=a=b")));
    assert_string_equal(f.s.name, "a=b");
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.name=")));
    assert_string_equal(f.s.name, "");
}

static void test_later_wins(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    char left[256], *path = write_ini("[toy]\ncount = 20\nrate = 0.5\ncount = 30\n[deep]\ndepth = 5\n");
    begin(&f);
    if (!option_read_file(f.tables, TABLES, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(f.s.count, 30);
    assert_close("rate", f.s.rate, 0.5, 0);
    assert_int_equal(f.more.depth, 5);
    assert_int_equal(f.s.any, -3);
    assert_true(read_words(&f, left, &err, WORD_LIST("--toy.count=40", "--deep.depth=6", "--toy.count=50")));
    assert_int_equal(f.s.count, 50);
    assert_close("rate", f.s.rate, 0.5, 0);
    assert_int_equal(f.more.depth, 6);
    memory_free(path);
}

static void assert_words_fail(const char *message, const char *const words[]) {
    fixture f;
    error err = {0};
    char left[256];
    begin(&f);
    assert_false(read_words(&f, left, &err, words));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, message);
}

static void test_bad_arguments(void **state) {
    (void)state;
    assert_words_fail("command line: toy.count wants a value", WORD_LIST("--toy.count"));
    assert_words_fail("command line: toy.count = : expected a whole number from 1 to 100", WORD_LIST("--toy.count="));
    assert_words_fail("command line: toy.flag = x: expected on or off", WORD_LIST("--toy.flag=x"));
    assert_words_fail("command line: there is no option toy.cont; did you mean toy.count?",
                      WORD_LIST("--toy.cont", "5"));
    assert_words_fail("command line: there is no option seed; did you mean toy.seed?", WORD_LIST("--seed=5"));
}

static void assert_file_fails(const char *text, const char *message) {
    fixture f;
    error err = {0};
    begin(&f);
    char *path = write_ini(text), *whole = memory_format("%s:%s", path, message);
    assert_false(option_read_file(f.tables, TABLES, path, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, whole);
    memory_free(path);
    memory_free(whole);
}

static void test_bad_files(void **state) {
    (void)state;
    assert_file_fails("[toy]\n\ncount = many\n", "3: toy.count = many: expected a whole number from 1 to 100");
    assert_file_fails("[toy]\nconut = 3\n", "2: there is no option toy.conut; did you mean toy.count?");
    assert_file_fails("count = 3\n", "1: there is no option count; did you mean toy.count?");
    assert_file_fails("[toy]\nflag\n", "2: expected [section] or key = value");
}

// ---- writing -------------------------------------------------------------------------------------------------------

static void assert_same(const settings *a, const settings *b) {
    assert_true(a->flag == b->flag && a->other == b->other);
    assert_true(a->count == b->count && a->any == b->any && a->seed == b->seed);
    assert_memory_equal(&a->rate, &b->rate, sizeof a->rate); // to the bit
    assert_memory_equal(&a->factor, &b->factor, sizeof a->factor);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->kind, b->kind);
}

static void check_round_trip(const settings *values) {
    fixture out, in;
    error err = {0};
    begin(&out);
    begin(&in);
    out.s = *values;
    out.more.depth = 7;
    char *text = option_write(out.tables, TABLES), *path = write_ini(text);
    if (!option_read_file(in.tables, TABLES, path, &err)) fail_msg("%s\n%s", err.text, text);
    assert_same(&out.s, &in.s);
    assert_int_equal(in.more.depth, 7);
    memory_free(text);
    memory_free(path);
}

static void test_round_trip(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    check_round_trip(&f.s);
    settings s = {true,       false, 100, INT64_MIN, UINT64_MAX, 1, -DBL_MAX, "/a path/with = and;semi#colon and \"",
                  KIND_COSINE};
    check_round_trip(&s);
    s.any = INT64_MAX;
    s.seed = 0;
    snprintf(s.name, sizeof s.name, "%0180d", 1);
    check_round_trip(&s);
}

static void test_round_trip_of_doubles(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const double values[] = {0,    -0.0, 1.0 / 3, 0.1,  2e-5,      5e-324 * 0x1p60,    DBL_MIN, DBL_MAX, DBL_EPSILON,
                             1e16, 1e17, 1e-300,  M_PI, 0.1 + 0.2, 123456789.123456789};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        f.s.factor = values[i];
        check_round_trip(&f.s);
    }
    random_stream stream = random_stream_create(3, RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 200; i++) {
        f.s.rate = random_uniform(stream, i, 0);
        f.s.factor = ldexp(f.s.rate - 0.5, (int)(i * 5) - 500);
        check_round_trip(&f.s);
    }
}

// A value so long that its line would be is refused when it is read, never cut.
static void test_a_long_value_is_not_cut(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    begin(&f);
    snprintf(f.s.name, sizeof f.s.name, "%0250d", 1);
    char *text = option_write(f.tables, TABLES), *path = write_ini(text);
    assert_false(option_read_file(f.tables, TABLES, path, &err));
    assert_non_null(strstr(err.text, "a configuration line may have 199"));
    memory_free(text);
    memory_free(path);
}

static void test_written_text(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    char *text = option_write(f.tables, TABLES);
    assert_string_equal(text, "[toy]\nflag = off\nother = on\ncount = 8\nany = -3\nseed = 1\nrate = 0.1\n"
                              "factor = 2e-05\nname = \nkind = linear\n\n[deep]\ndepth = 4\n");
    memory_free(text);
}

static void test_format(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const char *const expected[] = {"off", "on", "8", "-3", "1", "0.1", "2e-05", "", "linear"};
    for (size_t i = 0; rows[i].name; i++) {
        char text[OPTION_STRING_SIZE];
        option_format(text, &rows[i], &f.s);
        assert_string_equal(text, expected[i]);
    }
}

static void test_help(void **state) {
    (void)state;
    fixture f;
    char *text = NULL;
    size_t size;
    begin(&f);
    f.s.count = 99; // help tells the default, not the value
    FILE *out = open_memstream(&text, &size);
    option_print_help(out, f.tables, TABLES);
    fclose(out);
    assert_non_null(strstr(text, "  --toy.count                  a number with a range (1 to 100) [8]\n"));
    assert_non_null(strstr(text, "  --toy.kind                   one of three (linear cosine constant) [linear]\n"));
    assert_non_null(strstr(text, "  --toy.flag                   a switch (on off) [off]\n"));
    assert_non_null(strstr(text, "  --toy.name                   a text [none]\n"));
    assert_non_null(strstr(text, "  --deep.depth "));
    free(text); // foreign memory
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_bare_bool),
        cmocka_unit_test(test_equals_in_values),
        cmocka_unit_test(test_later_wins),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_round_trip_of_doubles),
        cmocka_unit_test(test_a_long_value_is_not_cut),
        cmocka_unit_test(test_written_text),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
