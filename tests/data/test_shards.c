// Token shards: documents of text files, what comes out of them, and what is refused.
#include "corpora.h"

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void make(const char *const *files, shards_job job) {
    shards_counts counts[SHARDS_SPLITS];
    error_clear(&err);
    if (!make_shards(folder, files, tok, job, counts, &err)) fail_msg("%s", err.text);
}

// Shards of one text are these.
static void expect(document_form form, const char *text, const char *wanted) {
    write_text(folder, "a.txt", text);
    make(FILES("a.txt"), (shards_job){.form = form, .tokens_per_shard = 1000});
    char *got = spell(folder, "train", tok);
    assert_string_equal(got, wanted);
    memory_free(got);
}

// ---- documents -----------------------------------------------------------------------------------------------------

static void test_forms(void **state) {
    (void)state;
    expect(DOCUMENTS_FILE, "a b\n\nc\n", "ab/c/.|");
    expect(DOCUMENTS_BLANK, "a b\n\nc\n", "ab/.c/.|");
    expect(DOCUMENTS_AUTO, "\n\na b\nc\n \t\r\n\n\nd", "ab/c/.d/.|");
    expect(DOCUMENTS_AUTO, "<doc id=\"1\">\na\n\nb\n</doc>\n<doc id=\"2\">\nc\n</doc>\n", "a/b/.c/.|");
    expect(DOCUMENTS_DOC, "a\n<doc >\nb\n</doc>\n\nc\n", "a/.b/.c/.|"); // what stands outside is not lost
    expect(DOCUMENTS_AUTO, "\xef\xbb\xbf<doc >\na\n\nb\n</doc>\n", "a/b/.|");
    expect(DOCUMENTS_AUTO, "\n <doc >\n", "---/.|"); // not at the start of its line: ordinary text
}

static void test_line_ends(void **state) {
    (void)state;
    expect(DOCUMENTS_BLANK, "a\r\n\r\nb\r\nc\r\n", "a/.b/c/.|");
    expect(DOCUMENTS_DOC, "<doc >\r\na\r\n</doc>\r\nb", "a/.b/.|");
    expect(DOCUMENTS_BLANK, "a\nb", "a/b/.|");
}

// Lines of control characters only make no token, and are no lines; NUL bytes end nothing.
static void test_lines_without_tokens(void **state) {
    (void)state;
    expect(DOCUMENTS_FILE, "a\n\x01\x02\nb\n", "a/b/.|");
    expect(DOCUMENTS_BLANK, "a\n\n\x01\n\nb\n", "a/.b/.|");
    static const char bytes[] = "a\0b c\n";
    write_bytes(folder, "n.txt", bytes, sizeof bytes - 1);
    make(FILES("n.txt"), (shards_job){.tokens_per_shard = 10});
    char *got = spell(folder, "train", tok);
    assert_string_equal(got, "-c/.|"); // BERT drops the NUL, and "ab" is no piece
    memory_free(got);
}

static void test_invalid_utf8_is_counted(void **state) {
    (void)state;
    shards_counts counts[SHARDS_SPLITS];
    write_text(folder, "a.txt", "a \xff b\n\nc \xc3\n\nd\n");
    assert_true(make_shards(folder, FILES("a.txt"), tok, (shards_job){.tokens_per_shard = 2}, counts, &err));
    assert_int_equal(counts[SHARDS_TRAIN].replaced, 2);
    assert_int_equal(counts[SHARDS_TRAIN].documents, 3);
    char *path = memory_format("%s/tokens/train", folder);
    shards s;
    assert_true(shards_open(&s, path, tok, &err));
    assert_int_equal(s.counts.replaced, 2);
    shards_close(&s);
    memory_free(path);
}

// ---- shards --------------------------------------------------------------------------------------------------------

// A shard is full as soon as it has as many tokens as it may; documents are not divided.
static void test_where_shards_end(void **state) {
    (void)state;
    static const char text[] = "a a\n\nb\n\nc c\nc c c\n\nd\n\ne\n";
    static const struct {
        int64_t tokens;
        const char *wanted;
    } cases[] = {{1, "aa/.|b/.|cc/ccc/.|d/.|e/.|"}, {2, "aa/.|b/.cc/ccc/.|d/.e/.|"}, {3, "aa/.b/.|cc/ccc/.|d/.e/.|"},
                 {8, "aa/.b/.cc/ccc/.|d/.e/.|"},    {9, "aa/.b/.cc/ccc/.d/.|e/.|"},  {10, "aa/.b/.cc/ccc/.d/.e/.|"}};
    write_text(folder, "a.txt", text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(FILES("a.txt"), (shards_job){.tokens_per_shard = cases[i].tokens});
        char *got = spell(folder, "train", tok);
        assert_string_equal(got, cases[i].wanted);
        memory_free(got);
    }
}

static int compare_folders(const char *a, const char *b) {
    char *command = memory_format("diff -r '%s' '%s'", a, b);
    int code = system(command);
    memory_free(command);
    return code;
}

// A text of n made-up documents of up to 4 lines of up to 9 letters.
static void write_made_up(const char *name, int n, uint64_t seed) {
    random_stream stream = random_stream_create(seed, RANDOM_TEST, 0, 0);
    char *text = memory_allocate((size_t)n * 100, 1), *out = text;
    uint64_t row = 0;
    for (int d = 0; d < n; d++, *out++ = '\n')
        for (int line = 1 + (int)(4 * random_uniform(stream, row++, 0)); line > 0; line--, *out++ = '\n')
            for (int word = 1 + (int)(9 * random_uniform(stream, row++, 0)); word > 0; word--) {
                *out++ = (char)('a' + (int)(26 * random_uniform(stream, row++, 0)));
                *out++ = ' ';
            }
    write_text(folder, name, text);
    memory_free(text);
}

// The same bytes from any number of ranks, some of which have no file, and again over what is there.
static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d.txt", i);
        write_made_up(name, i == 2 ? 0 : 20 * i + 3, (uint64_t)i);
    }
    char *made = memory_format("%s/tokens", folder), *first = memory_format("%s/first", folder);
    for (int ranks = 1; ranks <= 7; ranks++) {
        make(FILES("0.txt", "1.txt", "2.txt", "3.txt", "4.txt"),
             (shards_job){.ranks = ranks, .heldout = 0.3, .tokens_per_shard = 200});
        if (ranks == 1)
            assert_true(file_rename(made, first, &err));
        else
            assert_int_equal(compare_folders(first, made), 0);
    }
    char *got = spell(folder, "train", tok);
    assert_true(strchr(got, '|') && strchr(strchr(got, '|') + 1, '|')); // several shards were compared
    memory_free(got);
    memory_free(made);
    memory_free(first);
}

// ---- held-out documents --------------------------------------------------------------------------------------------

static void test_heldout_share(void **state) {
    (void)state;
    write_made_up("a.txt", 4000, 1);
    shards_counts counts[SHARDS_SPLITS], less[SHARDS_SPLITS];
    shards_job job = {.heldout = 0.1, .tokens_per_shard = 100000};
    assert_true(make_shards(folder, FILES("a.txt"), tok, job, counts, &err));
    assert_int_equal(counts[SHARDS_TRAIN].documents + counts[SHARDS_HELDOUT].documents, 4000);
    assert_in_range(counts[SHARDS_HELDOUT].documents, 320, 480); // 400 +- 4 standard deviations
    char *large = spell(folder, "heldout", tok);
    job.heldout = 0.05;
    assert_true(make_shards(folder, FILES("a.txt"), tok, job, less, &err));
    assert_in_range(less[SHARDS_HELDOUT].documents, 140, 260);
    char *small = spell(folder, "heldout", tok), *rest;
    for (char *text = strtok_r(small, "|", &rest), *at = strtok_r(text, ".", &rest); at;
         at = strtok_r(NULL, ".", &rest))
        assert_non_null(strstr(large, at)); // who is held out of a small share is held out of a larger one
    memory_free(small);
    memory_free(large);
}

// What the page says: the first 8 digits of the checksum of the lines that are not blank. Line ends do not matter.
static void test_heldout_rule(void **state) {
    (void)state;
    char text[] = "? b\nc\n", checksum[CHECKSUM_SIZE];
    for (char letter = 'a'; letter <= 'z'; letter++) {
        text[0] = letter;
        checksum_bytes(checksum, text, strlen(text));
        checksum[8] = 0;
        double place = (double)strtoul(checksum, NULL, 16) / 4294967296.0;
        document d = {.text = text, .size = strlen(text)};
        assert_int_equal(corpus_split(&d, place), SHARDS_TRAIN);
        assert_int_equal(corpus_split(&d, place + 1e-9), SHARDS_HELDOUT);
    }
    document d = {0};
    corpus_reader r;
    write_text(folder, "a.txt", "\r\nx b\r\n\t\r\nc");
    char *path = memory_format("%s/a.txt", folder);
    assert_true(corpus_open(&r, path, DOCUMENTS_FILE, &err) && corpus_next(&r, &d, &err));
    assert_int_equal(d.size, 6);
    assert_memory_equal(d.text, "x b\nc\n", 6);
    assert_false(corpus_next(&r, &d, &err));
    corpus_close(&r);
    memory_free(d.text);
    memory_free(path);
}

// ---- reading -------------------------------------------------------------------------------------------------------

static char *shards_path(const char *part) { return memory_format("%s/tokens/%s", folder, part); }

static shards open_train(void) {
    shards s;
    char *path = shards_path("train");
    if (!shards_open(&s, path, tok, &err)) fail_msg("%s", err.text);
    memory_free(path);
    return s;
}

// Any range, across more shards than may be open at a time.
static void test_ranges(void **state) {
    (void)state;
    write_made_up("a.txt", 300, 3);
    make(FILES("a.txt"), (shards_job){.tokens_per_shard = 20});
    shards s = open_train();
    assert_true(s.n > 100);
    int64_t n = s.counts.tokens;
    int32_t *all = memory_allocate((size_t)n, sizeof *all), *part = memory_allocate((size_t)n, sizeof *part);
    assert_true(shards_read(&s, 0, n, all, &err));
    random_stream stream = random_stream_create(1, RANDOM_TEST, 1, 0);
    for (uint64_t i = 0; i < 500; i++) {
        int64_t first = (int64_t)(random_uniform(stream, i, 0) * (double)n);
        int64_t count = (int64_t)(random_uniform(stream, i, 1) * (double)(i % 2 ? n - first : 20));
        if (count > n - first) count = n - first;
        assert_true(shards_read(&s, first, count, part, &err));
        assert_memory_equal(part, all + first, (size_t)count * sizeof *part);
    }
    assert_true(s.open <= 64);
    assert_true(shards_verify(&s, 0, 2, &err) && shards_verify(&s, 1, 2, &err));
    memory_free(all);
    memory_free(part);
    shards_close(&s);
}

// ---- what is refused -----------------------------------------------------------------------------------------------

static void refused(const char *part, const tokenizer *with, const char *format) {
    shards s;
    char *path = shards_path(part);
    error_clear(&err);
    assert_false(shards_open(&s, path, with, &err));
    assert_error(&err, format, folder);
    memory_free(path);
}

static void test_another_vocabulary(void **state) {
    (void)state;
    expect(DOCUMENTS_AUTO, "a\n", "a/.|");
    size_t size;
    const char *text = tokenizer_text(tok, &size);
    char *other = memory_string(text);
    other[size - 2] = '9'; // z
    tokenizer *same_size = tokenizer_load_text(other, size, true, "other", &err);
    tokenizer *cased = tokenizer_load_text(text, size, false, "cased", &err);
    shards s;
    char *path = shards_path("train");
    assert_false(shards_open(&s, path, same_size, &err));
    assert_non_null(strstr(err.text,
                           "/tokens/train/tokens.json: the vocabulary is not the shards': they were made with "
                           "31 pieces, lower-cased (xxh3-128 "));
    assert_int_equal(err.kind, ERROR_INPUT);
    error_clear(&err);
    assert_false(shards_open(&s, path, cased, &err));
    assert_non_null(strstr(err.text, "not with 31, cased ("));
    memory_free(path);
    memory_free(other);
    tokenizer_destroy(same_size);
    tokenizer_destroy(cased);
}

static void cut(const char *name, off_t size) {
    char *path = memory_format("%s/tokens/train/%s", folder, name);
    assert_int_equal(truncate(path, size), 0);
    memory_free(path);
}

static void test_damage(void **state) {
    (void)state;
    write_text(folder, "a.txt", "a\n\nb\n\nc\n");
    shards_job job = {.tokens_per_shard = 1};
    make(FILES("a.txt"), job);
    cut("shard-00001.h5", 700);
    error_clear(&err);
    shards s;
    char *path = shards_path("train");
    assert_false(shards_open(&s, path, tok, &err));
    assert_non_null(strstr(err.text, "/tokens/train/shard-00001.h5 is cut off: it has 700 bytes, not "));
    assert_int_equal(err.kind, ERROR_INPUT);
    memory_free(path);

    make(FILES("a.txt"), job);
    char *name = memory_format("%s/tokens/train/shard-00002.h5", folder);
    assert_int_equal(unlink(name), 0);
    refused("train", tok, "%s/tokens/train/shard-00002.h5 is missing; make the shards again with paf tokenize");

    make(FILES("a.txt"), job);
    cut("tokens.json", file_size(name) / 100);
    refused("train", tok,
            "%s/tokens/train/tokens.json does not match its checksum in %s/tokens/train/tokens.xxh3; make the shards "
            "again with paf tokenize");
    memory_free(name);
    refused("heldout", tok, "cannot open %s/tokens/heldout/tokens.json: No such file or directory");
}

// One byte of a shard changed: its size says nothing, its checksum does.
static void test_verify(void **state) {
    (void)state;
    write_text(folder, "a.txt", "a\n\nb\n\nc\n");
    make(FILES("a.txt"), (shards_job){.tokens_per_shard = 1});
    char *path = memory_format("%s/tokens/train/shard-00001.h5", folder);
    FILE *file = fopen(path, "r+b");
    fseek(file, -3, SEEK_END);
    int c = fgetc(file);
    fseek(file, -3, SEEK_END);
    fputc(c ^ 1, file);
    fclose(file);
    shards s = open_train();
    assert_true(shards_verify(&s, 0, 2, &err)); // shards 0 and 2
    assert_false(shards_verify(&s, 1, 2, &err));
    assert_error(&err,
                 "%s/tokens/train/shard-00001.h5 does not match its checksum; make the shards again with paf "
                 "tokenize",
                 folder);
    shards_close(&s);
    memory_free(path);
}

// A shard and its tokens.json made by hand: what they hold is looked at, whoever has written them.
static void write_strange(const int32_t ids[3], const int64_t lines[3], const int64_t documents[2], int64_t tokens) {
    char *path = memory_format("%s/tokens/train/shard-00000.h5", folder);
    write_text(folder, "tokens/train/x", "");
    h5_file *file = h5_create(path, &err);
    assert_true(file && h5_write(file, "ids", H5_INT32, 1, (int64_t[]){3}, ids, &err) &&
                h5_write(file, "lines", H5_INT64, 1, (int64_t[]){3}, lines, &err) &&
                h5_write(file, "documents", H5_INT64, 1, (int64_t[]){2}, documents, &err));
    assert_true(h5_close(file, &err));
    json_t *manifest =
        json_pack("{s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:[{s:s, s:I, s:s, s:I, s:I, s:I}]}", "format", SHARDS_FORMAT,
                  "version", SHARDS_VERSION, "vocabulary", shards_vocabulary(tok), "documents", (json_int_t)1, "lines",
                  (json_int_t)2, "tokens", (json_int_t)3, "replaced", (json_int_t)0, "shards", "file", "shard-00000.h5",
                  "bytes", (json_int_t)file_size(path), "xxh3_128", "00000000000000000000000000000000", "documents",
                  (json_int_t)1, "lines", (json_int_t)2, "tokens", (json_int_t)tokens);
    size_t size;
    char *text = json_format(manifest, true, &size), *seal = checksum_seal(SHARDS_FILE, text, size);
    write_text(folder, "tokens/train/tokens.json", text);
    write_text(folder, "tokens/train/tokens.xxh3", seal);
    json_decref(manifest);
    memory_free(text);
    memory_free(seal);
    memory_free(path);
}

static void test_another_version(void **state) {
    (void)state;
    write_text(folder, "a.txt", "a\n\nb\n\nc\n");
    make(FILES("a.txt"), (shards_job){.tokens_per_shard = 1});
    char *path = shards_path("train"), *at = memory_format("%s/tokens.json", path);
    size_t size;
    char *text = text_read(at, &size, &err), *version = strstr(text, "\"version\": 1");
    version[strlen("\"version\": ")] = '7';
    char *seal = checksum_seal(SHARDS_FILE, text, size);
    write_text(folder, "tokens/train/tokens.json", text);
    write_text(folder, "tokens/train/tokens.xxh3", seal);
    shards s;
    assert_false(shards_open(&s, path, tok, &err));
    assert_int_equal(err.kind, ERROR_VERSION);
    assert_non_null(strstr(err.text, "/train/tokens.json was written by format version 7; this paf reads up to 1: "));
    error_clear(&err);
    memory_free(seal);
    memory_free(text);
    memory_free(at);
    memory_free(path);
}

static void test_strangers(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 6, 7}, high[] = {5, 31, 7}, low[] = {-1, 5, 5};
    static const int64_t lines[] = {0, 1, 3}, documents[] = {0, 2};
    static const int64_t bad_lines[][3] = {{0, 0, 3}, {0, 3, 3}, {1, 2, 3}, {0, 2, 4}, {0, -1, 3}};
    int32_t got[3];
    write_strange(ids, lines, documents, 3);
    shards s = open_train();
    assert_true(shards_read(&s, 0, 3, got, &err));
    assert_memory_equal(got, ids, sizeof got);
    shards_close(&s);

    write_strange(high, lines, documents, 3);
    s = open_train();
    assert_true(shards_read(&s, 0, 1, got, &err));
    assert_false(shards_read(&s, 1, 2, got, &err));
    assert_error(
        &err,
        "%s/tokens/train/shard-00000.h5 holds the id 31, which no piece of the vocabulary has; make the shards "
        "again with paf tokenize",
        folder);
    shards_close(&s);
    error_clear(&err);
    write_strange(low, lines, documents, 3);
    s = open_train();
    assert_false(shards_read(&s, 0, 1, got, &err));
    shards_close(&s);

    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++) {
        error_clear(&err);
        write_strange(ids, bad_lines[i], documents, 3);
        s = open_train();
        int64_t *got_lines, *got_documents;
        assert_false(shards_read_boundaries(&s, 0, &got_lines, &got_documents, &err));
        assert_error(&err,
                     "%s/tokens/train/shard-00000.h5: \"lines\" are no boundaries of 2 parts; make the shards again "
                     "with paf tokenize",
                     folder);
        shards_close(&s);
    }
    error_clear(&err);
    write_strange(ids, lines, documents, 4);
    refused("train", tok, "%s/tokens/train/tokens.json: its sums are not those of its shards");
    write_strange(ids, lines, documents, 1);
    refused("train", tok, "%s/tokens/train/tokens.json: what it says of shard-00000.h5 cannot be");
    write_strange(ids, lines, documents, INT64_C(1) << 40); // more than the file has room for
    refused("train", tok, "%s/tokens/train/tokens.json: what it says of shard-00000.h5 cannot be");
}

static void test_nothing_to_write(void **state) {
    (void)state;
    shards_counts counts[SHARDS_SPLITS];
    shards_job job = {.tokens_per_shard = 10};
    write_text(folder, "a.txt", "a\n");
    make(FILES("a.txt"), job);
    write_text(folder, "empty.txt", " \n\n\x01\n");
    assert_false(make_shards(folder, FILES("empty.txt", "empty.txt"), tok, job, counts, &err));
    assert_error(&err, "there is no text in the files that were named: nothing to write", folder);
    error_clear(&err);
    job.heldout = 1;
    assert_false(make_shards(folder, FILES("a.txt"), tok, job, counts, &err));
    assert_error(&err,
                 "every document (1) fell to the held-out part, none is left to train on; --tokenize.heldout=0 holds "
                 "none out",
                 folder);
    error_clear(&err);
    job.heldout = 1e-9;
    assert_false(make_shards(folder, FILES("a.txt"), tok, job, counts, &err));
    assert_error(&err, "no document (of 1) fell to the held-out part; --tokenize.heldout=0 holds none out", folder);
    assert_int_equal(err.kind, ERROR_INPUT);
    error_clear(&err);
    assert_false(make_shards(folder, FILES("a.txt", "none.txt"), tok, job, counts, &err));
    assert_error(&err, "cannot open %s/none.txt: No such file or directory", folder);
    // What was there is as it was, and nothing else is.
    char *got = spell(folder, "train", tok), *draft = memory_format("%s/tokens.tmp", folder);
    assert_string_equal(got, "a/.|");
    assert_false(file_exists(draft));
    memory_free(got);
    memory_free(draft);
}

// A folder of someone else's is not replaced, whatever its parts are called.
static void test_what_is_not_ours(void **state) {
    (void)state;
    static const struct {
        const char *file, *message;
    } cases[] = {{"tokens/thesis.txt", "%s/tokens/thesis.txt is not of token shards and would be lost: name another "
                                       "--tokenize.output"},
                 {"tokens/train/images", "%s/tokens/train is not of token shards and would be lost: name another "
                                         "--tokenize.output"},
                 {"tokens.tmp/notes", "%s/tokens.tmp/notes is not of token shards and would be lost: name another "
                                      "--tokenize.output"},
                 {"tokens.old/notes", "%s/tokens.old/notes is not of token shards and would be lost: name another "
                                      "--tokenize.output"}};
    shards_counts counts[SHARDS_SPLITS];
    write_text(folder, "a.txt", "a\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(folder, cases[i].file, "dear");
        error_clear(&err);
        assert_false(make_shards(folder, FILES("a.txt"), tok, (shards_job){.tokens_per_shard = 10}, counts, &err));
        assert_error(&err, cases[i].message, folder);
        char *path = memory_format("%s/%s", folder, cases[i].file),
             *top = memory_format("%s/%s", folder, cases[i].file);
        top[strlen(folder) + 1 + strcspn(cases[i].file, "/")] = 0;
        assert_int_equal(file_size(path), 4);
        error_clear(&err);
        assert_true(file_remove_tree(top, &err));
        memory_free(path);
        memory_free(top);
    }
}

// What a writer that was killed left: its draft goes, the shards that it was about to replace come back.
static void test_after_a_killed_writer(void **state) {
    (void)state;
    expect(DOCUMENTS_AUTO, "a\n", "a/.|");
    char *made = memory_format("%s/tokens", folder), *old = memory_format("%s/tokens.old", folder);
    assert_true(file_rename(made, old, &err));
    write_text(folder, "tokens.tmp/spool/00000.tokens", "half");
    shards_counts counts[SHARDS_SPLITS];
    write_text(folder, "empty.txt", "");
    assert_false(make_shards(folder, FILES("empty.txt"), tok, (shards_job){.tokens_per_shard = 10}, counts, &err));
    char *got = spell(folder, "train", tok);
    assert_string_equal(got, "a/.|");
    memory_free(got);
    error_clear(&err);
    expect(DOCUMENTS_AUTO, "b\n", "b/.|");
    size_t n;
    char **names = file_list(folder, &n, &err);
    assert_int_equal(n, 3); // a.txt empty.txt tokens
    while (n > 0) memory_free(names[--n]);
    memory_free(names);
    memory_free(made);
    memory_free(old);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_forms),
        TEST(test_line_ends),
        TEST(test_lines_without_tokens),
        TEST(test_invalid_utf8_is_counted),
        TEST(test_where_shards_end),
        TEST(test_ranks_do_not_matter),
        TEST(test_heldout_share),
        TEST(test_heldout_rule),
        TEST(test_ranges),
        TEST(test_another_vocabulary),
        TEST(test_damage),
        TEST(test_another_version),
        TEST(test_verify),
        TEST(test_strangers),
        TEST(test_nothing_to_write),
        TEST(test_what_is_not_ours),
        TEST(test_after_a_killed_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
