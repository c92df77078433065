// Text files and the clock.
#include "../support.h"

// ---- whole files ---------------------------------------------------------------------------------------------------

static char *folder;

static int make_folder(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

static int forget_folder(void **state) {
    (void)state;
    memory_free(folder);
    return 0;
}

static char *write_file(const char *data, size_t size) {
    char *path = memory_format("%s/text", folder);
    FILE *out = fopen(path, "wb");
    assert_int_equal(fwrite(data, 1, size, out), size);
    fclose(out);
    return path;
}

// Sizes around those at which the buffer grows.
static void test_read(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 65534, 65535, 65536, 65537, 131071, 131072, 300001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char *data = memory_allocate(sizes[k], 1);
        for (size_t i = 0; i < sizes[k]; i++) data[i] = (char)(i * 7 + i / 256); // NUL bytes too
        char *path = write_file(data, sizes[k]);
        error err = {0};
        size_t size = 99;
        char *text = text_read(path, &size, &err);
        assert_non_null(text);
        assert_int_equal(size, sizes[k]);
        assert_memory_equal(text, data, size);
        assert_int_equal(text[size], 0);
        memory_free(text);
        memory_free(data);
        memory_free(path);
    }
}

static void test_read_without_size(void **state) {
    (void)state;
    char *path = write_file("words", 5);
    error err = {0};
    char *text = text_read(path, NULL, &err);
    assert_string_equal(text, "words");
    memory_free(text);
    memory_free(path);
}

static void test_read_what_is_not_there(void **state) {
    (void)state;
    error err = {0};
    assert_null(text_read("/nowhere/at/all", NULL, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, "cannot open /nowhere/at/all: No such file or directory");
    error_clear(&err);
    assert_null(text_read(folder, NULL, &err)); // opens, but cannot be read
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "Is a directory"));
}

// ---- lines ---------------------------------------------------------------------------------------------------------

// The lines of a buffer, each followed by a bar.
static void assert_lines(const char *text, size_t size, const char *expected) {
    char got[256] = "";
    const char *line;
    size_t at = 0, length;
    while (text_next_line(text, size, &at, &line, &length)) {
        strncat(got, line, length);
        strcat(got, "|");
    }
    assert_string_equal(got, expected);
    assert_int_equal(at, size);
}

static void test_lines(void **state) {
    (void)state;
    const struct {
        const char *text, *lines;
    } cases[] = {
        {"", ""},
        {"\n", "|"},
        {"a", "a|"},
        {"a\n", "a|"},
        {"a\nb", "a|b|"},
        {"\n\na\n\n", "||a||"},
        {"a\r\nb\r\n", "a|b|"},
        {"\r\n", "|"},
        {"a\r\r\n", "a\r|"},        // one carriage return belongs to the newline
        {"a\rb\nc\r", "a\rb|c\r|"}, // one without a newline is text
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        assert_lines(cases[k].text, strlen(cases[k].text), cases[k].lines);
}

// The end is where size says, and NUL is a character like others.
static void test_lines_by_size(void **state) {
    (void)state;
    assert_lines("ab\ncd\n", 4, "ab|c|");
    const char *line, text[] = "a\0b\nc";
    size_t at = 0, length;
    assert_true(text_next_line(text, 5, &at, &line, &length));
    assert_int_equal(length, 3);
    assert_true(text_next_line(text, 5, &at, &line, &length));
    assert_int_equal(length, 1);
    assert_false(text_next_line(text, 5, &at, &line, &length));
}

// ---- time ----------------------------------------------------------------------------------------------------------

static void test_time_format(void **state) {
    (void)state;
    const struct {
        double seconds;
        const char *text;
    } cases[] = {
        {0, "0s"},         {0.4, "0s"},         {45, "45s"},      {59.4, "59s"},        {59.6, "1m00s"},
        {60, "1m00s"},     {192, "3m12s"},      {3599, "59m59s"}, {3599.5, "1h00m"},    {3720, "1h02m"},
        {86400, "24h00m"}, {360000, "100h00m"}, {-5, "0s"},       {1e300, "99999h00m"}, {INFINITY, "99999h00m"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[TIME_TEXT_SIZE];
        time_format(text, cases[k].seconds);
        assert_string_equal(text, cases[k].text);
    }
}

static void test_clock(void **state) {
    (void)state;
    double before = time_now();
    for (int i = 0; i < 1000; i++) {
        double now = time_now();
        assert_true(now >= before);
        before = now;
    }
}

static void pass_time(void) {
    double begin = time_now();
    while (time_now() - begin < 0.002) continue;
}

static double sum(const double seconds[SPAN_COUNT]) {
    double all = 0;
    for (int s = 0; s < SPAN_COUNT; s++) all += seconds[s];
    return all;
}

// Every moment is in exactly one span.
static void test_spans(void **state) {
    (void)state;
    double seconds[SPAN_COUNT];
    double begin = time_now();
    time_span_collect(seconds);
    assert_int_equal(time_span(SPAN_ATTENTION), SPAN_OTHER);
    pass_time();
    span before = time_span(SPAN_IDLE);
    assert_int_equal(before, SPAN_ATTENTION);
    pass_time();
    assert_int_equal(time_span(before), SPAN_IDLE);
    pass_time();
    assert_int_equal(time_span(SPAN_FFN), SPAN_ATTENTION);
    time_span_collect(seconds);
    double whole = time_now() - begin;
    assert_true(seconds[SPAN_ATTENTION] >= 0.004);
    assert_true(seconds[SPAN_IDLE] >= 0.002);
    assert_true(seconds[SPAN_EXCHANGE] == 0 && seconds[SPAN_HEAD] == 0);
    assert_true(sum(seconds) <= whole + 1e-9);

    pass_time(); // still in the span that was on when they were collected
    time_span_collect(seconds);
    assert_true(seconds[SPAN_FFN] >= 0.002);
    assert_true(seconds[SPAN_ATTENTION] == 0 && seconds[SPAN_IDLE] == 0);
    time_span(SPAN_OTHER);
}

static void test_span_names(void **state) {
    (void)state;
    for (int a = 0; a < SPAN_COUNT; a++) {
        assert_non_null(span_names[a]);
        for (int b = 0; b < a; b++) assert_string_not_equal(span_names[a], span_names[b]);
    }
    assert_string_equal(span_names[SPAN_IDLE], "idle");
    assert_string_equal(span_names[SPAN_OPTIMIZER], "optimizer");
}

static void test_printable(void **state) {
    (void)state;
    char text[] = "a\x1b[2J\n\x7f \xc3\xa9 \xc2\x9b \xc2\xa0 \xc2";
    text_make_printable(text);
    assert_string_equal(text, "a?[2J?? \xc3\xa9 ?? \xc2\xa0 \xc2");
    error err;
    error_set(&err, ERROR_INPUT, "no tensor %s", "\t");
    assert_string_equal(err.text, "no tensor ?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_without_size),
        cmocka_unit_test(test_read_what_is_not_there),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_by_size),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_time_format),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_span_names),
    };
    return cmocka_run_group_tests(tests, make_folder, forget_folder);
}
