// Text to ids over a small vocabulary that stands in the test: each rule of BERT's clean-up by an example or two.
#include "pieces.h"

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
                                 "un\n##aff\n##able\nunaffable\nthe\n##s\na\n##a\ne\n##e\n!\n,\n[\n]\ncls\n中\n国\n"
                                 "σ\n##σ\n##ς\nß\n##́\nA\nThe\né\n-\n~\nᄒ\n##ᅡ\n##ᆫ\n仮\n##〮\n〮\n";

static tokenizer *load(const char *text, size_t size, bool lower_case) {
    error err = {0};
    tokenizer *t = tokenizer_load_text(text, size, lower_case, "here", &err);
    if (!t) fail_msg("%s", err.text);
    return t;
}

static void check_sized(bool lower_case, const char *text, size_t size, const char *pieces, int64_t replaced) {
    tokenizer *t = load(vocabulary, sizeof vocabulary - 1, lower_case);
    int64_t found_replaced = 0;
    char *found = pieces_of(t, text, size, &found_replaced);
    assert_string_equal(found, pieces);
    assert_int_equal(found_replaced, replaced);
    memory_free(found);
    tokenizer_destroy(t);
}

static void check(const char *text, const char *pieces) { check_sized(true, text, strlen(text), pieces, 0); }

static void check_cased(const char *text, const char *pieces) { check_sized(false, text, strlen(text), pieces, 0); }

static void test_longest_match(void **state) {
    (void)state;
    check("unaffable", "unaffable");
    check("unaffables", "unaffable ##s");
    check("unaffaffable", "un ##aff ##aff ##able");
    check("unaffablex", "[UNK]"); // all of the word, though it begins with a piece
    check("xun", "[UNK]");
    check("s", "[UNK]"); // ##s is no beginning
    check("the UN  theS", "the un the ##s");
}

// Two words that a small table of strings would hold in the same slot under the same tag.
static void test_same_hash(void **state) {
    (void)state;
    const char text[] = "[UNK]\n[CLS]\n[SEP]\nbepje\n";
    tokenizer *t = load(text, sizeof text - 1, true);
    assert_int_equal(tokenizer_id(t, "bepje"), 3);
    assert_int_equal(tokenizer_id(t, "brghj"), -1);
    tokenizer_destroy(t);
}

static void test_nothing(void **state) {
    (void)state;
    check("", "");
    check(" \t\r\n\u00a0\u2003\u3000\u2028", "");
    check_sized(true, "\0\0", 2, "", 0);
}

static void test_appends(void **state) {
    (void)state;
    tokenizer *t = load(vocabulary, sizeof vocabulary - 1, true);
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    int64_t replaced = 5;
    assert_int_equal(tokenizer_encode(t, "the un", 6, &ids, &n, &capacity, NULL), 2);
    assert_int_equal(tokenizer_encode(t, "xx a\xff", 5, &ids, &n, &capacity, &replaced), 2);
    assert_int_equal(n, 4);
    assert_int_equal(replaced, 6); // added to what was there
    const int32_t expected[] = {9, 5, 1, 11};
    assert_memory_equal(ids, expected, sizeof expected);
    memory_free(ids);
    tokenizer_destroy(t);
}

static void test_special_pieces(void **state) {
    (void)state;
    check("[CLS] the[SEP]un[MASK][PAD][UNK]", "[CLS] the [SEP] un [MASK] [PAD] [UNK]");
    check("a[MASK]a", "a [MASK] a"); // a new word begins behind it
    check("[cls]", "[ cls ]");
    check("[[CLS]]", "[ [CLS] ]");
    check("[CLS", "[ cls");
    check("[C\u200dLS]", "[ cls ]"); // looked for before the clean-up
    check_cased("[CLS]", "[CLS]");
    const char without_mask[] = "[UNK]\n[CLS]\n[SEP]\n[\n]\nmask\n";
    tokenizer *t = load(without_mask, sizeof without_mask - 1, true);
    char *found = pieces_of(t, "[MASK]", 6, NULL);
    assert_string_equal(found, "[ mask ]");
    memory_free(found);
    assert_int_equal(tokenizer_special_ids(t).mask, -1);
    assert_int_equal(tokenizer_special_ids(t).pad, -1);
    tokenizer_destroy(t);
}

static void test_punctuation(void **state) {
    (void)state;
    check("the!the", "the ! the");
    check("!!a,", "! ! a ,");
    check("a~a-a", "a ~ a - a");
    check("a\u2260a", "a [UNK] a"); // an equals sign with a stroke: decomposes into "=", which is punctuation
    check("a\u2014a", "a [UNK] a");
    check("a\u20aca", "[UNK]"); // a currency sign is none
}

static void test_ideographs(void **state) {
    (void)state;
    check("a中国a", "a 中 国 a");
    check("\U0002F800", "[UNK]");
    check("仮\u302e", "仮 〮"); // a mark behind an ideograph begins a word
    check_cased("中A国", "中 A 国");
    check("한", "ᄒ ##ᅡ ##ᆫ");
}

static void test_accents(void **state) {
    (void)state;
    check("É é e\u0301 e\u0301\u0323\u0345", "e e e e");
    check("ÀÉ", "a ##e");
    check_cased("é", "é");
    check_cased("e\u0301", "e ##\u0301");
    check_cased("É", "[UNK]");
    check("\u0301", "");
    check("a\u302e", "a"
                     " ##\u302e"); // a spacing mark stays
}

static void test_lower_case(void **state) {
    (void)state;
    check("THE The", "the the");
    check("ΣΣ", "σ ##σ"); // the final sigma too: every character is lower-cased by itself
    check("σς", "σ ##ς");
    check("ß", "ß");
    check_cased("The THE A", "The [UNK] A");
}

static void test_controls(void **state) {
    (void)state;
    check("t\u200bh\u00ad\a"
          "e\ufeff",
          "the");
    check("th\ufffde \ue000the", "the the");
    check("the\xc2\x85the", "[UNK]"); // a control, not white space
    check_sized(true, "t\0he\0 a", 7, "the a", 0);
    check("the\tthe\nthe\rthe", "the the the the");
}

static void test_canonical_order(void **state) {
    (void)state;
    // The dropped mark (class 230) does not keep two marks of classes 224 and 216 from changing places.
    const char text[] = "[UNK]\n[CLS]\n[SEP]\na\n##\U0001d165\n##\u302e\n##\u302f\n";
    tokenizer *t = load(text, sizeof text - 1, true);
    const char *const cases[][2] = {{"a\u302e\u0301\U0001d165", "a ##\U0001d165 ##\u302e"},
                                    {"a\u302f\u302e", "a ##\u302f ##\u302e"}, // of one class: as they come
                                    {"a\u302e\u302f", "a ##\u302e ##\u302f"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *found = pieces_of(t, cases[i][0], strlen(cases[i][0]), NULL);
        assert_string_equal(found, cases[i][1]);
        memory_free(found);
    }
    tokenizer_destroy(t);
}

static void test_invalid_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        int64_t replaced;
    } cases[] = {
        {"th\x80"
         "e",
         4, 1},                        // a continuation by itself
        {"the\xe4\xb8", 5, 1},         // cut short: one for the longest beginning
        {"the\xc0\xaf", 5, 2},         // overlong
        {"the\xe0\x80\x80", 6, 3},     // overlong, three bytes
        {"the\xed\xa0\x80", 6, 3},     // a surrogate
        {"the\xf4\x90\x80\x80", 7, 4}, // above U+10FFFF
        {"the\xf5\x80\x80\x80", 7, 4}, // the first byte of nothing
        {"the\xf0\x9f\x98", 6, 1},     // cut short in four
        {"t\xf8he\xff", 5, 2},
        {"\xf0\x9fthe", 5, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_sized(true, cases[i].text, cases[i].size, "the", cases[i].replaced);
    check_sized(true, "the[C\xffLS]", 9, "the [ cls ]", 1);
}

static void test_long_words(void **state) {
    (void)state;
    char text[4 * 101 + 1] = "";
    for (int i = 0; i < 101; i++) strcat(text, i < 100 ? "a" : "");
    tokenizer *t = load(vocabulary, sizeof vocabulary - 1, true);
    char *found = pieces_of(t, text, 100, NULL);
    assert_int_equal(strlen(found), 1 + 99 * 4);
    memory_free(found);
    tokenizer_destroy(t);
    strcat(text, "a");
    check(text, "[UNK]");
    text[0] = 0;
    for (int i = 0; i < 101; i++) strcat(text, "\u302e");
    check(text, "[UNK]");
    text[0] = 0;
    for (int i = 0; i < 101; i++) strcat(text, "中");
    tokenizer *again = load(vocabulary, sizeof vocabulary - 1, true);
    found = pieces_of(again, text, strlen(text), NULL);
    assert_int_equal(strlen(found), 101 * 3 + 100);
    memory_free(found);
    tokenizer_destroy(again);
}

static void test_asking(void **state) {
    (void)state;
    tokenizer *t = load(vocabulary, sizeof vocabulary - 1, true);
    tokenizer_specials specials = tokenizer_special_ids(t);
    assert_int_equal(specials.pad, 0);
    assert_int_equal(specials.unknown, 1);
    assert_int_equal(specials.begin, 2);
    assert_int_equal(specials.separator, 3);
    assert_int_equal(specials.mask, 4);
    assert_true(tokenizer_lower_case(t));
    for (int32_t id = 0; id < tokenizer_size(t); id++) assert_int_equal(tokenizer_id(t, tokenizer_piece(t, id)), id);
    assert_int_equal(tokenizer_id(t, "##able"), 7);
    assert_int_equal(tokenizer_id(t, "able"), -1);
    assert_null(tokenizer_piece(t, -1));
    assert_null(tokenizer_piece(t, (int32_t)tokenizer_size(t)));
    size_t size;
    assert_memory_equal(tokenizer_text(t, &size), vocabulary, sizeof vocabulary - 1);
    assert_int_equal(size, sizeof vocabulary - 1);
    tokenizer_destroy(t);
}

static void check_error(const char *text, size_t size, const char *expected) {
    error err = {0};
    assert_null(tokenizer_load_text(text, size, true, "v.txt", &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    if (strncmp(err.text, expected, strlen(expected)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err.text, expected);
}

static void test_loading(void **state) {
    (void)state;
    const char duplicate[] = "[UNK]\n[CLS]\n[SEP]\na\nb\na\n";
    check_error(duplicate, sizeof duplicate - 1, "v.txt:6: the piece a is on line 4");
    check_error("", 0, "v.txt:1: the vocabulary is empty");
    check_error("[UNK]\n\n[CLS]\n", 13, "v.txt:2: an empty line");
    check_error("[UNK]\n[CLS]\n\xff\n", 14, "v.txt:3: not UTF-8");
    check_error("[UNK]\n[C\0LS]\n", 13, "v.txt:2: not UTF-8");
    check_error("[UNK]\n[CLS]\na\n", 14, "v.txt:3: the vocabulary ends without the piece [SEP]");
    check_error("[UNK]\na\n[SEP]", 13, "v.txt:3: the vocabulary ends without the piece [CLS]");
    check_error("[CLS]\n[SEP]\n", 12, "v.txt:2: the vocabulary ends without the piece [UNK]");
    error err = {0};
    assert_null(tokenizer_load("/nonexistent/vocab.txt", true, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "/nonexistent/vocab.txt"));
    tokenizer *t = load("[UNK]\r\n[CLS]\r\n[SEP]\r\na", 22, true); // line ends of Windows, no last one
    assert_int_equal(tokenizer_size(t), 4);
    assert_int_equal(tokenizer_id(t, "[SEP]"), 2);
    tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_match),   cmocka_unit_test(test_same_hash),
        cmocka_unit_test(test_nothing),         cmocka_unit_test(test_appends),
        cmocka_unit_test(test_special_pieces),  cmocka_unit_test(test_punctuation),
        cmocka_unit_test(test_ideographs),      cmocka_unit_test(test_accents),
        cmocka_unit_test(test_lower_case),      cmocka_unit_test(test_controls),
        cmocka_unit_test(test_canonical_order), cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_long_words),      cmocka_unit_test(test_asking),
        cmocka_unit_test(test_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
