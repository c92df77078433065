// Fixed samples of what Hugging Face's BertTokenizerFast and RobertaTokenizerFast make of strings (written by
// tests/compare/tokens): random characters of all of Unicode 8 over BERT's and RoBERTa's own vocabularies, and words of
// tests/reference/tokens-text.txt, cut and mixed, over small ones.
#include "../support.h"

#include "tokenizer/tokenizer.h"

#include <jansson.h>

static void check_row(const tokenizer *t, const json_t *row, size_t number) {
    const json_t *text = json_array_get(row, 0), *expected = json_array_get(row, 1);
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    int64_t replaced = 0;
    tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &n, &capacity, &replaced);
    assert_int_equal(replaced, 0);
    bool same = n == json_array_size(expected);
    for (size_t i = 0; same && i < n; i++) same = ids[i] == json_integer_value(json_array_get(expected, i));
    if (!same) fail_msg("text %zu, \"%s\", is tokenized differently", number, json_string_value(text));
    memory_free(ids);
}

static void check_sample(const char *vocabulary, const char *path) {
    error err = {0};
    tokenizer *t = tokenizer_load(vocabulary, true, &err);
    if (!t) fail_msg("%s", err.text);
    json_error_t reason;
    json_t *rows = json_load_file(path, JSON_ALLOW_NUL, &reason);
    if (!rows) fail_msg("%s:%d: %s", path, reason.line, reason.text);
    assert_true(json_array_size(rows) >= 2000);
    for (size_t i = 0; i < json_array_size(rows); i++) check_row(t, json_array_get(rows, i), i);
    json_decref(rows);
    tokenizer_destroy(t);
}

static void test_small_vocabulary(void **state) {
    (void)state;
    check_sample("tests/reference/tokens-vocab.txt", "tests/reference/tokens-small.json");
}

static void test_bert_vocabulary(void **state) {
    (void)state;
    const char *vocabulary = test_data("vocab/bert-uncased/vocab.txt");
    if (!vocabulary) skip();
    check_sample(vocabulary, "tests/reference/tokens-bert.json");
}

static void test_small_bpe(void **state) {
    (void)state;
    check_sample("tests/reference/tokens-bpe", "tests/reference/tokens-bpe.json");
}

static void test_roberta_vocabulary(void **state) {
    (void)state;
    const char *vocabulary = test_data("vocab/roberta");
    if (!vocabulary) skip();
    check_sample(vocabulary, "tests/reference/tokens-roberta.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_vocabulary), cmocka_unit_test(test_bert_vocabulary),
                                       cmocka_unit_test(test_small_bpe), cmocka_unit_test(test_roberta_vocabulary)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
