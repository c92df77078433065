// Errors and log: texts are cut with a mark, prefixes go in front, FATAL speaks and ends, and only the root logs.
#include "speech.h"

// ---- errors --------------------------------------------------------------------------------------------------------

static void test_set(void **state) {
    (void)state;
    error err = {0};
    assert_false(error_set(&err, ERROR_DAMAGED, "%s:%d", "file", 12));
    assert_int_equal(err.kind, ERROR_DAMAGED);
    assert_string_equal(err.text, "file:12");
    error_clear(&err);
    assert_int_equal(err.kind, ERROR_NONE);
    assert_string_equal(err.text, "");
}

static void test_exit_codes(void **state) {
    (void)state;
    static const struct {
        error_kind kind;
        int code;
    } cases[] = {{ERROR_NONE, 0}, {ERROR_INTERNAL, 1}, {ERROR_INPUT, 2}, {ERROR_DAMAGED, 3}, {ERROR_VERSION, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(error_exit_code(cases[i].kind), cases[i].code);
}

// The longest text that fits is whole; one character more, and the end says that something is missing.
static void test_cut(void **state) {
    (void)state;
    error err = {0};
    const int room = sizeof err.text - 1;
    error_set(&err, ERROR_INPUT, "%*s", room, "end");
    assert_int_equal(strlen(err.text), room);
    assert_string_equal(err.text + room - 4, " end");
    for (int more = 1; more < 3000; more += 1499) {
        error_set(&err, ERROR_INPUT, "%0*d", room + more, 1);
        assert_int_equal(strlen(err.text), room);
        assert_string_equal(err.text + room - 4, "0...");
    }
}

static void test_prefix(void **state) {
    (void)state;
    error err = {0};
    error_set(&err, ERROR_DAMAGED, "100 %% wrong");
    assert_false(error_prefix(&err, "shard %d", 3));
    assert_int_equal(err.kind, ERROR_DAMAGED);
    assert_string_equal(err.text, "shard 3: 100 % wrong");
    error_prefix(&err, "50%%s");
    assert_string_equal(err.text, "50%s: shard 3: 100 % wrong");
}

static void test_prefix_of_long_texts(void **state) {
    (void)state;
    error err = {0};
    const int room = sizeof err.text - 1;
    error_set(&err, ERROR_INPUT, "%0*d", room, 1);
    error_prefix(&err, "where");
    assert_int_equal(strlen(err.text), room);
    assert_memory_equal(err.text, "where: 0", 8);
    assert_string_equal(err.text + room - 4, "0...");
    error_set(&err, ERROR_INPUT, "what");
    error_prefix(&err, "%0*d", 2 * room, 1);
    assert_int_equal(strlen(err.text), room);
    assert_string_equal(err.text + room - 4, "0...");
}

// ---- the end -------------------------------------------------------------------------------------------------------

static void die(void) { FATAL("rank %d is lost", 3); }
static void require_true(void) { REQUIRE(1 + 1 == 2); }
static void require_false(void) { REQUIRE(1 + 1 == 3); }
static void leave(void) { _exit(42); }
static void die_by_handler(void) {
    log_set_root(false); // the one who dies speaks, root or not
    log_set_level(LOG_QUIET);
    fatal_set_handler(leave);
    FATAL("gone");
}

static void test_fatal(void **state) {
    (void)state;
    char said[1024];
    assert_dies(die, "rank 3 is lost\n");
    assert_dies(die, "tests/base/test_error.c:");
    assert_dies(require_false, "this should hold: 1 + 1 == 3");
    assert_int_equal(hear(require_true, said, sizeof said), 0);
    assert_string_equal(said, "");
}

static void test_fatal_handler(void **state) {
    (void)state;
    char said[1024];
    int status = hear(die_by_handler, said, sizeof said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_non_null(strstr(said, "gone"));
}

// ---- log -----------------------------------------------------------------------------------------------------------

static void say_all(void) {
    log_error("an error");
    log_warn("a warning");
    log_info("%s", "news");
    log_progress("progress"); // not on a terminal
}

static void say_at_level(log_level level) {
    log_set_level(level);
    say_all();
}

static void say_by_default(void) { say_all(); }
static void say_when_quiet(void) { say_at_level(LOG_QUIET); }
static void say_warnings(void) { say_at_level(LOG_WARN); }
static void say_elsewhere(void) {
    log_set_root(false);
    say_all();
    log_error_any("%d", 7);
}

static void assert_says(void (*act)(void), const char *words) {
    char said[8192];
    assert_int_equal(hear(act, said, sizeof said), 0);
    assert_string_equal(said, words);
}

static void test_log_levels(void **state) {
    (void)state;
    unsetenv("PAF_TERMINAL");
    assert_says(say_by_default, "paf: error: an error\npaf: warning: a warning\nnews\n");
    assert_says(say_when_quiet, "");
    assert_says(say_warnings, "paf: error: an error\npaf: warning: a warning\n");
    assert_says(say_elsewhere, "paf: error: 7\n");
}

static void say_much(void) { log_info("%05000d", 1); }

// A line is one line, however long it was meant to be.
static void test_log_long_line(void **state) {
    (void)state;
    char said[8192];
    assert_int_equal(hear(say_much, said, sizeof said), 0);
    size_t length = strlen(said);
    assert_in_range(length, 1024, 2048);
    assert_ptr_equal(strchr(said, '\n'), said + length - 1);
}

static void show_progress(void) {
    log_progress("12 of 20");
    log_progress("9");
    log_info("done");
    log_info("really");
}

// On a terminal the shorter line blanks the longer one's rest, and a log line blanks both.
static void test_progress(void **state) {
    (void)state;
    setenv("PAF_TERMINAL", "1", 1);
    assert_says(show_progress, "\r12 of 20\r9       \r \rdone\nreally\n");
    unsetenv("PAF_TERMINAL");
    assert_says(show_progress, "done\nreally\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_prefix_of_long_texts),
        cmocka_unit_test(test_fatal),
        cmocka_unit_test(test_fatal_handler),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_log_long_line),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
