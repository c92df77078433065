// Dynamic masking: how many tokens, which, what becomes of them, and that no packing changes any of it.
#include "files.h"

// ---- vocabularies: single letters, each once as the beginning of a word and once inside one -------------------------

enum { LETTERS = 26 };

typedef struct {
    tokenizer *tok;
    int32_t begin, separator, unknown, mask;
    int32_t begins, continues; // the first piece of each kind
} vocabulary;

static vocabulary wordpiece(void) {
    char text[1024] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (int i = 0; i < LETTERS; i++) sprintf(text + strlen(text), "%c\n", 'a' + i);
    for (int i = 0; i < LETTERS; i++) sprintf(text + strlen(text), "##%c\n", 'a' + i);
    error err = {0};
    vocabulary v = {.tok = tokenizer_load_text(text, strlen(text), true, "the test's vocabulary", &err),
                    .unknown = 1,
                    .begin = 2,
                    .separator = 3,
                    .mask = 4,
                    .begins = 5,
                    .continues = 31};
    if (!v.tok) FATAL("%s", err.text);
    return v;
}

static vocabulary bpe(void) {
    char text[2048] = "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3", merges[] = "#version: 0.2\n";
    for (int i = 0; i < LETTERS; i++) sprintf(text + strlen(text), ", \"%c\": %d", 'a' + i, 4 + i);
    for (int i = 0; i < LETTERS; i++) sprintf(text + strlen(text), ", \"\u0120%c\": %d", 'a' + i, 30 + i);
    strcat(text, ", \"<mask>\": 56}");
    error err = {0};
    tokenizer_files files = {{{"vocab.json", text, strlen(text)}, {"merges.txt", merges, strlen(merges)}}, 2};
    vocabulary v = {.tok = tokenizer_load_files(&files, false, &err),
                    .begin = 0,
                    .separator = 2,
                    .unknown = 3,
                    .continues = 4,
                    .begins = 30,
                    .mask = 56};
    if (!v.tok) FATAL("%s", err.text);
    return v;
}

static bool is_ordinary(const vocabulary *v, int32_t id) {
    return (id >= v->begins && id < v->begins + LETTERS) || (id >= v->continues && id < v->continues + LETTERS);
}

// ---- corpora: sequences whose words are known ----------------------------------------------------------------------

// text: a character a token, '<' begins, '>' separates, '?' is unknown, '#' a literal mask, 'A' begins a word and 'a'
// goes on with it, '\n' ends a sequence. A word that goes on behind a special token is one of its own.
typedef struct {
    dataset d;
    int32_t *word; // [tokens] the number of the token's word, -1 where it is special
    int32_t words;
} corpus;

static int32_t piece_of(const vocabulary *v, char c) {
    switch (c) {
    case '<':
        return v->begin;
    case '>':
        return v->separator;
    case '?':
        return v->unknown;
    case '#':
        return v->mask;
    default:
        return c >= 'a' ? v->continues + c - 'a' : v->begins + c - 'A';
    }
}

static corpus corpus_of(const vocabulary *v, const char *text) {
    size_t size = strlen(text);
    corpus c = {.word = memory_allocate(size, sizeof *c.word)};
    c.d.starts = memory_allocate(size + 1, sizeof *c.d.starts);
    c.d.second = memory_allocate(size, sizeof *c.d.second);
    c.d.ids = memory_allocate(size, sizeof *c.d.ids);
    int64_t t = 0;
    bool inside = false;
    for (const char *at = text; *at; at++) {
        if (*at == '\n') {
            int64_t length = t - c.d.starts[c.d.n];
            if (length > c.d.longest) c.d.longest = length;
            c.d.second[c.d.n] = (int32_t)length;
            c.d.starts[++c.d.n] = t;
            continue;
        }
        bool special = strchr("<>?#", *at);
        if (!special && !(inside && *at >= 'a')) c.words++;
        inside = !special;
        c.word[t] = special ? -1 : c.words - 1;
        c.d.ids[t++] = piece_of(v, *at);
    }
    return c;
}

static void corpus_destroy(corpus *c) {
    dataset_destroy(&c->d);
    memory_free(c->word);
}

// n sequences of 0 to 60 tokens between special ones: words of 1 to 4 pieces, now and then an unknown one, a literal
// mask or a separator, and some that begin inside a word. Caller frees.
static char *made_up(int64_t n, uint64_t seed) {
    char *text = memory_allocate((size_t)n * 70, 1), *at = text;
    random_stream stream = random_stream_create(seed, RANDOM_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits[4];
        random_block(bits, stream, (uint64_t)i, 0, 0);
        int length = (int)(bits[0] % 61), word = bits[1] % 3 == 0;
        *at++ = '<';
        for (int k = 0; k < length; k++) {
            random_block(bits, stream, (uint64_t)i, (uint32_t)k + 1, 0);
            if (bits[0] % 40 == 0) {
                *at++ = ">?#"[bits[1] % 3];
                word = bits[2] % 2; // may a piece that goes on with a word follow?
            } else if (word && word < 4 && bits[1] % 2) {
                *at++ = (char)('a' + bits[2] % LETTERS);
                word++;
            } else {
                *at++ = (char)('A' + bits[2] % LETTERS);
                word = 1;
            }
        }
        *at++ = '>';
        *at++ = '\n';
    }
    *at = 0;
    return text;
}

// ---- masking a corpus, by token of it ------------------------------------------------------------------------------

typedef struct {
    bool *chosen;   // [tokens]
    int32_t *ids;   // [tokens] afterwards
    int64_t *count; // [sequences]
    int64_t n;
} outcome;

static outcome outcome_create(const corpus *c) {
    size_t tokens = (size_t)c->d.starts[c->d.n];
    return (outcome){memory_allocate(tokens, sizeof(bool)), memory_allocate(tokens, sizeof(int32_t)),
                     memory_allocate((size_t)c->d.n, sizeof(int64_t)), 0};
}

static void outcome_destroy(outcome *o) {
    memory_free(o->chosen);
    memory_free(o->ids);
    memory_free(o->count);
}

// Adds a masked micro-batch, and holds it against what stood there: rows ascend, labels are the old ids, specials are
// not chosen, nothing else is changed, replacements are the mask or an ordinary piece.
static void collect(outcome *o, const vocabulary *v, const corpus *c, const micro_batch *b, const masked_tokens *t) {
    int64_t next = 0;
    for (int64_t s = 0; s < b->sequences; s++) {
        for (int64_t i = b->starts[s]; i < b->starts[s + 1]; i++) {
            int64_t at = c->d.starts[b->examples[s]] + i - b->starts[s];
            int32_t before = c->d.ids[at];
            o->ids[at] = b->ids[i];
            o->chosen[at] = next < t->n && t->rows[next] == i;
            if (!o->chosen[at]) {
                assert_int_equal(b->ids[i], before);
                continue;
            }
            assert_int_equal(t->labels[next++], before);
            assert_true(is_ordinary(v, before));
            assert_true(b->ids[i] == v->mask || is_ordinary(v, b->ids[i]));
            o->count[b->examples[s]]++;
        }
    }
    assert_int_equal(next, t->n); // all rows were met, in this order
    o->n += t->n;
}

static random_stream stream_of(uint64_t step) { return random_stream_create(11, RANDOM_MASKING, step, 0); }

// The whole corpus as one step's batch, in micro-batches of at most so many tokens and sequences.
static outcome apply(const vocabulary *v, const corpus *c, masking *m, uint64_t step, int64_t tokens,
                     int64_t sequences) {
    outcome o = outcome_create(c);
    batch b = {0};
    batch_range(&b, &c->d, 0, c->d.n);
    micro_batch micro = micro_batch_create(tokens, sequences);
    masked_tokens masked = masked_tokens_create(masking_capacity(m, tokens, sequences));
    for (int64_t next = 0; next < b.n;) {
        next = micro_batch_pack(&micro, &c->d, &b, next, b.n);
        masking_apply(m, &masked, &micro, stream_of(step));
        assert_in_range(masked.n, 0, masking_capacity(m, micro.tokens, micro.sequences));
        collect(&o, v, c, &micro, &masked);
    }
    masked_tokens_destroy(&masked);
    micro_batch_destroy(&micro);
    batch_destroy(&b);
    return o;
}

static outcome apply_whole(const vocabulary *v, const corpus *c, masking *m, uint64_t step) {
    return apply(v, c, m, step, c->d.starts[c->d.n], c->d.n);
}

static masking masking_of(const vocabulary *v, double share, bool whole_words) {
    error err = {0};
    masking m;
    if (!masking_create(&m, v->tok, share, whole_words, &err)) FATAL("%s", err.text);
    return m;
}

// Every case runs with both kinds of vocabulary, by pieces and by whole words.
typedef struct {
    vocabulary v;
    corpus c;
    bool whole_words;
} setting;

static void with_all(void (*check)(const setting *), const char *text) {
    for (int kind = 0; kind < 4; kind++) {
        setting s = {.v = kind & 1 ? bpe() : wordpiece(), .whole_words = kind & 2};
        s.c = corpus_of(&s.v, text);
        check(&s);
        corpus_destroy(&s.c);
        tokenizer_destroy(s.v.tok);
    }
}

static void with_made_up(void (*check)(const setting *), int64_t n) {
    char *text = made_up(n, 3);
    with_all(check, text);
    memory_free(text);
}

// Is a frequency out of n what its probability makes likely? Five deviations: never by chance, with fixed seeds.
static void assert_frequency(int64_t count, int64_t n, double probability) {
    double expected = (double)n * probability, deviation = sqrt(expected * (1 - probability));
    if (!(fabs((double)count - expected) <= 5 * deviation + 1e-9))
        fail_msg("%lld of %lld, expected %.0f +- %.0f", (long long)count, (long long)n, expected, deviation);
}

// ---- how many ------------------------------------------------------------------------------------------------------

static int64_t ordinary_tokens(const corpus *c, int64_t sequence) {
    int64_t n = 0;
    for (int64_t t = c->d.starts[sequence]; t < c->d.starts[sequence + 1]; t++) n += c->word[t] >= 0;
    return n;
}

static void check_counts(const setting *s) {
    static const double shares[] = {0, 0.15, 0.4, 1};
    for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
        masking m = masking_of(&s->v, shares[k], s->whole_words);
        outcome o = apply_whole(&s->v, &s->c, &m, 1);
        for (int64_t i = 0; i < s->c.d.n; i++) {
            int64_t n = ordinary_tokens(&s->c, i), least = (int64_t)(shares[k] * (double)n);
            int64_t most = shares[k] < 1 && n ? least + 1 : n;
            if (least < 1) least = n > 0;
            assert_in_range(o.count[i], s->whole_words ? 0 : least, most);
            if (shares[k] == 1) assert_int_equal(o.count[i], n);
        }
        outcome_destroy(&o);
        masking_destroy(&m);
    }
}

static void test_counts(void **state) {
    (void)state;
    with_made_up(check_counts, 300);
}

// Over many sequences of n tokens the mean is share n, and both neighbours of it occur as often as that takes.
static void test_mean_count(void **state) {
    (void)state;
    static const int lengths[] = {1, 6, 7, 20, 37, 128};
    vocabulary v = wordpiece();
    masking m = masking_of(&v, 0.15, false);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        enum { SEQUENCES = 2000 };
        int n = lengths[k];
        char *text = memory_allocate((size_t)SEQUENCES * (size_t)(n + 3) + 1, 1), *at = text;
        for (int i = 0; i < SEQUENCES; i++) {
            *at++ = '<';
            for (int j = 0; j < n; j++) *at++ = (char)('A' + j % LETTERS);
            at += sprintf(at, ">\n");
        }
        corpus c = corpus_of(&v, text);
        outcome o = apply_whole(&v, &c, &m, (uint64_t)n);
        double mean = fmax(0.15 * n, 1);
        int64_t upper = 0;
        for (int i = 0; i < SEQUENCES; i++) upper += o.count[i] == (int64_t)mean + 1;
        assert_frequency(upper, SEQUENCES, mean - floor(mean));
        assert_close("masked a sequence", (double)o.n / SEQUENCES, mean, 5 * 0.5 / sqrt(SEQUENCES) + 1e-9);
        outcome_destroy(&o);
        corpus_destroy(&c);
        memory_free(text);
    }
    masking_destroy(&m);
    tokenizer_destroy(v.tok);
}

// ---- which ---------------------------------------------------------------------------------------------------------

// Every place of a sequence is as likely as any other, and which is chosen has nothing to do with the piece there.
static void test_every_place_alike(void **state) {
    (void)state;
    enum { STEPS = 4000, TOKENS = 20 };
    vocabulary v = wordpiece();
    corpus c = corpus_of(&v, "<AbCdEfGhIjKlMnOpQrSt>\n");
    masking m = masking_of(&v, 0.2, false);
    int64_t count[TOKENS + 2] = {0};
    for (uint64_t step = 0; step < STEPS; step++) {
        outcome o = apply_whole(&v, &c, &m, step);
        for (int t = 0; t < TOKENS + 2; t++) count[t] += o.chosen[t];
        outcome_destroy(&o);
    }
    for (int t = 1; t <= TOKENS; t++) assert_frequency(count[t], STEPS, 0.2);
    corpus_destroy(&c);
    masking_destroy(&m);
    tokenizer_destroy(v.tok);
}

// Whole words: all of a word or nothing; never more than the number that is drawn, which single pieces show, for it is
// the same; and no word is left out that would still have fitted.
static void check_whole_words(const setting *s) {
    if (!s->whole_words) return;
    masking pieces = masking_of(&s->v, 0.15, false), words = masking_of(&s->v, 0.15, true);
    outcome number = apply_whole(&s->v, &s->c, &pieces, 5), o = apply_whole(&s->v, &s->c, &words, 5);
    int32_t *size = memory_allocate((size_t)s->c.words, sizeof *size);
    int32_t *chosen = memory_allocate((size_t)s->c.words, sizeof *chosen);
    int64_t long_words = 0;
    for (int64_t t = 0; t < s->c.d.starts[s->c.d.n]; t++) {
        if (s->c.word[t] < 0) continue;
        size[s->c.word[t]]++;
        chosen[s->c.word[t]] += o.chosen[t];
    }
    for (int64_t i = 0; i < s->c.d.n; i++) {
        assert_in_range(o.count[i], 0, number.count[i]);
        for (int64_t t = s->c.d.starts[i]; t < s->c.d.starts[i + 1]; t++) {
            int32_t w = s->c.word[t];
            if (w < 0) continue;
            if (chosen[w])
                assert_int_equal(chosen[w], size[w]);
            else
                assert_true(size[w] > number.count[i] - o.count[i]);
            long_words += chosen[w] > 2;
        }
    }
    assert_true(long_words > 20);
    memory_free(size);
    memory_free(chosen);
    outcome_destroy(&number);
    outcome_destroy(&o);
    masking_destroy(&pieces);
    masking_destroy(&words);
}

static void test_whole_words(void **state) {
    (void)state;
    with_made_up(check_whole_words, 300);
}

// What has nothing to choose from: special tokens alone, and a word that is longer than the number.
static void check_nothing(const setting *s) {
    masking m = masking_of(&s->v, 0.15, s->whole_words);
    outcome o = apply_whole(&s->v, &s->c, &m, 1);
    assert_int_equal(o.count[0], 0);
    assert_int_equal(o.count[1], !s->whole_words);
    assert_int_equal(o.count[2], 1);
    outcome_destroy(&o);
    masking_destroy(&m);
}

static void test_nothing_to_choose(void **state) {
    (void)state;
    with_all(check_nothing, "<?#>\n<Abc>\n<Ab#c>\n");
}

// ---- what becomes of them ------------------------------------------------------------------------------------------

static void check_fates(const setting *s) {
    masking m = masking_of(&s->v, 0.5, s->whole_words);
    int64_t chosen = 0, masked = 0, same = 0, other = 0, pairs = 0, both = 0, of[2 * LETTERS] = {0};
    for (uint64_t step = 0; step < 10; step++) {
        outcome o = apply_whole(&s->v, &s->c, &m, step);
        for (int64_t t = 0; t < s->c.d.starts[s->c.d.n]; t++) {
            if (!o.chosen[t]) continue;
            int32_t id = o.ids[t], place = id >= s->v.begins && id < s->v.begins + LETTERS
                                               ? id - s->v.begins
                                               : LETTERS + id - s->v.continues;
            chosen++;
            masked += id == s->v.mask;
            same += id == s->c.d.ids[t];
            if (id != s->v.mask && id != s->c.d.ids[t]) other++, of[place]++;
            if (!o.chosen[t + 1]) continue; // the last token of a corpus is special
            pairs++;
            both += id == s->v.mask && o.ids[t + 1] == s->v.mask;
        }
        outcome_destroy(&o);
    }
    assert_true(chosen > 50000);
    double by_chance = 0.1 / (2 * LETTERS); // any ordinary piece may be the one that was there
    assert_frequency(masked, chosen, 0.8);
    assert_frequency(same, chosen, 0.1 + by_chance);
    assert_frequency(other, chosen, 0.1 - by_chance);
    assert_true(pairs > 10000);
    assert_close("both of a pair", (double)both / (double)pairs, 0.64, 0.02); // each token has a fate of its own
    for (int i = 0; i < 2 * LETTERS; i++)
        assert_close("share of a letter", (double)of[i] * 2 * LETTERS / (double)other, 1, 0.35);
    masking_destroy(&m);
}

static void test_fates(void **state) {
    (void)state;
    with_made_up(check_fates, 600);
}

// ---- what it depends on --------------------------------------------------------------------------------------------

static bool same_outcome(const outcome *a, const outcome *b, int64_t tokens) {
    return !memcmp(a->chosen, b->chosen, (size_t)tokens * sizeof *a->chosen) &&
           !memcmp(a->ids, b->ids, (size_t)tokens * sizeof *a->ids);
}

static void check_packings(const setting *s) {
    static const int64_t capacities[][2] = {{62, 1}, {62, 100}, {100, 3}, {999, 7}, {5000, 90}};
    int64_t tokens = s->c.d.starts[s->c.d.n];
    masking m = masking_of(&s->v, 0.15, s->whole_words);
    outcome whole = apply_whole(&s->v, &s->c, &m, 9);
    for (size_t k = 0; k < sizeof capacities / sizeof *capacities; k++) {
        outcome o = apply(&s->v, &s->c, &m, 9, capacities[k][0], capacities[k][1]);
        assert_true(same_outcome(&o, &whole, tokens));
        outcome_destroy(&o);
    }
    outcome_destroy(&whole);
    masking_destroy(&m);
}

static void test_any_packing(void **state) {
    (void)state;
    with_made_up(check_packings, 200);
}

// Another step chooses as if there had been none before: 15 % of what the first one chose.
static void check_steps(const setting *s) {
    masking m = masking_of(&s->v, 0.15, s->whole_words);
    outcome a = apply_whole(&s->v, &s->c, &m, 1), b = apply_whole(&s->v, &s->c, &m, 2);
    int64_t both = 0, tokens = s->c.d.starts[s->c.d.n];
    for (int64_t t = 0; t < tokens; t++) both += a.chosen[t] && b.chosen[t];
    double share = (double)both / (double)a.n;
    if (!(share > 0.05 && share < 0.3)) fail_msg("%.3f of the tokens are chosen again", share);
    outcome again = apply_whole(&s->v, &s->c, &m, 1);
    assert_true(same_outcome(&a, &again, tokens));
    outcome_destroy(&again);
    outcome_destroy(&a);
    outcome_destroy(&b);
    masking_destroy(&m);
}

static void test_steps_differ(void **state) {
    (void)state;
    with_made_up(check_steps, 200);
}

static void test_no_mask_piece(void **state) {
    (void)state;
    static const char text[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";
    error err = {0};
    tokenizer *tok = tokenizer_load_text(text, sizeof text - 1, true, "the test's vocabulary", &err);
    masking m;
    assert_false(masking_create(&m, tok, 0.15, false, &err));
    assert_error(&err, "the vocabulary has no mask piece ([MASK] or <mask>); masked-LM needs one", "");
    masking_destroy(&m);
    tokenizer_destroy(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_mean_count),
        cmocka_unit_test(test_every_place_alike),
        cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_nothing_to_choose),
        cmocka_unit_test(test_fates),
        cmocka_unit_test(test_any_packing),
        cmocka_unit_test(test_steps_differ),
        cmocka_unit_test(test_no_mask_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
