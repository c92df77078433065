// paf tokenize on several ranks: the same bytes as on one, errors that all ranks share, files that only one rank sees.
// ranks: 1 2 3

// A check that fails on one rank ends all (REQUIRE), so that the others do not wait for it.
#include "../support.h"

#include "prepare/prepare.h"
#include "storage/storage.h"

static comm *world, *alone;
static char *folder; // the same on every rank
static bool root;

static char *in(const char *name) { return memory_format("%s/%s", folder, name); }

static void write_text(const char *name, const char *text) {
    error err = {0};
    char *path = in(name);
    if (!file_write_atomic(path, text, strlen(text), &err)) FATAL("%s", err.text);
    memory_free(path);
}

// Texts of very different sizes: files 0 to 7 have that many documents, the last one 200.
static void write_texts(void) {
    write_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n##a\n##b\n##c\n##d\n");
    random_stream stream = random_stream_create(1, RANDOM_TEST, 0, 0);
    uint64_t row = 0;
    for (int file = 0; file < 9; file++) {
        char name[32], *text = memory_allocate(200 * 64, 1), *out = text;
        snprintf(name, sizeof name, "text/%d.txt", file);
        for (int d = file < 8 ? file : 200; d > 0; d--, *out++ = '\n')
            for (int line = 1 + (int)(3 * random_uniform(stream, row++, 0)); line > 0; line--, *out++ = '\n')
                for (int n = 1 + (int)(15 * random_uniform(stream, row++, 0)); n > 0; n--)
                    *out++ = "abcd "[(int)(5 * random_uniform(stream, row++, 0))];
        write_text(name, text);
        memory_free(text);
    }
}

static tokenize_settings settings_for(const char *output) {
    tokenize_settings s = {0};
    option_table table = {tokenize_options, &s};
    option_set_defaults(&table, 1);
    snprintf(s.vocab, sizeof s.vocab, "%s/vocab.txt", folder);
    snprintf(s.output, sizeof s.output, "%s/%s", folder, output);
    s.tokens_per_shard = 300;
    return s;
}

static bool tokenize(comm *c, const tokenize_settings *s, const char *path, error *err) {
    char *paths[] = {in(path)};
    bool good = prepare_tokens(c, s, paths, 1, err);
    memory_free(paths[0]);
    return good;
}

static bool same_folders(const char *a, const char *b) {
    char *command = memory_format("diff -r '%s/%s' '%s/%s'", folder, a, folder, b);
    int code = system(command);
    memory_free(command);
    return code == 0;
}

static void same_bytes(void **state) {
    (void)state;
    error err = {0};
    tokenize_settings together = settings_for("together/"), single = settings_for("single"); // a slash does not matter
    for (int again = 0; again < 2; again++) { // the second time, over what is there
        REQUIRE(tokenize(world, &together, "text", &err));
        if (root) {
            REQUIRE(tokenize(alone, &single, "text", &err));
            REQUIRE(same_folders("together", "single"));
        }
        comm_barrier(world);
    }
    char *shard = in("together/train/shard-00003.h5"), *heldout = in("together/heldout/shard-00000.h5");
    REQUIRE(file_exists(shard) && file_exists(heldout)); // there was something to share out
    memory_free(shard);
    memory_free(heldout);
}

// A byte-level BPE vocabulary whose merges are these.
static void write_bpe(const char *merges) {
    write_text("bpe/vocab.json",
               "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"a\": 4, \"b\": 5, \"\u0120\": 6, "
               "\"ab\": 7, \"\u0120b\": 8, \"<mask>\": 9}");
    write_text("bpe/merges.txt", merges);
}

// Root only: the shards are of the vocabulary that is there now, or are not.
static bool opens(const char *vocab, const char *path, shards *s, error *err) {
    error_clear(err);
    tokenizer *tok = tokenizer_load(vocab, true, err);
    REQUIRE(tok);
    bool good = shards_open(s, path, tok, err);
    tokenizer_destroy(tok);
    return good;
}

// A folder and its vocab.json name the same vocabulary. Lines are as the text has them: one begins with a space, two
// begin without and get none. The merges belong to what identifies the vocabulary.
static void byte_level(void **state) {
    (void)state;
    static const int32_t wanted[] = {7, 8, 8, 6, 7, 5};
    static const int64_t starts[] = {0, 2, 5, 6};
    tokenize_settings of_folder = settings_for("of_folder"), of_file = settings_for("of_file");
    of_folder.heldout = of_file.heldout = 0;
    snprintf(of_folder.vocab, sizeof of_folder.vocab, "%s/bpe", folder);
    snprintf(of_file.vocab, sizeof of_file.vocab, "%s/bpe/vocab.json", folder);
    if (root) write_bpe("#version: 0.2\na b\n\u0120 b\n"), write_text("line.txt", "ab b\n b ab\r\nb\n");
    comm_barrier(world);
    error err = {0};
    REQUIRE(tokenize(world, &of_folder, "line.txt", &err) && tokenize(world, &of_file, "line.txt", &err));
    if (!root) return;
    REQUIRE(same_folders("of_folder", "of_file"));
    char *path = in("of_folder/train");
    shards s;
    int32_t ids[6];
    int64_t *lines, *documents;
    REQUIRE(opens(of_folder.vocab, path, &s, &err) && s.counts.tokens == 6 && s.counts.lines == 3);
    REQUIRE(shards_read(&s, 0, 6, ids, &err) && shards_read_boundaries(&s, 0, &lines, &documents, &err));
    REQUIRE(!memcmp(ids, wanted, sizeof wanted) && !memcmp(lines, starts, sizeof starts));
    memory_free(lines);
    memory_free(documents);
    shards_close(&s);
    write_bpe("#version: 0.2\n\u0120 b\na b\n");
    REQUIRE(!opens(of_folder.vocab, path, &s, &err) && err.kind == ERROR_INPUT);
    REQUIRE(strstr(err.text, "the vocabulary is not the shards'"));
    memory_free(path);
}

static void refused(const tokenize_settings *s, const char *path, const char *text) {
    error err = {0};
    REQUIRE(!tokenize(world, s, path, &err));
    if (err.kind != ERROR_INPUT || !strstr(err.text, text)) FATAL("%s, not %s", err.text, text);
    char *draft = memory_format("%s.tmp", s->output);
    REQUIRE(!file_exists(draft));
    memory_free(draft);
    comm_barrier(world);
}

static void errors_are_shared(void **state) {
    (void)state;
    tokenize_settings s = settings_for("refused");
    refused(&s, "none", "there is no ");
    refused(&s, "text/0.txt", "there is no text in the files that were named");
    s.vocab[0] = 0;
    refused(&s, "text", "tokenize.vocab is not set");
    REQUIRE(!file_exists(s.output));
}

// A file that is gone when its rank comes to it: the last one, so that on several ranks it is not the root that
// notices.
static void a_rank_fails(void **state) {
    (void)state;
    tokenize_settings s = settings_for("refused");
    char *path = in("text/9.txt");
    if (root) REQUIRE(symlink("/proc/self/mem", path) == 0); // a file that can be opened and not be read
    comm_barrier(world);
    refused(&s, "text", "cannot read ");
    if (root) REQUIRE(unlink(path) == 0);
    comm_barrier(world);
    memory_free(path);
}

// Ranks on several machines may see different folders under one name.
static void other_files(void **state) {
    (void)state;
    if (comm_size(world) == 1) skip();
    tokenize_settings s = settings_for("refused");
    refused(&s, comm_rank(world) == 1 ? "text/1.txt" : "text", "rank 1 sees other files than rank 0");
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    alone = comm_split(world, comm_rank(world), 0);
    root = comm_rank(world) == 0;
    log_set_level(LOG_ERROR);
    char *mine = root ? test_folder() : NULL;
    folder = comm_broadcast_text(world, mine, 0);
    memory_free(mine);
    if (root) {
        error err = {0};
        char *texts = in("text"), *bpe = in("bpe");
        REQUIRE(file_make_folders(texts, &err) && file_make_folders(bpe, &err));
        memory_free(texts);
        memory_free(bpe);
        write_texts();
    }
    comm_barrier(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),   cmocka_unit_test(byte_level),  cmocka_unit_test(errors_are_shared),
        cmocka_unit_test(a_rank_fails), cmocka_unit_test(other_files),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_barrier(world);
    if (root) file_remove_tree(folder, &(error){0});
    memory_free(folder);
    comm_free(alone);
    comm_finish();
    return failed;
}
