// JSON in and out, and members by type.
#include "../support.h"

#include "storage/storage.h"

static error err;

static json_t *parse(const char *text) { return json_parse(text, strlen(text), "here", &err); }

static void numbers_keep_their_bits(void **state) {
    (void)state;
    char *folder = test_folder(), *path = memory_format("%s/a.json", folder);
    const double values[] = {0.1, 1.0 / 3, 5e-324, -1.7976931348623157e308, 0};
    json_t *object = json_pack("{s:I, s:s, s:[]}", "large", (json_int_t)INT64_MAX, "text", "a \"b\"\nc", "reals");
    for (int i = 0; i < 5; i++) json_array_append_new(json_object_get(object, "reals"), json_real(values[i]));
    assert_true(json_write(path, object, &err));
    json_t *again = json_read(path, &err);
    assert_non_null(again);
    assert_true(json_equal(object, again));
    for (size_t i = 0; i < 5; i++)
        assert_close("real", json_real_value(json_array_get(json_object_get(again, "reals"), i)), values[i], 0);
    json_decref(object);
    json_decref(again);
    assert_true(file_remove_tree(folder, &err));
    memory_free(path);
    memory_free(folder);
}

static void formats(void **state) {
    (void)state;
    json_t *object = parse("{\"a\": [1, 2], \"b\": {}}");
    size_t size;
    char *text = json_format(object, false, &size);
    assert_string_equal(text, "{\"a\":[1,2],\"b\":{}}");
    assert_int_equal(size, strlen(text));
    memory_free(text);
    text = json_format(object, true, &size);
    assert_string_equal(text, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}\n");
    assert_int_equal(size, strlen(text));
    memory_free(text);
    json_decref(object);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    assert_null(parse("{\n\"a\": 1,\n\"b\": }"));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "here:3: "));
    assert_null(parse("{\"a\": 1, \"a\": 2}")); // twice
    assert_null(parse(""));
    assert_null(parse("{} {}"));
    assert_null(parse("{\"a\": 123456789012345678901234567890}"));
    assert_null(json_parse("{\"a\": \"b\0\"}", 11, "here", &err));
    assert_null(parse("{\"a\": \"\xff\"}"));
    assert_null(json_read("/nonexistent/a.json", &err));
    assert_non_null(strstr(err.text, "/nonexistent/a.json"));
}

static void what_is_too_long_is_not_read(void **state) {
    (void)state;
    char *folder = test_folder(), *path = memory_format("%s/a.json", folder);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs("{}", file) >= 0 && !fclose(file));
    json_t *small = json_read_foreign(path, &err);
    assert_non_null(small);
    json_decref(small);
    assert_int_equal(truncate(path, JSON_FOREIGN_MOST + 1), 0);
    assert_null(json_read_foreign(path, &err));
    assert_non_null(strstr(err.text, "more than 16 MB"));
    assert_null(json_read_foreign("/nonexistent/a.json", &err));
    assert_non_null(strstr(err.text, "/nonexistent/a.json"));
    assert_true(file_remove_tree(folder, &err));
    memory_free(path);
    memory_free(folder);
}

static void members(void **state) {
    (void)state;
    json_t *object = parse("{\"int\": -7, \"real\": 2.5, \"text\": \"t\", \"null\": null}");
    int64_t i, seven = 7;
    double d, half = 0.5;
    const char *s;
    assert_true(json_get_int(object, "int", &i, NULL, "f", &err));
    assert_int_equal(i, -7);
    assert_true(json_get_int(object, "none", &i, &seven, "f", &err));
    assert_int_equal(i, 7);
    assert_true(json_get_double(object, "real", &d, NULL, "f", &err));
    assert_close("real", d, 2.5, 0);
    assert_true(json_get_double(object, "int", &d, NULL, "f", &err));
    assert_close("int", d, -7, 0);
    assert_true(json_get_double(object, "none", &d, &half, "f", &err));
    assert_close("none", d, 0.5, 0);
    assert_true(json_get_string(object, "text", &s, NULL, "f", &err));
    assert_string_equal(s, "t");
    assert_true(json_get_string(object, "none", &s, "else", "f", &err));
    assert_string_equal(s, "else");

    assert_false(json_get_int(object, "none", &i, NULL, "file.json", &err));
    assert_string_equal(err.text, "file.json: \"none\" is missing");
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_false(json_get_int(object, "real", &i, &seven, "f", &err)); // a fallback does not excuse another type
    assert_non_null(strstr(err.text, "\"real\""));
    assert_false(json_get_double(object, "text", &d, &half, "f", &err));
    assert_false(json_get_string(object, "null", &s, "else", "f", &err));
    assert_false(json_get_string(object, "none", &s, NULL, "f", &err));
    assert_false(json_get_double(object, "none", &d, NULL, "f", &err));
    json_decref(object);
    assert_false(json_get_int(NULL, "a", &i, NULL, "f", &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_keep_their_bits),
        cmocka_unit_test(formats),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_is_too_long_is_not_read),
        cmocka_unit_test(members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
