// Training against a naive twin that counts every pair anew for every merge, on random words of few letters with long
// runs, where pairs overlap themselves and each other.
#include "../support.h"

#include "tokenizer/tokenizer.h"

#define WORDS 12
#define LONGEST 16
#define PIECES 120
typedef char piece[LONGEST + 3];

typedef struct {
    piece pieces[LONGEST];
    int n, count;
} word;

typedef struct {
    word words[WORDS];
    int n;
    piece vocabulary[PIECES];
    int size;
} corpus;

// ---- the twin

static void add_piece(corpus *c, const char *text) {
    for (int i = 0; i < c->size; i++)
        if (!strcmp(c->vocabulary[i], text)) return;
    assert_true(c->size < PIECES);
    strcpy(c->vocabulary[c->size++], text);
}

static int count_pair(const corpus *c, const char *left, const char *right) {
    int count = 0;
    for (int w = 0; w < c->n; w++)
        for (int i = 0; i + 1 < c->words[w].n; i++)
            if (!strcmp(c->words[w].pieces[i], left) && !strcmp(c->words[w].pieces[i + 1], right))
                count += c->words[w].count;
    return count;
}

// The most frequent pair, the first in byte order among equals; returns its count.
static int find_best(const corpus *c, piece left, piece right) {
    int best = 0;
    for (int w = 0; w < c->n; w++)
        for (int i = 0; i + 1 < c->words[w].n; i++) {
            const char *x = c->words[w].pieces[i], *y = c->words[w].pieces[i + 1];
            int count = count_pair(c, x, y), order = strcmp(x, left);
            if (count < best || (count == best && (order > 0 || (order == 0 && strcmp(y, right) >= 0)))) continue;
            best = count;
            strcpy(left, x);
            strcpy(right, y);
        }
    return best;
}

static void merge_word(word *w, const char *left, const char *right) {
    for (int i = 0; i + 1 < w->n; i++) {
        if (strcmp(w->pieces[i], left) != 0 || strcmp(w->pieces[i + 1], right) != 0) continue;
        strcat(w->pieces[i], right + 2);
        memmove(w->pieces[i + 1], w->pieces[i + 2], (size_t)(w->n - i - 2) * sizeof(piece));
        w->n--;
    }
}

static void train_naively(corpus *c, int size, int min_frequency) {
    piece left = "", right = "";
    while (c->size < size && find_best(c, left, right) >= min_frequency) {
        char *joined = memory_format("%s%s", left, right + 2);
        add_piece(c, joined);
        memory_free(joined);
        for (int w = 0; w < c->n; w++) merge_word(&c->words[w], left, right);
    }
}

// ---- random words

static uint32_t draw(uint64_t *drawn, uint32_t below) {
    uint32_t block[4];
    random_block(block, random_stream_create(7, RANDOM_TEST, 0, 0), (*drawn)++, 0, 0);
    return block[0] % below;
}

static void draw_word(word *w, uint64_t *drawn, uint32_t letters) {
    w->n = 1 + (int)draw(drawn, LONGEST);
    w->count = 1 + (int)draw(drawn, 4);
    char letter = 'a';
    for (int i = 0; i < w->n; i++) {
        if (draw(drawn, 3) == 0) letter = (char)('a' + draw(drawn, letters)); // so that runs are long
        snprintf(w->pieces[i], sizeof(piece), "%s%c", i ? "##" : "", letter);
    }
}

// Every letter, first at the beginning of a word, then inside.
static void start_vocabulary(corpus *c) {
    c->size = 0;
    for (int inside = 0; inside < 2; inside++)
        for (char letter = 'a'; letter <= 'z'; letter++)
            for (int w = 0; w < c->n; w++)
                for (int i = inside; i < (inside ? c->words[w].n : 1); i++)
                    if (c->words[w].pieces[i][inside ? 2 : 0] == letter) add_piece(c, c->words[w].pieces[i]);
}

static void count_words(vocabulary_counter *counter, const corpus *c) {
    for (int w = 0; w < c->n; w++) {
        char text[LONGEST];
        for (int i = 0; i < c->words[w].n; i++) text[i] = c->words[w].pieces[i][i ? 2 : 0];
        for (int i = 0; i < c->words[w].count; i++) vocabulary_count(counter, text, (size_t)c->words[w].n);
    }
}

static void check_corpus(corpus *c, int size, int min_frequency) {
    error err = {0};
    vocabulary_settings settings = {size + 5, min_frequency, 100, true};
    vocabulary_counter *counter = vocabulary_counter_create(TOKENIZER_WORDPIECE, true);
    count_words(counter, c);
    tokenizer_files files;
    if (!vocabulary_train(counter, &settings, &files, NULL, &err)) fail_msg("%s", err.text);
    const char *trained = files.file[0].text;
    train_naively(c, size, min_frequency);

    int pieces = -5; // the special ones
    const char *line;
    for (size_t at = 0, length; text_next_line(trained, strlen(trained), &at, &line, &length); pieces++) {
        if (pieces < 0) continue;
        assert_true(pieces < c->size);
        assert_int_equal(length, strlen(c->vocabulary[pieces]));
        assert_memory_equal(line, c->vocabulary[pieces], length);
    }
    assert_int_equal(pieces, c->size);
    tokenizer_files_free(&files);
    vocabulary_counter_destroy(counter);
}

static void test_random_words(void **state) {
    (void)state;
    uint64_t drawn = 0;
    for (int i = 0; i < 150; i++) {
        corpus c = {.n = WORDS};
        for (int w = 0; w < WORDS; w++) draw_word(&c.words[w], &drawn, 1 + (uint32_t)i % 3);
        start_vocabulary(&c);
        check_corpus(&c, c.size + 10 + i % 50, 1 + i % 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
