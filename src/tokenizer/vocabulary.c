// Counting words, and training a WordPiece vocabulary: words are written as characters (all but a word's first with
// "##"); then merging.c makes pieces of them.
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- counting

static void tally_add(tally *t, const char *text, size_t size, int64_t count) {
    size_t known = t->strings.n;
    int32_t number = string_add(&t->strings, text, size);
    if (t->strings.n > known) {
        t->counts = memory_grow(t->counts, known, &t->capacity, sizeof *t->counts);
        t->counts[number] = 0;
    }
    t->counts[number] += count;
}

static void tally_destroy(tally *t) {
    string_table_destroy(&t->strings);
    memory_free(t->counts);
}

vocabulary_counter *vocabulary_counter_create(tokenizer_kind kind, bool lower_case) {
    vocabulary_counter *c = memory_allocate(1, sizeof *c);
    c->kind = kind;
    c->lower_case = lower_case;
    if (kind == TOKENIZER_BPE) c->splitter = byte_splitter_create();
    return c;
}

// A word that is too long for WordPiece is [UNK] whatever its pieces: it teaches nothing.
static void count_word(void *context, const char *word, size_t size, bool too_long) {
    vocabulary_counter *c = context;
    if (too_long) return;
    tally_add(&c->words, word, size, 1);
    c->total++;
}

int64_t vocabulary_count(vocabulary_counter *c, const char *text, size_t size) {
    int64_t replaced = 0;
    for (size_t at = 0; at < size;) {
        int which = 0;
        size_t plain = special_find(c->kind, text + at, size - at, NULL, &which);
        replaced += c->kind == TOKENIZER_BPE ? byte_split(c->splitter, text + at, plain, count_word, c)
                                             : words_split(text + at, plain, c->lower_case, count_word, c);
        at += plain;
        if (at < size) at += strlen(special_names[c->kind][which]);
    }
    return replaced;
}

int64_t vocabulary_words(const vocabulary_counter *c) { return c->total; }

int64_t vocabulary_distinct_words(const vocabulary_counter *c) { return (int64_t)c->words.strings.n; }

void vocabulary_counter_destroy(vocabulary_counter *c) {
    if (!c) return;
    tally_destroy(&c->words);
    byte_splitter_destroy(c->splitter);
    memory_free(c);
}

// ---- the alphabet

// Bytes of the character that text [size > 0], valid UTF-8, begins with.
static size_t character_size(const char *text, size_t size) {
    int32_t c;
    return unicode_decode(&c, text, size);
}

static tally count_characters(const vocabulary_counter *c) {
    tally characters = {0};
    for (size_t w = 0; w < c->words.strings.n; w++) {
        const char *word = string_text(&c->words.strings, (int32_t)w);
        size_t size = (size_t)c->words.strings.lengths[w];
        for (size_t at = 0, bytes; at < size; at += bytes) {
            bytes = character_size(word + at, size - at);
            tally_add(&characters, word + at, bytes, c->words.counts[w]);
        }
    }
    return characters;
}

typedef struct {
    const char *text;
    int64_t count;
} character;

static int compare_frequency(const void *a, const void *b) {
    const character *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

// The most frequent `limit` characters.
static string_table choose_characters(const vocabulary_counter *c, int64_t limit) {
    tally all = count_characters(c);
    size_t n = all.strings.n;
    character *order = memory_allocate(n, sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = (character){string_text(&all.strings, (int32_t)i), all.counts[i]};
    qsort(order, n, sizeof *order, compare_frequency);
    string_table chosen = {0};
    for (size_t i = 0; i < n && (int64_t)i < limit; i++) string_add(&chosen, order[i].text, strlen(order[i].text));
    memory_free(order);
    tally_destroy(&all);
    return chosen;
}

static bool is_spellable(const string_table *kept, const char *word, size_t size) {
    for (size_t at = 0, bytes; at < size; at += bytes) {
        bytes = character_size(word + at, size - at);
        if (string_find(kept, string_hash(STRING_HASH, word + at, bytes), "", word + at, bytes) < 0) return false;
    }
    return true;
}

// Writes a word as one piece a character into symbols [size at most], adding the pieces that are new; how many.
static int32_t spell_word(string_table *pieces, int32_t *symbols, const char *word, size_t size) {
    int32_t n = 0;
    for (size_t at = 0, bytes; at < size; at += bytes) {
        char piece[8] = "##";
        size_t before = at == 0 ? 0 : 2;
        bytes = character_size(word + at, size - at);
        memcpy(piece + before, word + at, bytes);
        symbols[n++] = string_add(pieces, piece, before + bytes);
    }
    return n;
}

static int compare_forms(const void *a, const void *b) {
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    bool x_inside = strncmp(x, "##", 2) == 0, y_inside = strncmp(y, "##", 2) == 0;
    return x_inside != y_inside ? x_inside - y_inside : strcmp(x, y);
}

// The pieces that merging begins with: the special ones, then every form that a character has in the words, at the
// beginning of one, then inside ("##"), each in byte order, so that the order of the text does not show.
static string_table order_pieces(const string_table *forms) {
    const char **order = memory_allocate(forms->n, sizeof *order);
    for (size_t i = 0; i < forms->n; i++) order[i] = string_text(forms, (int32_t)i);
    qsort(order, forms->n, sizeof *order, compare_forms);
    string_table pieces = {0};
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        const char *name = special_names[TOKENIZER_WORDPIECE][i];
        string_add(&pieces, name, strlen(name));
    }
    for (size_t i = 0; i < forms->n; i++) string_add(&pieces, order[i], strlen(order[i]));
    memory_free(order);
    return pieces;
}

spelled_words spelled_words_create(const vocabulary_counter *c) {
    const string_table *strings = &c->words.strings;
    return (spelled_words){.symbols = memory_allocate(strings->used, sizeof(int32_t)),
                           .starts = memory_allocate(strings->n, sizeof(size_t)),
                           .lengths = memory_allocate(strings->n, sizeof(int32_t)),
                           .counts = c->words.counts,
                           .n = strings->n};
}

void spelled_words_destroy(spelled_words *words) {
    memory_free(words->symbols);
    memory_free(words->starts);
    memory_free(words->lengths);
}

// Writes the words that the kept characters can spell (the others stay empty), and sets the pieces that this takes.
static spelled_words spell_words(const vocabulary_counter *c, const string_table *kept, string_table *pieces) {
    const string_table *strings = &c->words.strings;
    spelled_words words = spelled_words_create(c);
    string_table forms = {0};
    size_t used = 0;
    for (size_t w = 0; w < words.n; w++) {
        const char *word = string_text(strings, (int32_t)w);
        size_t size = (size_t)strings->lengths[w];
        words.starts[w] = used;
        if (is_spellable(kept, word, size)) words.lengths[w] = spell_word(&forms, words.symbols + used, word, size);
        used += (size_t)words.lengths[w];
    }
    *pieces = order_pieces(&forms);
    for (size_t i = 0; i < used; i++) {
        const char *form = string_text(&forms, words.symbols[i]);
        words.symbols[i] = string_add(pieces, form, strlen(form));
    }
    string_table_destroy(&forms);
    return words;
}

// ---- training

static char *write_pieces(const string_table *pieces) {
    char *text = memory_allocate(pieces->used + 1, 1);
    memcpy(text, pieces->bytes, pieces->used); // every piece has a NUL behind it
    for (size_t i = 0; i < pieces->used; i++)
        if (text[i] == 0) text[i] = '\n';
    return text;
}

static int64_t wordpiece_train(const vocabulary_counter *c, const vocabulary_settings *settings, tokenizer_files *files,
                               void (*progress)(int64_t done, int64_t wanted), error *err) {
    string_table kept = choose_characters(c, settings->alphabet), pieces = {0};
    spelled_words words = spell_words(c, &kept, &pieces);
    int64_t n = 0;
    if ((int64_t)pieces.n > settings->size) {
        error_set(
            err, ERROR_INPUT,
            "a vocabulary of %lld pieces is too small: the special pieces and the forms of %zu characters are %zu; "
            "raise the size (--vocab.size) or keep fewer characters (--vocab.alphabet)",
            (long long)settings->size, kept.n, pieces.n);
    } else {
        memory_free(merge_pairs(&pieces, &words,
                                &(merge_settings){settings->size, settings->min_frequency, strlen("##"), progress}));
        *files = (tokenizer_files){{{"vocab.txt", write_pieces(&pieces), pieces.used}}, 1};
        n = (int64_t)pieces.n;
    }
    spelled_words_destroy(&words);
    string_table_destroy(&pieces);
    string_table_destroy(&kept);
    return n;
}

int64_t vocabulary_train(const vocabulary_counter *c, const vocabulary_settings *settings, tokenizer_files *files,
                         void (*progress)(int64_t done, int64_t wanted), error *err) {
    if (c->words.strings.n == 0) {
        error_set(err, ERROR_INPUT, "there is no word in the text: nothing to train a vocabulary from");
        return 0;
    }
    return (c->kind == TOKENIZER_BPE ? bpe_train : wordpiece_train)(c, settings, files, progress, err);
}
