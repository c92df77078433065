// Full-sentence packing against a naive twin, and batches of sequences.
#include "corpora.h"

typedef struct {
    shards s;
    sequences q;
} packed;

static void pack(packed *p, const char *text, int64_t tokens_per_shard, int64_t length) {
    shards_counts counts[SHARDS_SPLITS];
    write_text(folder, "a.txt", text);
    shards_job job = {.form = DOCUMENTS_BLANK, .tokens_per_shard = tokens_per_shard};
    if (!make_shards(folder, (const char *const[]){"a.txt", NULL}, tok, job, counts, &err)) fail_msg("%s", err.text);
    char *path = memory_format("%s/tokens/train", folder);
    if (!shards_open(&p->s, path, tok, &err) || !sequences_create(&p->q, &p->s, tok, length, &err))
        fail_msg("%s", err.text);
    memory_free(path);
}

static void unpack(packed *p) {
    sequences_destroy(&p->q);
    shards_close(&p->s);
}

static char letter(int32_t id) {
    return id == ID_CLS ? '[' : id == ID_SEP ? '|' : id >= ID_A ? (char)('a' + id - ID_A) : '?';
}

// All sequences as text: [ begins, | separates and ends. Caller frees.
static char *spell_sequences(const sequences *q) {
    char *text = memory_allocate((size_t)q->tokens + 1, 1), *out = text;
    int32_t *ids = memory_allocate((size_t)q->longest, sizeof *ids);
    for (int64_t i = 0; i < q->n; i++) {
        if (!sequences_read(q, i, ids, &err)) fail_msg("%s", err.text);
        for (int32_t k = 0; k < q->list[i].length; k++) *out++ = letter(ids[k]);
    }
    memory_free(ids);
    return text;
}

static void expect(const char *text, int64_t length, const char *wanted) {
    for (int64_t per_shard = 1; per_shard < 100; per_shard *= 3) { // where shards end does not matter
        packed p;
        pack(&p, text, per_shard, length);
        char *got = spell_sequences(&p.q);
        assert_string_equal(got, wanted);
        memory_free(got);
        unpack(&p);
    }
}

// ---- packing -------------------------------------------------------------------------------------------------------

static void test_whole_lines(void **state) {
    (void)state;
    expect("a a\nb b\nc c\n", 6, "[aabb|[cc|");
    expect("a a\nb b\nc c\n", 5, "[aa|[bb|[cc|");
    expect("a a\nb b\nc c\n", 100, "[aabbcc|");
    expect("a\n", 3, "[a|");
}

// A separator between documents, where there is room for it and what follows; none at a sequence's end.
static void test_documents(void **state) {
    (void)state;
    expect("a a\n\nb b\n", 7, "[aa|bb|");
    expect("a a\n\nb b\n", 6, "[aa|[bb|");
    expect("a a a\n\nb\n\nc\n\nd\n", 7, "[aaa|b|[c|d|");
    expect("a\n\nb\n\nc\nd\n\ne\n", 100, "[a|b|cd|e|");
    expect("a a a\n\nb\n", 5, "[aaa|[b|");
}

// Only a line that no sequence could hold is cut: behind the line before it, and where a sequence is full.
static void test_long_lines(void **state) {
    (void)state;
    expect("a a a a a a a\n", 5, "[aaa|[aaa|[a|");
    expect("a\nb b b b b\nc\n", 5, "[abb|[bbb|[c|");
    expect("a\nb b b b\nc\n", 5, "[abb|[bbc|");
    expect("a\n\nb b b b\nc\n", 5, "[a|b|[bbb|[c|");
    expect("a a\n\nb b b b\n", 5, "[aa|[bbb|[b|"); // no room for a separator and a token
    expect("a a a\n\nb b b b\n", 5, "[aaa|[bbb|[b|");
    expect("a a a\n\nb\n", 3, "[a|[a|[a|[b|");
}

// The naive twin: builds the sequences as text from the text, one letter at a time.
static char *pack_naively(const char *text, int64_t length) {
    char *out = memory_allocate(8 * strlen(text) + 8, 1), *to = out;
    int64_t used = 0; // of the open sequence, its begin counted
    bool separate = false;
    for (const char *at = text; *at;) {
        int64_t letters = 0;
        const char *end = at;
        for (; *end != '\n'; end++) letters += *end != ' ';
        if (letters == 0) separate = used > 0;
        if (letters <= length - 2 && used > 0 && used + separate + letters + 1 > length)
            *to++ = '|', used = 0, separate = false;
        for (; at < end; at++) {
            if (*at == ' ') continue;
            if (used > 0 && used + separate + 2 > length) *to++ = '|', used = 0, separate = false;
            if (used == 0) *to++ = '[', used = 1;
            if (separate) *to++ = '|', used++, separate = false;
            *to++ = *at;
            used++;
        }
        at = end + 1;
    }
    if (used > 0) *to++ = '|';
    return out;
}

static char *made_up(uint64_t seed, int documents) {
    random_stream stream = random_stream_create(seed, RANDOM_TEST, 2, 0);
    char *text = memory_allocate((size_t)documents * 400, 1), *out = text;
    uint64_t row = 0;
    for (int d = 0; d < documents; d++, *out++ = '\n')
        for (int line = 1 + (int)(5 * random_uniform(stream, row++, 0)); line > 0; line--, *out++ = '\n')
            for (int word = 1 + (int)(pow(random_uniform(stream, row++, 0), 3) * 35); word > 0; word--) {
                *out++ = (char)('a' + (int)(26 * random_uniform(stream, row++, 0)));
                if (word > 1) *out++ = ' ';
            }
    return text;
}

static void test_against_naive(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        char *text = made_up(seed, 60);
        for (int64_t length = 3; length < 60; length += 1 + length / 3) {
            packed p;
            pack(&p, text, 150, length);
            char *got = spell_sequences(&p.q), *wanted = pack_naively(text, length);
            assert_string_equal(got, wanted);
            // What the table says: consecutive, complete, no longer than wanted.
            int64_t first = 0, tokens = 0, longest = 0;
            for (int64_t i = 0; i < p.q.n; i++) {
                assert_int_equal(p.q.list[i].first, first);
                first += p.q.list[i].tokens;
                tokens += p.q.list[i].length;
                if (p.q.list[i].length > longest) longest = p.q.list[i].length;
            }
            assert_int_equal(first, p.s.counts.tokens);
            assert_int_equal(tokens, p.q.tokens);
            assert_int_equal(longest, p.q.longest);
            assert_true(longest <= length);
            memory_free(got);
            memory_free(wanted);
            unpack(&p);
        }
        memory_free(text);
    }
}

// ---- batches -------------------------------------------------------------------------------------------------------

// Steps take the samples of data_sample, one step behind the other; any step can be had alone.
static void test_samples(void **state) {
    (void)state;
    char *text = made_up(9, 40);
    packed p;
    pack(&p, text, 150, 12);
    batch b = {0};
    for (int64_t step = 9; step >= 0; step--) {
        sequences_sample(&b, &p.q, 3, step, 7);
        int64_t number = 0;
        assert_int_equal(b.n, 7);
        for (int64_t i = 0; i < b.n; i++) {
            assert_int_equal(b.list[i].example, data_sample(3, p.q.n, step * 7 + i));
            assert_int_equal(b.list[i].first, number);
            number += p.q.list[b.list[i].example].length;
        }
    }
    batch_destroy(&b);
    unpack(&p);
    memory_free(text);
}

// However a batch is cut into micro-batches, each token has the same id, position and number.
static void test_micro_batches(void **state) {
    (void)state;
    static const int64_t tokens[] = {16, 40, 1000, 1000}, most[] = {100, 3, 2, 100};
    const size_t sizes = sizeof tokens / sizeof *tokens;
    char *text = made_up(5, 40);
    packed p;
    pack(&p, text, 150, 16);
    batch b = {0};
    sequences_range(&b, &p.q, 2, 20);
    int64_t total = b.list[19].first + p.q.list[21].length;
    int32_t *ids = memory_allocate((size_t)total, sizeof *ids);
    for (int64_t i = 0; i < b.n; i++) assert_true(sequences_read(&p.q, 2 + i, ids + b.list[i].first, &err));
    for (size_t k = 0; k < 2 * sizes; k++) {
        int64_t capacity = tokens[k % sizes], sequences = most[k % sizes], seen = 0;
        micro_batch m = micro_batch_create(capacity, sequences);
        if (k >= sizes) batch_cut(&b, capacity, sequences);
        for (int64_t from = 0, next; from < b.n; from = next) {
            assert_true(sequences_pack(&m, &p.q, &b, from, b.n, &next, &err));
            assert_int_equal(m.sequences, next - from);
            assert_int_equal(m.starts[0], 0);
            assert_int_equal(m.starts[m.sequences], m.tokens);
            // It is full: the next one would not have fitted, or is of another part.
            assert_true(next == b.n || m.sequences == sequences || b.list[next].part != b.list[from].part ||
                        m.tokens + b.list[next].length > capacity);
            for (int64_t i = 0; i < m.sequences; i++) {
                assert_int_equal(m.examples[i], b.list[from + i].example);
                for (int32_t t = m.starts[i]; t < m.starts[i + 1]; t++, seen++) {
                    int64_t number = b.list[from + i].first + t - m.starts[i];
                    assert_int_equal(m.ids[t], ids[number]);
                    assert_int_equal(m.numbers[t], number);
                    assert_int_equal(m.positions[t], t - m.starts[i]);
                    assert_int_equal(m.types[t], 0);
                }
            }
        }
        assert_int_equal(seen, total);
        micro_batch_destroy(&m);
    }
    memory_free(ids);
    batch_destroy(&b);
    unpack(&p);
    memory_free(text);
}

// A shard that goes bad while it is read ends the packing with an error that names it.
static void test_reading_fails(void **state) {
    (void)state;
    packed p;
    pack(&p, "a a a\n\nb b\n", 1, 8);
    char *path = memory_format("%s/tokens/train/shard-00001.h5", folder);
    h5_close(p.s.list[1].file, &err);
    p.s.list[1].file = NULL;
    assert_int_equal(truncate(path, 600), 0);
    batch b = {0};
    int64_t next;
    micro_batch m = micro_batch_create(16, 4);
    sequences_range(&b, &p.q, 0, p.q.n);
    assert_false(sequences_pack(&m, &p.q, &b, 0, b.n, &next, &err));
    assert_non_null(strstr(err.text, path));
    micro_batch_destroy(&m);
    batch_destroy(&b);
    memory_free(path);
    unpack(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_whole_lines), TEST(test_documents),     TEST(test_long_lines),    TEST(test_against_naive),
        TEST(test_samples),     TEST(test_micro_batches), TEST(test_reading_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
