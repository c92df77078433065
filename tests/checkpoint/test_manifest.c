// The manifest as input from strangers: whatever is wrong with it, one message and no crash.
#include "../support.h"

#include "checkpoint/internal.h"

static error err;

// A good one: a matrix in two files, a vector with moments.
static const char good_text[] =
    "{'format': 'paf-checkpoint', 'version': 1, 'program': 'paf 0.1.0', 'created': '2025-01-31T12:00:00Z',"
    " 'step': 1200, 'state': {'lr': 0.5},"
    " 'files': {'a.h5': {'bytes': 100, 'xxh3_128': '00112233445566778899aabbccddeeff'},"
    "           'b.h5': {'bytes': 0, 'xxh3_128': '00112233445566778899aabbccddeeff'}},"
    " 'tensors': {"
    "   'm': {'shape': [4, 6], 'dtype': 'float32', 'parameters': ["
    "     {'file': 'a.h5', 'dataset': 'parameters/m', 'offset': [0, 0], 'size': [4, 2]},"
    "     {'file': 'b.h5', 'dataset': 'parameters/m', 'offset': [0, 2], 'size': [4, 4]}]},"
    "   'v': {'shape': [5], 'dtype': 'float32', "
    "     'parameters': [{'file': 'a.h5', 'dataset': 'parameters/v', 'offset': [0], 'size': [5]}],"
    "     'moment1': [{'file': 'a.h5', 'dataset': 'moment1/v', 'offset': [0], 'size': [5]}],"
    "     'moment2': [{'file': 'a.h5', 'dataset': 'moment2/v', 'offset': [0], 'size': [5]}]}}}";

// With double quotes for single ones. Caller frees.
static char *quoted(const char *text) {
    char *out = memory_string(text);
    for (char *c = out; *c; c++)
        if (*c == '\'') *c = '"';
    return out;
}

// The good text with `from`, which it must have, replaced by `to`, quoted. Caller frees.
static char *replaced(const char *from, const char *to) {
    const char *at = strstr(good_text, from);
    if (!at) fail_msg("the text has no %s", from);
    char *text = memory_format("%.*s%s%s", (int)(at - good_text), good_text, to, at + strlen(from));
    char *out = quoted(text);
    memory_free(text);
    return out;
}

// Parses; on failure there is one damaged-checkpoint message of one line that names the file.
static bool accepted(const char *text) {
    error_clear(&err);
    json_t *manifest = manifest_parse(text, "run/step-00000001", &err);
    if (manifest) {
        json_decref(manifest);
        return true;
    }
    assert_true(err.kind == ERROR_DAMAGED || (err.kind == ERROR_VERSION && !strstr(text, "\"version\": 1")));
    assert_non_null(strstr(err.text, "run/step-00000001/manifest.json"));
    assert_null(strchr(err.text, '\n'));
    return false;
}

// What a newer version put around it is none of our business: it is called newer, not damaged.
static void of_a_newer_version(void **state) {
    (void)state;
    error_clear(&err);
    assert_null(manifest_parse("{\"format\": \"paf-checkpoint\", \"version\": 7}", "run/step-00000001", &err));
    assert_int_equal(err.kind, ERROR_VERSION);
    assert_string_equal(err.text, "run/step-00000001/manifest.json was written by format version 7; this paf reads up "
                                  "to 1: use a newer paf");
}

static void a_good_one(void **state) {
    (void)state;
    char *text = quoted(good_text);
    if (!accepted(text)) fail_msg("%s", err.text);
    json_t *manifest = manifest_parse(text, "x", &err);
    manifest_tensor t;
    assert_true(manifest_read_tensor(&t, manifest, "m", "x", &err));
    assert_int_equal(t.dimensions, 2);
    assert_int_equal(t.shape[0], 4);
    assert_int_equal(t.shape[1], 6);
    assert_int_equal(t.n[PART_PARAMETERS], 2);
    assert_int_equal(t.n[PART_MOMENT1], 0);
    assert_int_equal(t.pieces[PART_PARAMETERS][1].offset[1], 2);
    assert_string_equal(t.pieces[PART_PARAMETERS][1].file, "b.h5");
    manifest_free_tensor(&t);
    assert_true(manifest_read_tensor(&t, manifest, "v", "x", &err));
    assert_int_equal(t.dimensions, 1);
    assert_int_equal(t.shape[0], 5);
    assert_int_equal(t.shape[1], 1);
    assert_int_equal(t.n[PART_MOMENT2], 1);
    assert_int_equal(t.pieces[PART_MOMENT2][0].size[1], 1);
    assert_int_equal(t.pieces[PART_MOMENT2][0].offset[1], 0);
    manifest_free_tensor(&t);
    json_decref(manifest);
    memory_free(text);
}

static void wrong_facts(void **state) {
    (void)state;
    static const char *const changes[][3] = {
        // from, to, what the message must have in it
        {"paf-checkpoint", "other", "format"},
        {"'version': 1", "'version': 0", "version"},
        {"'version': 1", "'version': 1.0", "version"},
        {"'version': 1, ", "", "version"},
        {"'step': 1200", "'step': -1", "step"},
        {"'step': 1200", "'step': '1200'", "step"},
        {"'step': 1200", "'step': 99999999999999999999", "too big"},
        {"'step': 1200", "'step': 1200, 'step': 1201", "duplicate"},
        {"'paf 0.1.0'", "'\\u001b[31m'", "program"},
        {"'paf 0.1.0'", "7", "program"},
        {"2025-01-31T12:00:00Z", "caf\xc3\xa9", "created"},
        {"{'lr': 0.5}", "[]", "state"},
        {"'state': {'lr': 0.5},", "", "state"},
        {"'a.h5': {", "'../a.h5': {", "name"},
        {"'a.h5': {", "'/etc/passwd': {", "name"},
        {"'a.h5': {", "'.a.h5': {", "name"},
        {"'a.h5': {", "'manifest.json': {", "name"},
        {"'a.h5': {", "'c.h5': {", "\"files\" does not list"},
        {"'bytes': 100", "'bytes': -100", "size"},
        {"'bytes': 100", "'bytes': '100'", "bytes"},
        {"'bytes': 100, ", "", "bytes"},
        {"00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeef", "checksum"},
        {"00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF", "checksum"},
        {"'m': {", "'m/../x': {", "name"},
        {"'m': {", "'': {", "name"},
        {"'dtype': 'float32', 'parameters'", "'dtype': 'float16', 'parameters'", "dtype"},
        {"'dtype': 'float32', 'parameters'", "'parameters'", "dtype"},
        {"[4, 6]", "[4, 0]", "shape"},
        {"[4, 6]", "[4, -6]", "shape"},
        {"[4, 6]", "[4, 6, 1]", "shape"},
        {"[4, 6]", "[]", "shape"},
        {"[4, 6]", "[4, '6']", "shape"},
        {"[4, 6]", "[4, 6.0]", "shape"},
        {"[4, 6]", "24", "shape"},
        {"[4, 6]", "[9223372036854775807, 6]", "shape"},
        {"[4, 6]", "[3037000500, 3037000500]", "shape"},
        {"[4, 6]", "[1152921504606846976, 4]", "shape"},
        {"[4, 6]", "[4, 7]", "every element once"},
        {"[4, 6]", "[5, 6]", "every element once"},
        {"[4, 6]", "[24]", "offset"},
        {"[4, 6]", "[4, 5]", "out of the tensor"},
        {"'offset': [0, 2]", "'offset': [0, 3]", "out of the tensor"},
        {"'offset': [0, 2]", "'offset': [0, 1]", "every element once"},
        {"'offset': [0, 2]", "'offset': [0, -2]", "offset"},
        {"'offset': [0, 2]", "'offset': [9223372036854775807, 2]", "out of the tensor"},
        {"'offset': [0, 2]", "'offset': [0]", "offset"},
        {"'offset': [0, 2]", "'offset': {}", "offset"},
        {"'size': [4, 4]", "'size': [4, 3]", "every element once"},
        {"'size': [4, 4]", "'size': [0, 4]", "size"},
        {"'size': [4, 4]", "'size': [4, 9223372036854775807]", "out of the tensor"},
        {"'size': [4, 4]", "'size': null", "size"},
        {"'dataset': 'parameters/m'", "'dataset': ''", "dataset"},
        {"'dataset': 'parameters/m'", "'dataset': 'a b'", "dataset"},
        {"'dataset': 'parameters/m'", "'dataset': 1", "dataset"},
        {"'file': 'a.h5'", "'file': ['a.h5']", "file"},
        {"'moment1': [", "'moment3': [", "one moment without the other"},
        {"'moment1': [", "'moment1': [0, ", "missing"},
        {"'v': {", "'m': {", "duplicate"},
        {"'v': {", "'v': [], 'w': {", "v"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *text = replaced(changes[i][0], changes[i][1]);
        if (accepted(text)) fail_msg("%s was accepted for %s", changes[i][1], changes[i][0]);
        if (!strstr(err.text, changes[i][2])) fail_msg("for %s it says: %s", changes[i][1], err.text);
        memory_free(text);
    }
}

// Empty lists of pieces, and a list that says the same piece twice.
static void wrong_lists(void **state) {
    (void)state;
    const char *list = "[{'file': 'a.h5', 'dataset': 'moment1/v', 'offset': [0], 'size': [5]}]";
    const char *twice = "[{'file': 'a.h5', 'dataset': 'moment1/v', 'offset': [0], 'size': [5]},"
                        " {'file': 'b.h5', 'dataset': 'moment1/v', 'offset': [0], 'size': [5]}]";
    const char *others[] = {"[]", "{}", "null", "5", "[{}]", "[null]", twice};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *text = replaced(list, others[i]);
        assert_false(accepted(text));
        memory_free(text);
    }
}

// Any byte changed into any of these, and any prefix: some are still good (a letter of the time), none may crash.
static void damage_at_every_byte(void **state) {
    (void)state;
    static const char bytes[] = "\x01 \"{[]}:,09-x\xff";
    char *text = quoted(good_text);
    size_t length = strlen(text), refused = 0;
    for (size_t at = 0; at < length; at++) {
        char kept = text[at];
        text[at] = 0;
        assert_false(accepted(text));
        for (size_t b = 0; b < sizeof bytes - 1; b++) {
            text[at] = bytes[b];
            refused += !accepted(text);
        }
        text[at] = kept;
    }
    assert_true(refused > length * (sizeof bytes - 1) / 2);
    assert_true(accepted(text));
    memory_free(text);
}

// A nest of brackets that would overflow a recursive parser's stack.
static void a_deep_nest(void **state) {
    (void)state;
    size_t depth = 1000000;
    char *text = memory_allocate(depth + 1, 1);
    memset(text, '[', depth);
    assert_false(accepted(text));
    memory_free(text);
}

static void plain_names(void **state) {
    (void)state;
    char longest[129] = {0};
    memset(longest, 'a', 127);
    const char *good[] = {"a", "bert.encoder.layer.0.output.LayerNorm.weight", "A-b_c.9", longest};
    for (int i = 0; i < 4; i++) assert_true(file_is_plain_name(good[i]));
    char too_long[130] = {0};
    memset(too_long, 'a', 128);
    const char *bad[] = {"", ".", "..", ".a", "a/b", "a b", "a\n", "\xc3\xa9", "a:b", "~", too_long};
    for (int i = 0; i < 11; i++) assert_false(file_is_plain_name(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one),  cmocka_unit_test(of_a_newer_version),   cmocka_unit_test(wrong_facts),
        cmocka_unit_test(wrong_lists), cmocka_unit_test(damage_at_every_byte), cmocka_unit_test(a_deep_nest),
        cmocka_unit_test(plain_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
