// Pair merging: the most frequent pair of neighbouring pieces becomes a piece, again and again (Sennrich et al., ACL
// 2016). A merge visits only the words that hold its pair, and a heap gives the next one, so that all of the work is
// about that of rewriting each word once for each of its characters.
//
// A piece comes about from one pair only: how a stretch of characters is merged into one depends on nothing outside it.
// So every merge makes a new piece, only pairs with that piece are new, and from then on a pair becomes ever rarer.
#include "tokenizer/internal.h"

#include <string.h>

typedef struct {
    int32_t left, right; // pieces
    int64_t count;       // occurrences in the text
    int64_t *words;      // [n] words that held it when it was new; some stand here twice
    size_t n, capacity;
} pair;

typedef struct {
    int64_t count; // of the pair, when it came here: now it may be less
    int32_t pair;
} candidate;

typedef struct {
    string_table *pieces;
    spelled_words *words;
    string_table keys; // {left, right} as bytes; its number is the pair's place in pairs
    pair *pairs;       // [keys.n]
    size_t pairs_capacity;
    candidate *heap; // [heap_size], the best first; a pair has one entry at most
    size_t heap_size, heap_capacity;
    size_t pushed; // pairs that have been in the heap
    merge *merges; // [n_merges]
    size_t n_merges, merges_capacity;
} training;

// ---- pairs

static int32_t find_pair(training *t, int32_t left, int32_t right) {
    int32_t key[2] = {left, right};
    size_t known = t->keys.n;
    int32_t p = string_add(&t->keys, (const char *)key, sizeof key);
    if (t->keys.n > known) {
        t->pairs = memory_grow(t->pairs, known, &t->pairs_capacity, sizeof *t->pairs);
        t->pairs[p] = (pair){.left = left, .right = right};
    }
    return p;
}

// Counts the pairs of a word: sign is 1 or -1.
static void count_pairs(training *t, size_t word, int sign) {
    const int32_t *s = t->words->symbols + t->words->starts[word];
    for (int32_t i = 0; i + 1 < t->words->lengths[word]; i++) {
        int32_t number = find_pair(t, s[i], s[i + 1]); // may move the pairs
        t->pairs[number].count += sign * t->words->counts[word];
    }
}

#define ANY_PIECE (-1)

// Notes that a word holds those of its pairs that hold `piece`.
static void note_pairs(training *t, size_t word, int32_t piece) {
    const int32_t *s = t->words->symbols + t->words->starts[word];
    for (int32_t i = 0; i + 1 < t->words->lengths[word]; i++) {
        if (piece != ANY_PIECE && s[i] != piece && s[i + 1] != piece) continue;
        pair *p = &t->pairs[find_pair(t, s[i], s[i + 1])];
        p->words = memory_grow(p->words, p->n, &p->capacity, sizeof *p->words);
        p->words[p->n++] = (int64_t)word;
    }
}

// ---- the heap

static bool is_better(const training *t, candidate a, candidate b) {
    if (a.count != b.count) return a.count > b.count;
    const pair *x = &t->pairs[a.pair], *y = &t->pairs[b.pair];
    int order = strcmp(string_text(t->pieces, x->left), string_text(t->pieces, y->left));
    return (order ? order : strcmp(string_text(t->pieces, x->right), string_text(t->pieces, y->right))) < 0;
}

static void heap_push(training *t, int32_t p) {
    candidate entry = {t->pairs[p].count, p};
    t->heap = memory_grow(t->heap, t->heap_size, &t->heap_capacity, sizeof *t->heap);
    size_t i = t->heap_size++;
    for (; i > 0 && is_better(t, entry, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = entry;
}

static candidate heap_pop(training *t) {
    candidate best = t->heap[0], last = t->heap[--t->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap_size; i = child) {
        if (child + 1 < t->heap_size && is_better(t, t->heap[child + 1], t->heap[child])) child++;
        if (!is_better(t, t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return best;
}

static void push_new_pairs(training *t, int64_t min_frequency) {
    for (; t->pushed < t->keys.n; t->pushed++)
        if (t->pairs[t->pushed].count >= min_frequency) heap_push(t, (int32_t)t->pushed);
}

// The most frequent pair; -1 if none occurs min_frequency times.
static int32_t next_pair(training *t, int64_t min_frequency) {
    while (t->heap_size > 0) {
        candidate best = heap_pop(t);
        int64_t count = t->pairs[best.pair].count;
        if (best.count == count) return best.pair;
        if (count >= min_frequency) heap_push(t, best.pair);
    }
    return -1;
}

// ---- merging

static int32_t join_pieces(string_table *pieces, int32_t left, int32_t right, size_t mark) {
    char *joined = memory_format("%s%s", string_text(pieces, left), string_text(pieces, right) + mark);
    size_t known = pieces->n;
    int32_t piece = string_add(pieces, joined, strlen(joined));
    REQUIRE(pieces->n > known);
    memory_free(joined);
    return piece;
}

static bool replace_in_word(spelled_words *words, size_t word, int32_t left, int32_t right, int32_t joined) {
    int32_t *s = words->symbols + words->starts[word];
    int32_t length = words->lengths[word], kept = 0;
    for (int32_t i = 0; i < length; i++) {
        bool both = i + 1 < length && s[i] == left && s[i + 1] == right;
        s[kept++] = both ? joined : s[i];
        i += both;
    }
    words->lengths[word] = kept;
    return kept < length;
}

// Merges a pair in every word that holds it.
static void merge_pair(training *t, int32_t number, int32_t joined) {
    int32_t left = t->pairs[number].left, right = t->pairs[number].right;
    for (size_t i = 0; i < t->pairs[number].n; i++) {
        size_t word = (size_t)t->pairs[number].words[i];
        count_pairs(t, word, -1);
        bool replaced = replace_in_word(t->words, word, left, right, joined);
        count_pairs(t, word, 1);
        if (replaced) note_pairs(t, word, joined);
    }
}

static void training_destroy(training *t) {
    for (size_t i = 0; i < t->keys.n; i++) memory_free(t->pairs[i].words);
    memory_free(t->pairs);
    string_table_destroy(&t->keys);
    memory_free(t->heap);
}

static void add_merge(training *t, int32_t left, int32_t right) {
    t->merges = memory_grow(t->merges, t->n_merges, &t->merges_capacity, sizeof *t->merges);
    t->merges[t->n_merges++] = (merge){left, right};
}

merge *merge_pairs(string_table *pieces, spelled_words *words, const merge_settings *settings) {
    training t = {.pieces = pieces, .words = words};
    for (size_t w = 0; w < words->n; w++) {
        count_pairs(&t, w, 1);
        note_pairs(&t, w, ANY_PIECE);
    }
    while ((int64_t)pieces->n < settings->size) {
        push_new_pairs(&t, settings->min_frequency);
        int32_t next = next_pair(&t, settings->min_frequency);
        if (next < 0) break;
        int32_t left = t.pairs[next].left, right = t.pairs[next].right;
        add_merge(&t, left, right);
        merge_pair(&t, next, join_pieces(pieces, left, right, settings->mark));
        if (settings->progress && pieces->n % 100 == 0) settings->progress((int64_t)pieces->n, settings->size);
    }
    training_destroy(&t);
    return t.merges;
}
