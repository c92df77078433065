// Byte-level BPE over small vocabularies that stand in the test: each rule by an example or two, merging against a
// naive twin, files that are wrong, and training.
#include "pieces.h"

#include "storage/storage.h"

// U+0120 (Ġ) stands for a space, U+010A (Ċ) for a newline.
static const char all_pieces[] =
    "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"a\": 4, \"b\": 5, \"c\": 6, \"Ġ\": 7, \"Ċ\": 8, "
    "\"'\": 9, \"s\": 10, \"1\": 11, \"<\": 12, \">\": 13, \"Ã\": 14, \"©\": 15, \"ï\": 16, \"¿\": 17, \"½\": 18, "
    "\"Ā\": 19, \"Ā\\u0120\": 20, \"ab\": 21, \"bc\": 22, \"abc\": 23, \"Ġab\": 24, \"'s\": 25, \"Ã©\": 26, "
    "\"ĠĠ\": 27, \"ï¿½\": 28, \"¿½\": 29, \"ss\": 30, \"á\": 31, \"ł\": 32, \"İ\": 33, \"ĠĠĠ\": 34, \"<mask>\": 35}";
static const char all_merges[] = "#version: 0.2\nb c\na b\na bc\nĠ ab\n' s\nÃ ©\nĠ Ġ\n¿ ½\nï ¿½\ns s\nĠĠ Ġ\n";

static tokenizer_files files_of(const char *pieces, const char *merges) {
    return (tokenizer_files){
        {{"vocab.json", (char *)pieces, strlen(pieces)}, {"merges.txt", (char *)merges, strlen(merges)}}, 2};
}

static tokenizer *load(const char *pieces, const char *merges) {
    error err = {0};
    tokenizer_files files = files_of(pieces, merges);
    tokenizer *t = tokenizer_load_files(&files, true, &err);
    if (!t) fail_msg("%s", err.text);
    return t;
}

// ---- what becomes of a text ----------------------------------------------------------------------------------------

// Twice with the same tokenizer: the second time out of its memory for words.
static void check_sized(const char *text, size_t size, const char *pieces, int64_t replaced) {
    tokenizer *t = load(all_pieces, all_merges);
    for (int again = 0; again < 2; again++) {
        int64_t found_replaced = 0;
        char *found = pieces_of(t, text, size, &found_replaced);
        assert_string_equal(found, pieces);
        assert_int_equal(found_replaced, replaced);
        memory_free(found);
    }
    tokenizer_destroy(t);
}

static void check(const char *text, const char *pieces) { check_sized(text, strlen(text), pieces, 0); }

static void test_merges_by_rank(void **state) {
    (void)state;
    check("", "");
    check("ab", "ab");
    check("abc", "abc"); // b c comes first, then a bc
    check("aabcb", "a abc b");
    check("ababc", "ab abc");
    check("a", "a");
    check("abx", "ab"); // no piece for x, which is left out
    check("axb", "ab"); // and then a and b are neighbours, as in Hugging Face's
    check("x", "");
}

static void test_words(void **state) {
    (void)state;
    check("ab ab", "ab Ġab");
    check("ab  ab", "ab Ġ Ġab"); // the last space belongs to the word
    check("ab   ab", "ab ĠĠ Ġab");
    check("ab   ", "ab ĠĠĠ"); // at the end all of them are one
    check("ab \n", "ab Ġ Ċ");
    check("a's", "a 's");
    check("'ss", "'s s"); // ss is a piece, but not across words
    check("a1b", "a 1 b");
    check("a<b", "a < b");
    check("\u00e9", "Ã©");
}

// White space since Unicode 6.3 without U+180E, which is then like punctuation.
static void test_not_a_space(void **state) {
    (void)state;
    check("\u180e a", "á ł İ Ġ a"); // a word, and a word with its space
    check(" \u180e", "Ġ á ł İ");
    check("  \u180e", "Ġ Ġ á ł İ");
}

static void test_special_pieces(void **state) {
    (void)state;
    check("<s>ab</s>", "<s> ab </s>");
    check(" <s> ", "Ġ <s> Ġ");
    check("ab <mask> ab", "ab <mask> Ġab"); // white space before the mask belongs to it
    check("ab \n\u00a0\u3000\u2028\xc2\x85<mask>", "ab <mask>");
    check("ab \u180e<mask>", "ab Ġ á ł İ <mask>");
    check("<mask> <mask>  <pad>", "<mask> <mask> ĠĠ <pad>");
    check("<mask", "< a s");
    check("<<s>", "< <s>");
    check("<unk>", "<unk>");
}

static void test_invalid_utf8(void **state) {
    (void)state;
    check_sized("a\xff"
                "b",
                3, "a ï¿½ b", 1);
    check_sized("\xe2\x82"
                "ab\xc3",
                5, "ï¿½ ab ï¿½", 2);
    check_sized("\x80\x80", 2, "ï¿½ ï¿½", 2);
    check_sized("\x80<mask>\xff <mask>", 15, "ï¿½ <mask> ï¿½ <mask>", 2);
    check_sized("\0 a", 3, "Ā Ġ a", 0); // Ā is the NUL byte
    check("\ufffd", "ï¿½");
}

static void test_asking(void **state) {
    (void)state;
    tokenizer *t = load(all_pieces, all_merges);
    tokenizer_specials s = tokenizer_special_ids(t);
    assert_int_equal(s.begin, 0);
    assert_int_equal(s.pad, 1);
    assert_int_equal(s.separator, 2);
    assert_int_equal(s.unknown, 3);
    assert_int_equal(s.mask, 35);
    assert_int_equal(s.between, 2);
    assert_int_equal(s.types, 1);
    assert_false(tokenizer_lower_case(t));
    assert_int_equal(tokenizer_size(t), 36);
    assert_int_equal(tokenizer_id(t, "Ġab"), 24);
    assert_int_equal(tokenizer_id(t, " ab"), -1);
    assert_null(tokenizer_piece(t, 36));
    const tokenizer_files *files = tokenizer_files_of(t);
    assert_int_equal(files->n, 2);
    assert_string_equal(files->file[0].name, "vocab.json");
    assert_string_equal(files->file[1].name, "merges.txt");
    size_t size;
    const char *text = tokenizer_text(t, &size);
    assert_int_equal(size, sizeof all_pieces - 1 + sizeof all_merges - 1);
    assert_memory_equal(text, all_pieces, sizeof all_pieces - 1);
    assert_memory_equal(text + sizeof all_pieces - 1, all_merges, sizeof all_merges - 1);
    assert_int_equal(files->file[0].size, sizeof all_pieces - 1);
    assert_int_equal(files->file[1].size, sizeof all_merges - 1);
    assert_memory_equal(files->file[1].text, all_merges, sizeof all_merges - 1);
    tokenizer_destroy(t);
}

// ---- merging against a naive twin ----------------------------------------------------------------------------------

#define LETTERS 3
#define RULES 40
#define LONGEST 48 // letters of a word
#define PIECE 8    // letters of a piece

// A merge: the letters of both pieces, of which the first `left` are the left one's.
typedef struct {
    char text[PIECE + 1];
    size_t left, size;
} rule;

typedef struct {
    rule rules[RULES];
    int n;
} rule_list;

static uint32_t draw(uint64_t *drawn, uint32_t below) {
    uint32_t block[4];
    random_block(block, random_stream_create(9, RANDOM_TEST, 0, 0), (*drawn)++, 0, 0);
    return block[0] % below;
}

// The merge of text [left] and what is behind it, size letters in all; -1 if there is none.
static int find_rule(const rule_list *r, const char *text, size_t left, size_t size) {
    for (int i = 0; i < r->n; i++)
        if (r->rules[i].left == left && r->rules[i].size == size && !memcmp(r->rules[i].text, text, size)) return i;
    return -1;
}

// Appends a letter or what an earlier merge makes; false if that is too long.
static bool draw_side(rule *new, const rule_list *r, uint64_t *drawn) {
    int from = (int)draw(drawn, (uint32_t)(LETTERS + r->n)) - LETTERS;
    const char letter = (char)('a' + LETTERS + from), *text = from < 0 ? &letter : r->rules[from].text;
    size_t size = from < 0 ? 1 : r->rules[from].size;
    if (new->size + size > PIECE) return false;
    memcpy(new->text + new->size, text, size);
    new->size += size;
    return true;
}

// Merges in an order that nothing was trained in: some are never reached, and several make the same piece.
static void draw_rules(rule_list *r, uint64_t *drawn) {
    r->n = 0;
    for (int tries = 0; tries < 200 && r->n < RULES; tries++) {
        rule new = {.size = 0};
        if (!draw_side(&new, r, drawn)) continue;
        new.left = new.size;
        if (draw_side(&new, r, drawn) && find_rule(r, new.text, new.left, new.size) < 0) r->rules[r->n++] = new;
    }
    for (int i = 0; i < r->n; i++) { // another order
        int other = (int)draw(drawn, (uint32_t)r->n);
        rule kept = r->rules[i];
        r->rules[i] = r->rules[other];
        r->rules[other] = kept;
    }
}

static tokenizer *load_rules(const rule_list *r) {
    char pieces[8192] = "{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2, \"a\": 3, \"b\": 4, \"c\": 5", merges[8192] = "";
    int next = 6;
    for (int i = 0; i < r->n; i++) {
        const rule *rule = &r->rules[i];
        char key[PIECE + 4];
        snprintf(key, sizeof key, "\"%s\":", rule->text);
        if (!strstr(pieces, key)) sprintf(pieces + strlen(pieces), ", %s %d", key, next++);
        sprintf(merges + strlen(merges), "%.*s %s\n", (int)rule->left, rule->text, rule->text + rule->left);
    }
    strcat(pieces, "}");
    return load(pieces, merges);
}

// Merges the first pair of the lowest rank, until there is none; the pieces joined by spaces.
static void merge_naively(char *out, const rule_list *r, const char *word) {
    size_t n = strlen(word), ends[LONGEST + 1]; // piece i ends at ends[i + 1]
    for (size_t i = 0; i <= n; i++) ends[i] = i;
    for (;;) {
        int best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int rank = find_rule(r, word + ends[i], ends[i + 1] - ends[i], ends[i + 2] - ends[i]);
            if (rank >= 0 && (best < 0 || rank < best)) best = rank, at = i;
        }
        if (best < 0) break;
        memmove(ends + at + 1, ends + at + 2, (n - at - 1) * sizeof *ends);
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        if (i) *out++ = ' ';
        for (size_t letter = ends[i]; letter < ends[i + 1]; letter++) *out++ = word[letter];
    }
    *out = 0;
}

static void test_against_twin(void **state) {
    (void)state;
    uint64_t drawn = 0;
    for (int round = 0; round < 60; round++) {
        rule_list r;
        draw_rules(&r, &drawn);
        tokenizer *t = load_rules(&r);
        for (int w = 0; w < 60; w++) {
            char word[LONGEST + 1] = "", expected[2 * LONGEST + 2];
            int size = 1 + (int)draw(&drawn, LONGEST - 1);
            for (int i = 0; i < size; i++) word[i] = (char)('a' + draw(&drawn, 1 + (uint32_t)round % LETTERS));
            merge_naively(expected, &r, word);
            char *found = pieces_of(t, word, strlen(word), NULL);
            assert_string_equal(found, expected);
            memory_free(found);
        }
        tokenizer_destroy(t);
    }
}

// A line without a space is one word: time must not grow with its square.
static void test_long_words(void **state) {
    (void)state;
    enum { SIZE = 3000000 };
    tokenizer *t = load(all_pieces, all_merges);
    char *text = memory_allocate(SIZE, 1);
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    for (int i = 0; i < SIZE; i++) text[i] = "abc"[i % 3];
    assert_int_equal(tokenizer_encode(t, text, SIZE, &ids, &n, &capacity, NULL), SIZE / 3);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids[i], 23);
    memset(text, ' ', SIZE);
    n = 0;
    assert_int_equal(tokenizer_encode(t, text, SIZE, &ids, &n, &capacity, NULL), SIZE / 2); // from the left, two by two
    memory_free(ids);
    memory_free(text);
    tokenizer_destroy(t);
}

// More words than are remembered, so that they drive each other out.
static void test_many_words(void **state) {
    (void)state;
    tokenizer *t = load(all_pieces, all_merges);
    for (int again = 0; again < 2; again++)
        for (int number = 0; number < 200000; number++) {
            char word[24] = "", *out = word;
            int32_t expected[20], *ids = NULL;
            size_t n = 0, capacity = 0, wanted = 0;
            for (int bits = number; bits > 0; bits /= 2) { // no merge makes of s and c anything
                *out++ = bits % 2 ? 's' : 'c';
                if (bits % 2 && wanted && expected[wanted - 1] == 10)
                    expected[wanted - 1] = 30; // but of two s
                else
                    expected[wanted++] = bits % 2 ? 10 : 6;
            }
            tokenizer_encode(t, word, strlen(word), &ids, &n, &capacity, NULL);
            assert_int_equal(n, wanted);
            if (n) assert_memory_equal(ids, expected, n * sizeof *ids);
            memory_free(ids);
        }
    tokenizer_destroy(t);
}

// ---- loading -------------------------------------------------------------------------------------------------------

static void check_error(const char *pieces, const char *merges, const char *expected) {
    error err = {0};
    tokenizer_files files = files_of(pieces, merges);
    assert_null(tokenizer_load_files(&files, true, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    if (strncmp(err.text, expected, strlen(expected)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err.text, expected);
}

#define FEW "\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2"

static void test_wrong_files(void **state) {
    (void)state;
    check_error("{}", "", "vocab.json:1: the vocabulary is empty");
    check_error("[1]", "", "vocab.json:1: not an object");
    check_error("{" FEW ",\n\"a\"}", "", "vocab.json:2: ");
    check_error("{" FEW ", \"<s>\": 3}", "", "vocab.json:1: duplicate object key");
    check_error("{" FEW ", \"a\": 2}", "", "vocab.json: of 4 pieces none has the id ");
    check_error("{" FEW ", \"a\": 4}", "", "vocab.json: of 4 pieces none has the id 3");
    check_error("{" FEW ", \"a\": -1}", "", "vocab.json: of 4 pieces none has the id 3");
    check_error("{" FEW ", \"a\": \"3\"}", "", "vocab.json: of 4 pieces none has the id 3");
    check_error("{\"<s>\": 0, \"</s>\": 1}", "", "vocab.json: the vocabulary has no piece <unk>");
    check_error("{\"<s>\": 0, \"<unk>\": 1}", "", "vocab.json: the vocabulary has no piece </s>");
    check_error("{\"</s>\": 0, \"<unk>\": 1}", "", "vocab.json: the vocabulary has no piece <s>");
    check_error(all_pieces, "a b\nb\n", "merges.txt:2: expected two pieces with one space between them");
    check_error(all_pieces, "a  b\n", "merges.txt:1: expected two");
    check_error(all_pieces, "a b c\n", "merges.txt:1: expected two");
    check_error(all_pieces, "#version: 0.2\n\na b\n", "merges.txt:2: expected two");
    check_error(all_pieces, "z b\n", "merges.txt:1: the vocabulary lacks the first piece");
    check_error(all_pieces, "a z\n", "merges.txt:1: the vocabulary lacks the second piece");
    check_error(all_pieces, "a c\n", "merges.txt:1: the vocabulary lacks the two pieces joined");
    check_error(all_pieces, "a b\nb c\na b\n", "merges.txt:3: a merge that came before");
}

static void test_lists_of_files(void **state) {
    (void)state;
    error err = {0};
    tokenizer_files none = {0}, one = files_of(all_pieces, all_merges), swapped = files_of(all_pieces, all_merges);
    one.n = 1;
    swapped.file[0].name = "merges.txt";
    swapped.file[1].name = "vocab.json";
    const tokenizer_files *wrong[] = {&none, &one, &swapped};
    for (int i = 0; i < 3; i++) {
        error_clear(&err);
        assert_null(tokenizer_load_files(wrong[i], true, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_non_null(strstr(err.text, "a vocabulary is a vocab.txt, or a vocab.json and a merges.txt"));
    }
}

static void write_in(const char *folder, const char *name, const char *text) {
    error err = {0};
    char *path = memory_format("%s/%s", folder, name);
    if (!file_write_atomic(path, text, strlen(text), &err)) fail_msg("%s", err.text);
    memory_free(path);
}

// Loads folder/name and returns the number of pieces, 0 for an error.
static int64_t load_path(const char *folder, const char *name, error *err) {
    char *path = memory_format("%s%s%s", folder, *name ? "/" : "", name);
    error_clear(err);
    tokenizer *t = tokenizer_load(path, true, err);
    int64_t pieces = t ? tokenizer_size(t) : 0;
    tokenizer_destroy(t);
    memory_free(path);
    return pieces;
}

static void test_paths(void **state) {
    (void)state;
    error err = {0};
    char *folder = test_folder();
    assert_int_equal(load_path(folder, "", &err), 0);
    assert_non_null(strstr(err.text, "holds no vocabulary: neither vocab.json nor vocab.txt"));
    write_in(folder, "vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\n");
    assert_int_equal(load_path(folder, "", &err), 4);
    write_in(folder, "vocab.json", all_pieces);
    assert_int_equal(load_path(folder, "", &err), 0);
    assert_non_null(strstr(err.text, "merges.txt"));
    write_in(folder, "merges.txt", "a b\nz z\n");
    assert_int_equal(load_path(folder, "vocab.json", &err), 0);
    char *place = memory_format("%s/merges.txt:2: ", folder);
    assert_memory_equal(err.text, place, strlen(place));
    memory_free(place);
    write_in(folder, "merges.txt", all_merges);
    assert_int_equal(load_path(folder, "vocab.json", &err), 36);
    assert_int_equal(load_path(folder, "", &err), 36); // vocab.json comes first
    assert_int_equal(load_path(folder, "vocab.txt", &err), 4);
    write_in(folder, "other.json", all_pieces);
    assert_int_equal(load_path(folder, "other.json", &err), 36);
    if (!file_remove_tree(folder, &err)) fail_msg("%s", err.text);
    memory_free(folder);
}

// ---- training ------------------------------------------------------------------------------------------------------

static tokenizer_files train(const char *text, size_t size, int64_t wanted, int64_t min_frequency, int64_t *pieces) {
    error err = {0};
    vocabulary_counter *c = vocabulary_counter_create(TOKENIZER_BPE, true);
    const vocabulary_settings settings = {.size = wanted, .min_frequency = min_frequency};
    tokenizer_files files;
    const char *line;
    for (size_t at = 0, length; text_next_line(text, size, &at, &line, &length);) vocabulary_count(c, line, length);
    *pieces = vocabulary_train(c, &settings, &files, NULL, &err);
    if (!*pieces) fail_msg("%s", err.text);
    vocabulary_counter_destroy(c);
    return files;
}

static void test_training_by_hand(void **state) {
    (void)state;
    int64_t pieces;
    // u+g occurs 5 times, then h+ug 4 times; of hug+s and Ġ+hug, which occur twice, hug+s is first in byte order, and
    // with it Ġ+hug occurs once.
    static const char text[] = "hug hug\nhugs hugs\nug\n";
    tokenizer_files files = train(text, strlen(text), 1000, 2, &pieces);
    assert_string_equal(files.file[1].text, "#version: 0.2\nu g\nh ug\nhug s\n");
    assert_int_equal(pieces, 5 + 256 + 3);
    error err = {0};
    tokenizer *t = tokenizer_load_files(&files, true, &err);
    if (!t) fail_msg("%s", err.text);
    static const char *const first[] = {"<s>", "<pad>", "</s>", "<unk>", "!"};
    for (int32_t i = 0; i < 5; i++) assert_string_equal(tokenizer_piece(t, i), first[i]);
    assert_string_equal(tokenizer_piece(t, 4 + 188), "Ā"); // behind the 188 bytes that Latin-1 prints
    assert_string_equal(tokenizer_piece(t, 4 + 256), "ug");
    assert_string_equal(tokenizer_piece(t, (int32_t)pieces - 1), "<mask>");
    tokenizer_destroy(t);
    tokenizer_files_free(&files);
}

static char *read_file(const char *path, size_t *size) {
    error err = {0};
    char *text = text_read(path, size, &err);
    if (!text) fail_msg("%s", err.text);
    return text;
}

// tests/compare/tokens.py counts every pair anew for every merge.
static void test_training_reference(void **state) {
    (void)state;
    size_t size;
    int64_t pieces;
    char *text = read_file("tests/reference/tokens-text.txt", &size);
    tokenizer_files files = train(text, size, 900, 2, &pieces);
    for (size_t i = 0; i < 2; i++) {
        char *path = memory_format("tests/reference/tokens-bpe/%s", files.file[i].name);
        char *expected = read_file(path, NULL);
        assert_string_equal(files.file[i].text, expected);
        assert_int_equal(files.file[i].size, strlen(expected));
        memory_free(expected);
        memory_free(path);
    }
    tokenizer_files_free(&files);
    memory_free(text);
}

static void test_training_size(void **state) {
    (void)state;
    size_t size;
    char *text = read_file("tests/reference/tokens-text.txt", &size);
    for (int64_t wanted = 261; wanted < 500; wanted += 60) {
        int64_t pieces;
        error err = {0};
        tokenizer_files files = train(text, size, wanted, 1, &pieces);
        tokenizer *t = tokenizer_load_files(&files, true, &err);
        if (!t) fail_msg("%s", err.text);
        assert_int_equal(pieces, wanted);
        assert_int_equal(tokenizer_size(t), wanted);
        tokenizer_destroy(t);
        tokenizer_files_free(&files);
    }
    memory_free(text);
}

static void test_training_errors(void **state) {
    (void)state;
    error err = {0};
    tokenizer_files files;
    vocabulary_settings settings = {.size = 260, .min_frequency = 1};
    vocabulary_counter *c = vocabulary_counter_create(TOKENIZER_BPE, true);
    assert_int_equal(vocabulary_count(c, "<s><mask></s>", 13), 0); // special pieces are no words
    assert_int_equal(vocabulary_train(c, &settings, &files, NULL, &err), 0);
    assert_non_null(strstr(err.text, "no word"));
    assert_int_equal(vocabulary_count(c, "The the \xff", 9), 1);
    assert_int_equal(vocabulary_words(c), 3);
    error_clear(&err);
    assert_int_equal(vocabulary_train(c, &settings, &files, NULL, &err), 0);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "261"));
    vocabulary_counter_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_by_rank),   cmocka_unit_test(test_words),
        cmocka_unit_test(test_not_a_space),      cmocka_unit_test(test_special_pieces),
        cmocka_unit_test(test_invalid_utf8),     cmocka_unit_test(test_asking),
        cmocka_unit_test(test_against_twin),     cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_many_words),       cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_lists_of_files),   cmocka_unit_test(test_paths),
        cmocka_unit_test(test_training_by_hand), cmocka_unit_test(test_training_reference),
        cmocka_unit_test(test_training_size),    cmocka_unit_test(test_training_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
