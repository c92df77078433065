// Training: against a plain implementation in Python (tests/compare/tokens.py wrote tokens-vocab.txt), by hand, and by
// what must hold for any vocabulary.
#include "../support.h"

#include "tokenizer/tokenizer.h"

static const char *const text_path = "tests/reference/tokens-text.txt";

static char *read_file(const char *path, size_t *size) {
    error err = {0};
    char *text = text_read(path, size, &err);
    if (!text) fail_msg("%s", err.text);
    return text;
}

static char *train(const char *text, size_t size, vocabulary_settings settings) {
    error err = {0};
    vocabulary_counter *c = vocabulary_counter_create(TOKENIZER_WORDPIECE, settings.lower_case);
    tokenizer_files files;
    assert_int_equal(vocabulary_count(c, text, size), 0);
    if (!vocabulary_train(c, &settings, &files, NULL, &err)) fail_msg("%s", err.text);
    vocabulary_counter_destroy(c);
    assert_int_equal(files.n, 1);
    assert_string_equal(files.file[0].name, "vocab.txt");
    assert_int_equal(files.file[0].size, strlen(files.file[0].text));
    return files.file[0].text;
}

#define SPECIAL_LINES "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static void check_training(const char *text, vocabulary_settings settings, const char *pieces) {
    char *vocabulary = train(text, strlen(text), settings);
    assert_memory_equal(vocabulary, SPECIAL_LINES, strlen(SPECIAL_LINES));
    assert_string_equal(vocabulary + strlen(SPECIAL_LINES), pieces);
    memory_free(vocabulary);
}

static void test_by_hand(void **state) {
    (void)state;
    vocabulary_settings settings = {.size = 100, .min_frequency = 2, .alphabet = 100, .lower_case = true};
    // h+u occurs 3 times and ##u+##g 3: "##u" comes first in byte order; then h+##ug.
    check_training("hug hug hug pun", settings, "h\np\n##g\n##n\n##u\n##ug\nhug\n");
    settings.min_frequency = 4;
    check_training("hug hug hug pun", settings, "h\np\n##g\n##n\n##u\n");
    // A pair that overlaps itself is taken from the left.
    settings.min_frequency = 2;
    check_training("aaaaaa aaaaaa", settings, "a\n##a\n##aa\n##aaa\n##aaaaa\naaaaaa\n");
}

static void test_reference(void **state) {
    (void)state;
    size_t size;
    char *text = read_file(text_path, &size), *expected = read_file("tests/reference/tokens-vocab.txt", NULL);
    char *found = train(text, size, (vocabulary_settings){900, 2, 1000, true});
    assert_string_equal(found, expected);
    memory_free(found);
    memory_free(text);
    memory_free(expected);
}

// Lines of the text from the last to the first. Caller frees.
static char *reverse_lines(const char *text, size_t size) {
    char *reversed = memory_allocate(size + 1, 1);
    const char *line;
    size_t at = 0, length, end = size;
    while (text_next_line(text, size, &at, &line, &length)) {
        end -= length + 1;
        memcpy(reversed + end, line, length);
        reversed[end + length] = '\n';
    }
    return reversed;
}

static void test_order_does_not_matter(void **state) {
    (void)state;
    size_t size;
    char *text = read_file(text_path, &size), *reversed = reverse_lines(text, size);
    char *one = train(text, size, (vocabulary_settings){500, 1, 300, false});
    char *two = train(reversed, size, (vocabulary_settings){500, 1, 300, false});
    assert_string_equal(one, two);
    memory_free(one);
    memory_free(two);
    memory_free(text);
    memory_free(reversed);
}

static void test_size_is_kept(void **state) {
    (void)state;
    size_t size;
    char *text = read_file(text_path, &size);
    for (int64_t wanted = 400; wanted <= 600; wanted += 50) {
        char *vocabulary = train(text, size, (vocabulary_settings){wanted, 2, 1000, true});
        error err = {0};
        tokenizer *t =
            tokenizer_load_text(vocabulary, strlen(vocabulary), true, "trained", &err); // no piece twice, too
        if (!t) fail_msg("%s", err.text);
        assert_int_equal(tokenizer_size(t), wanted);
        tokenizer_destroy(t);
        memory_free(vocabulary);
    }
    memory_free(text);
}

static void check_all_words_known(const char *text, size_t size, bool lower_case) {
    char *vocabulary = train(text, size, (vocabulary_settings){700, 2, 1000, lower_case});
    error err = {0};
    tokenizer *t = tokenizer_load_text(vocabulary, strlen(vocabulary), lower_case, "trained", &err);
    if (!t) fail_msg("%s", err.text);
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    assert_true(tokenizer_encode(t, text, size, &ids, &n, &capacity, NULL) > 1000);
    for (size_t i = 0; i < n; i++) assert_int_not_equal(ids[i], tokenizer_special_ids(t).unknown);
    memory_free(ids);
    tokenizer_destroy(t);
    memory_free(vocabulary);
}

static void test_every_word_is_known(void **state) {
    (void)state;
    size_t size;
    char *text = read_file(text_path, &size);
    check_all_words_known(text, size, true);
    check_all_words_known(text, size, false);
    memory_free(text);
}

static void test_alphabet(void **state) {
    (void)state;
    vocabulary_settings settings = {.size = 100, .min_frequency = 1, .alphabet = 2, .lower_case = true};
    // b and a are the most frequent; words with c are left out, and so c has no piece.
    check_training("ab bab c cab", settings, "a\nb\n##a\n##b\n##ab\nab\nbab\n");
    settings.alphabet = 1; // b is in more words, but a occurs more often
    check_training("a a a bc bd", settings, "a\n");
}

static void test_counting(void **state) {
    (void)state;
    vocabulary_counter *c = vocabulary_counter_create(TOKENIZER_WORDPIECE, true);
    char longer[102];
    memset(longer, 'a', sizeof longer);
    assert_int_equal(vocabulary_count(c, "The the, [MASK]", 15), 0); // special pieces are no words
    assert_int_equal(vocabulary_count(c,
                                      "th\xff"
                                      "e",
                                      4),
                     1);
    assert_int_equal(vocabulary_count(c, longer, sizeof longer), 0);
    assert_int_equal(vocabulary_words(c), 4);
    assert_int_equal(vocabulary_distinct_words(c), 2);
    vocabulary_counter_destroy(c);
}

static void test_errors(void **state) {
    (void)state;
    error err = {0};
    tokenizer_files files = {0};
    vocabulary_settings settings = {.size = 10, .min_frequency = 1, .alphabet = 100, .lower_case = true};
    vocabulary_counter *c = vocabulary_counter_create(TOKENIZER_WORDPIECE, true);
    vocabulary_count(c, " \n", 2);
    assert_int_equal(vocabulary_train(c, &settings, &files, NULL, &err), 0);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "no word"));
    vocabulary_count(c, "abc def", 7); // 2 forms at the beginning, 4 inside, 5 special pieces
    error_clear(&err);
    assert_int_equal(vocabulary_train(c, &settings, &files, NULL, &err), 0);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "11"));
    settings.size = 11;
    assert_int_equal(vocabulary_train(c, &settings, &files, NULL, &err), 11);
    tokenizer_files_free(&files);
    vocabulary_counter_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),      cmocka_unit_test(test_reference),
        cmocka_unit_test(test_size_is_kept), cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_alphabet),     cmocka_unit_test(test_every_word_is_known),
        cmocka_unit_test(test_counting),     cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
