// INI files: what they say arrives, with the line it came from; what inih would lose is refused by number.
#include "../support.h"

static char *path; // of the file that each test writes

static int make_path(void **state) {
    (void)state;
    char *folder = test_folder();
    path = memory_format("%s/run.ini", folder);
    memory_free(folder);
    return 0;
}

static int forget_path(void **state) {
    (void)state;
    memory_free(path);
    return 0;
}

static void write_bytes(const char *data, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_int_equal(fwrite(data, 1, size, out), size);
    fclose(out);
}

// What a file said: "line section.key=value|" an entry. An entry named `bad` is refused.
typedef struct {
    char said[4096];
    size_t used;
} listener;

static bool on_entry(void *context, const char *section, const char *key, const char *value, const char *where,
                     error *err) {
    listener *l = context;
    assert_memory_equal(where, path, strlen(path));
    int n = snprintf(l->said + l->used, sizeof l->said - l->used, "%s %s.%s=%s|", where + strlen(path) + 1, section,
                     key, value);
    l->used += (size_t)n;
    return strcmp(key, "bad") || error_set(err, ERROR_INPUT, "%s: refused", where);
}

static bool read_bytes(listener *l, const char *data, size_t size, error *err) {
    write_bytes(data, size);
    *l = (listener){0};
    return ini_read(path, on_entry, l, err);
}

static void assert_reads(const char *text, const char *said) {
    listener l;
    error err = {0};
    if (!read_bytes(&l, text, strlen(text), &err)) fail_msg("%s", err.text);
    assert_string_equal(l.said, said);
}

// Fails on that line with these words.
static void assert_refuses(const char *data, size_t size, int line, const char *words) {
    listener l;
    error err = {0};
    assert_false(read_bytes(&l, data, size, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    char *expected = memory_format("%s:%d: %s", path, line, words);
    if (strncmp(err.text, expected, strlen(expected))) fail_msg("%s", err.text);
    memory_free(expected);
}

static void assert_refuses_text(const char *text, int line, const char *words) {
    assert_refuses(text, strlen(text), line, words);
}

static void test_entries(void **state) {
    (void)state;
    assert_reads("", "");
    assert_reads("[a]\nx = 1\ny=2\n\n[b]\nx: 3\n", "2 a.x=1|3 a.y=2|6 b.x=3|");
    assert_reads("x = 1", "1 .x=1|");
    assert_reads("[a]\r\nx = two words \r\n", "2 a.x=two words|");
    assert_reads("[a]\nx =\nx = 1\nx = 2\n", "2 a.x=|3 a.x=1|4 a.x=2|");
    assert_reads("[a]\nx = p=q\n", "2 a.x=p=q|");
}

static void test_comments(void **state) {
    (void)state;
    assert_reads("# x = 1\n; y = 2\n[a]\nz = 3 ; a comment\nw = http://a#b;c\n", "4 a.z=3|5 a.w=http://a#b;c|");
}

static void test_byte_order_mark(void **state) {
    (void)state;
    assert_reads("\xef\xbb\xbf[a]\nx = 1\n", "2 a.x=1|");
}

// Blanks in front of a line do not make it part of the one before.
static void test_indented_lines(void **state) {
    (void)state;
    assert_reads("[a]\n  x = 1\n  y = 2\n\tz = 3\n", "2 a.x=1|3 a.y=2|4 a.z=3|");
}

static void test_not_ini(void **state) {
    (void)state;
    assert_refuses_text("[a]\nx = 1\nnonsense\n", 3, "expected [section] or key = value");
    assert_refuses_text("[a\nx = 1\n", 1, "expected [section] or key = value");
}

// The first refusal ends the reading, and its words are the caller's own.
static void test_refused_entry(void **state) {
    (void)state;
    assert_refuses_text("[a]\nx = 1\nbad = 2\nnonsense\nbad = 3\n", 3, "refused");
    listener l;
    error err = {0};
    const char *text = "[a]\nbad = 1\ny = 2\n";
    assert_false(read_bytes(&l, text, strlen(text), &err));
    assert_string_equal(l.said, "2 a.bad=1|");
}

// A line of `length` characters, "x = vvv...", in front of another.
static char *long_line(int length) { return memory_format("[a]\nx = %0*d\ny = 2\n", length - 4, 7); }

static void test_long_lines(void **state) {
    (void)state;
    char *fits = long_line(199), *too_long = long_line(200), *far_too_long = long_line(100000);
    char *said = memory_format("2 a.x=%0195d|3 a.y=2|", 7);
    assert_reads(fits, said);
    assert_refuses_text(too_long, 2, "the line has 200 characters, a configuration line may have 199");
    assert_refuses_text(far_too_long, 2, "the line has 100000 characters");
    memory_free(fits);
    memory_free(too_long);
    memory_free(far_too_long);
    memory_free(said);
}

// Comments are lines too: inih would read the rest of a long one as an entry.
static void test_long_comment(void **state) {
    (void)state;
    char *text = memory_format("[a]\n; %0300d\n", 7);
    assert_refuses_text(text, 2, "the line has 302 characters");
    memory_free(text);
}

static void test_long_key(void **state) {
    (void)state;
    char *text = memory_format("[a]\n%0150d = 1\n", 7), *said = memory_format("2 a.%0150d=1|", 7);
    assert_reads(text, said);
    memory_free(text);
    memory_free(said);
}

static void test_nul_bytes(void **state) {
    (void)state;
    assert_refuses("[a]\nx = 1\0 2\n", 13, 2, "a NUL byte");
    assert_refuses("\0", 1, 1, "a NUL byte");
}

static void test_no_file(void **state) {
    (void)state;
    listener l = {0};
    error err = {0};
    assert_false(ini_read("/nowhere/run.ini", on_entry, &l, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, "cannot open /nowhere/run.ini: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),         cmocka_unit_test(test_comments),
        cmocka_unit_test(test_byte_order_mark), cmocka_unit_test(test_indented_lines),
        cmocka_unit_test(test_not_ini),         cmocka_unit_test(test_refused_entry),
        cmocka_unit_test(test_long_lines),      cmocka_unit_test(test_long_comment),
        cmocka_unit_test(test_long_key),        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, make_path, forget_path);
}
