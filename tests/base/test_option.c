// Options: defaults, then the file, then the command line; what does not fit is refused with what would; what is
// written reads back the same.
#include "toy_options.h"

static void assert_sets(fixture *f, const char *name, const char *value) {
    error err = {0};
    if (!option_set(f->tables, TABLES, name, value, "here", &err)) fail_msg("%s", err.text);
}

static void assert_refuses(const char *name, const char *value, const char *message) {
    fixture f;
    error err = {0};
    begin(&f);
    if (option_set(f.tables, TABLES, name, value, "here", &err)) fail_msg("%s = %s was taken", name, value);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, message);
}

// ---- one by one ----------------------------------------------------------------------------------------------------

static void test_defaults(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_false(f.s.flag);
    assert_true(f.s.other);
    assert_int_equal(f.s.count, 8);
    assert_int_equal(f.s.any, -3);
    assert_int_equal(f.s.seed, 1);
    assert_close("rate", f.s.rate, 0.1, 0);
    assert_close("factor", f.s.factor, 2e-5, 0);
    assert_string_equal(f.s.name, "");
    assert_int_equal(f.s.kind, KIND_LINEAR);
    assert_int_equal(f.more.depth, 4);
}

// What is set is remembered for the whole program, by name: nothing before this test may set toy.kind.
static void test_is_set(void **state) {
    (void)state;
    fixture f;
    error err = {0};
    begin(&f);
    assert_false(option_is_set("toy.kind"));
    assert_false(option_set(f.tables, TABLES, "toy.kind", "cubic", "here", &err));
    assert_false(option_is_set("toy.kind"));
    assert_sets(&f, "toy.kind", "linear"); // to its default, but by hand
    assert_true(option_is_set("toy.kind"));
    assert_false(option_is_set("toy.flag"));
    assert_false(option_is_set("toy.nothing"));
}

static void test_bool(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const char *const words[] = {"on", "off", "true", "false", "yes", "no", "1", "0"};
    for (int i = 0; i < 8; i++) {
        f.s.flag = i % 2;
        assert_sets(&f, "toy.flag", words[i]);
        assert_true(f.s.flag == !(i % 2));
    }
    assert_refuses("toy.flag", "maybe", "here: toy.flag = maybe: expected on or off");
    assert_refuses("toy.flag", "", "here: toy.flag = : expected on or off");
    assert_refuses("toy.flag", "ON", "here: toy.flag = ON: expected on or off");
}

static void test_int(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_sets(&f, "toy.count", "1");
    assert_int_equal(f.s.count, 1);
    assert_sets(&f, "toy.count", "100");
    assert_int_equal(f.s.count, 100);
    assert_sets(&f, "toy.any", "-9223372036854775808");
    assert_true(f.s.any == INT64_MIN);
    assert_sets(&f, "toy.any", "9223372036854775807");
    assert_true(f.s.any == INT64_MAX);
    const char *const wrong[] = {"0", "101", "1.5", "1e2", "five", "", "5 ", "5x", "9223372036854775808"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *message = memory_format("here: toy.count = %s: expected a whole number from 1 to 100", wrong[i]);
        assert_refuses("toy.count", wrong[i], message);
        memory_free(message);
    }
    assert_refuses("toy.any", "9223372036854775808", "here: toy.any = 9223372036854775808: expected a whole number");
}

static void test_uint64(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_sets(&f, "toy.seed", "18446744073709551615");
    assert_true(f.s.seed == UINT64_MAX);
    assert_sets(&f, "toy.seed", "0");
    assert_true(f.s.seed == 0);
    const char *const wrong[] = {"-1", " -1", "18446744073709551616", "0x10", "ten", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *message = memory_format("here: toy.seed = %s: expected a whole number of 0 or more", wrong[i]);
        assert_refuses("toy.seed", wrong[i], message);
        memory_free(message);
    }
}

static void test_double(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_sets(&f, "toy.rate", "1");
    assert_close("rate", f.s.rate, 1, 0);
    assert_sets(&f, "toy.rate", "0");
    assert_close("rate", f.s.rate, 0, 0);
    assert_sets(&f, "toy.rate", "2.5e-1");
    assert_close("rate", f.s.rate, 0.25, 0);
    assert_sets(&f, "toy.factor", "-1e300");
    assert_close("factor", f.s.factor, -1e300, 0);
    const char *const wrong[] = {"1.0001", "-0.1", "nan", "inf", "1,5", "0.5x", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *message = memory_format("here: toy.rate = %s: expected a number from 0 to 1", wrong[i]);
        assert_refuses("toy.rate", wrong[i], message);
        memory_free(message);
    }
    assert_refuses("toy.factor", "nan", "here: toy.factor = nan: expected a number");
    assert_refuses("toy.factor", "1e400", "here: toy.factor = 1e400: expected a number");
}

static void test_choice(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const char *const good[] = {[KIND_LINEAR] = "linear", [KIND_COSINE] = "cosine", [KIND_CONSTANT] = "constant"};
    for (int i = 2; i >= 0; i--) {
        assert_sets(&f, "toy.kind", good[i]);
        assert_int_equal(f.s.kind, i);
    }
    const char *const wrong[] = {"", " ", "line", "linear cosine", "linearcosine", "LINEAR"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *message = memory_format("here: toy.kind = %s: expected one of: linear cosine constant", wrong[i]);
        assert_refuses("toy.kind", wrong[i], message);
        memory_free(message);
    }
}

static void test_string(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    char *longest = memory_format("%0255d", 1), *longer = memory_format("%0256d", 1);
    assert_sets(&f, "toy.name", longest);
    assert_string_equal(f.s.name, longest);
    error err = {0};
    assert_false(option_set(f.tables, TABLES, "toy.name", longer, "here", &err));
    assert_non_null(strstr(err.text, "expected a text of at most 255 characters, with no blanks around it"));
    assert_string_equal(f.s.name, longest);
    memory_free(longest);
    memory_free(longer);
    // What no INI file can hold is not taken either: a run's config.ini would say something else.
    const char *const wrong[] = {"two\nlines", " blank in front", "blank behind ", "a ;comment", ";comment"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(option_set(f.tables, TABLES, "toy.name", wrong[i], "here", &err));
}

static void test_distance(void **state) {
    (void)state;
    const struct {
        const char *a, *b;
        size_t distance;
    } cases[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "", 3},
        {"abc", "abc", 0},
        {"kitten", "sitting", 3},
        {"flaw", "lawn", 2},
        {"sunday", "saturday", 3},
        {"ab", "ba", 2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        assert_int_equal(option_distance(cases[k].a, cases[k].b), cases[k].distance);
        assert_int_equal(option_distance(cases[k].b, cases[k].a), cases[k].distance);
    }
}

static void test_suggestions(void **state) {
    (void)state;
    const struct {
        const char *given, *nearest;
    } cases[] = {
        {"toy.cuont", "toy.count"},  {"toy.Seed", "toy.seed"},    {"seed", "toy.seed"},    {"train.rate", "toy.rate"},
        {"toy.depth", "deep.depth"}, {"deep.dept", "deep.depth"}, {"fctor", "toy.factor"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char *message =
            memory_format("here: there is no option %s; did you mean %s?", cases[k].given, cases[k].nearest);
        assert_refuses(cases[k].given, "1", message);
        memory_free(message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_is_set), cmocka_unit_test(test_bool),
        cmocka_unit_test(test_int),         cmocka_unit_test(test_uint64), cmocka_unit_test(test_double),
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_string), cmocka_unit_test(test_distance),
        cmocka_unit_test(test_suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
