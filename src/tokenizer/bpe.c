// Byte-level BPE: a word is its bytes, each a piece; the pair of neighbours that stands first in merges.txt becomes one
// piece (of several such pairs the leftmost), again and again, until no pair is in the list.
#include "storage/storage.h"
#include "tokenizer/internal.h"

#include <string.h>

// Most words of a text are few and short: their ids are remembered, each in the one slot that its hash names, until
// another word takes the slot. A slot fills a cache line.
#define CACHE_SLOTS (1 << 16)
#define CACHED_BYTES 22
#define CACHED_IDS 10

typedef struct {
    uint8_t size, n; // size 0: an empty slot
    char word[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
} cached_word;

_Static_assert(sizeof(cached_word) == 64, "a cache line");

// A piece of the word at hand; the others are found by the distances of their places, -1 at either end.
typedef struct {
    int32_t id; // -1: it has become part of the one before it
    int32_t previous, next;
} symbol;

typedef struct {
    int32_t rank, at; // the pair of symbols at and at.next
    int32_t left, right;
} candidate;

struct bpe {
    string_table merges; // {left, right} as bytes; a merge's number is its rank
    int32_t *joined;     // [merges.n] the piece that it makes
    size_t joined_capacity;
    int32_t bytes[256]; // the piece of a byte; -1 if there is none
    byte_splitter *splitter;
    cached_word *cache; // [CACHE_SLOTS]
    symbol *symbols;    // of the word at hand
    size_t symbols_capacity;
    candidate *heap; // [heap_size] pairs that can be merged, the first to be merged first
    size_t heap_size, heap_capacity;
};

// ---- loading

// The pieces in the order of their ids, which must be 0, 1, 2, ...; NULL and err if they are not.
static const char **order_pieces(json_t *json, const char *where, error *err) {
    size_t n = json_object_size(json);
    const char **order = memory_allocate(n, sizeof *order), *piece;
    json_t *id;
    json_object_foreach(json, piece, id) {
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value >= 0 && (size_t)value < n) order[value] = piece;
    }
    for (size_t i = 0; i < n; i++)
        if (!order[i]) {
            error_set(err, ERROR_INPUT, "%s: of %zu pieces none has the id %zu: ids should be 0, 1, 2, ..., each once",
                      where, n, i);
            memory_free(order);
            return NULL;
        }
    return order;
}

static bool load_pieces(tokenizer *t, const char *where, error *err) {
    if (t->files.file[0].size > (size_t)JSON_FOREIGN_MOST)
        return error_set(err, ERROR_INPUT, "%s has more than %lld MB, which no vocabulary needs", where,
                         (long long)(JSON_FOREIGN_MOST >> 20));
    json_t *json = json_parse(t->files.file[0].text, t->files.file[0].size, where, err);
    if (!json) return false;
    bool good = json_is_object(json) ||
                error_set(err, ERROR_INPUT, "%s:1: not an object {\"piece\": id, ...}: is this a vocab.json?", where);
    const char **order = good ? order_pieces(json, where, err) : NULL;
    for (size_t i = 0; order && i < json_object_size(json); i++) string_add(&t->pieces, order[i], strlen(order[i]));
    good = order != NULL;
    memory_free(order);
    json_decref(json);
    return good;
}

// The number of the piece left + right, where either may be empty; -1 if there is none.
static int32_t find_piece(const string_table *pieces, const char *left, const char *right, size_t size) {
    uint64_t hash = string_hash(string_hash(STRING_HASH, left, strlen(left)), right, size);
    return string_find(pieces, hash, left, right, size);
}

static bool add_merge(tokenizer *t, const char *text, size_t size, const char *where, size_t line, error *err) {
    const string_table *pieces = &t->pieces;
    const char *space = memchr(text, ' ', size), *end = text + size;
    if (!space || space == text || space + 1 == end || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return error_set(err, ERROR_INPUT, "%s:%zu: expected two pieces with one space between them", where, line);
    size_t right_size = (size_t)(end - space - 1);
    int32_t key[2] = {find_piece(pieces, "", text, (size_t)(space - text)),
                      find_piece(pieces, "", space + 1, right_size)};
    int32_t joined =
        key[0] >= 0 && key[1] >= 0 ? find_piece(pieces, string_text(pieces, key[0]), space + 1, right_size) : -1;
    if (joined < 0)
        return error_set(err, ERROR_INPUT, "%s:%zu: the vocabulary lacks the %s; do the two files belong together?",
                         where, line,
                         key[0] < 0   ? "first piece"
                         : key[1] < 0 ? "second piece"
                                      : "two pieces joined");
    size_t known = t->bpe->merges.n;
    string_add(&t->bpe->merges, (const char *)key, sizeof key);
    if (t->bpe->merges.n == known) return error_set(err, ERROR_INPUT, "%s:%zu: a merge that came before", where, line);
    t->bpe->joined = memory_grow(t->bpe->joined, known, &t->bpe->joined_capacity, sizeof *t->bpe->joined);
    t->bpe->joined[known] = joined;
    return true;
}

static bool load_merges(tokenizer *t, const char *where, error *err) {
    const char *line;
    size_t at = 0, length, number = 0;
    while (text_next_line(t->files.file[1].text, t->files.file[1].size, &at, &line, &length)) {
        bool version = ++number == 1 && length >= 8 && memcmp(line, "#version", 8) == 0;
        if (!version && !add_merge(t, line, length, where, number, err)) return false;
    }
    return true;
}

bool bpe_load(tokenizer *t, const tokenizer_files *named, error *err) {
    t->bpe = memory_allocate(1, sizeof *t->bpe);
    t->bpe->splitter = byte_splitter_create();
    t->bpe->cache = memory_allocate_aligned(CACHE_SLOTS, sizeof *t->bpe->cache);
    if (!load_pieces(t, named->file[0].name, err) || !load_merges(t, named->file[1].name, err)) return false;
    for (int byte = 0; byte < 256; byte++) {
        char piece[BYTE_PIECE_SIZE];
        byte_piece(piece, (unsigned char)byte);
        t->bpe->bytes[byte] = tokenizer_id(t, piece);
    }
    return true;
}

void bpe_destroy(bpe *b) {
    if (!b) return;
    string_table_destroy(&b->merges);
    memory_free(b->joined);
    byte_splitter_destroy(b->splitter);
    memory_free(b->cache);
    memory_free(b->symbols);
    memory_free(b->heap);
    memory_free(b);
}

// ---- the heap

static bool is_before(candidate a, candidate b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

static void heap_push(bpe *b, candidate entry) {
    b->heap = memory_grow(b->heap, b->heap_size, &b->heap_capacity, sizeof *b->heap);
    size_t i = b->heap_size++;
    for (; i > 0 && is_before(entry, b->heap[(i - 1) / 2]); i = (i - 1) / 2) b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = entry;
}

static candidate heap_pop(bpe *b) {
    candidate first = b->heap[0], last = b->heap[--b->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < b->heap_size; i = child) {
        if (child + 1 < b->heap_size && is_before(b->heap[child + 1], b->heap[child])) child++;
        if (!is_before(b->heap[child], last)) break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = last;
    return first;
}

// ---- merging

// Puts the pair of a symbol and the one behind it into the heap, if the two can be merged.
static void offer_pair(bpe *b, int32_t at) {
    if (at < 0 || b->symbols[at].next < 0) return;
    int32_t key[2] = {b->symbols[at].id, b->symbols[b->symbols[at].next].id};
    const char *bytes = (const char *)key;
    int32_t rank = string_find(&b->merges, string_hash(STRING_HASH, bytes, sizeof key), "", bytes, sizeof key);
    if (rank >= 0) heap_push(b, (candidate){rank, at, key[0], key[1]});
}

// Has what is in the heap not been overtaken by another merge?
static bool is_current(const bpe *b, candidate c) {
    int32_t next = b->symbols[c.at].next;
    return b->symbols[c.at].id == c.left && next >= 0 && b->symbols[next].id == c.right;
}

static void merge_symbols(bpe *b, candidate c) {
    symbol *left = &b->symbols[c.at], *right = &b->symbols[left->next];
    left->id = b->joined[c.rank];
    right->id = -1;
    left->next = right->next;
    if (left->next >= 0) b->symbols[left->next].previous = c.at;
    offer_pair(b, left->previous);
    offer_pair(b, c.at);
}

static int32_t spell_word(bpe *b, const char *word, size_t size) {
    int32_t n = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t id = b->bytes[(unsigned char)word[i]];
        if (id < 0) continue;
        b->symbols = memory_grow(b->symbols, (size_t)n, &b->symbols_capacity, sizeof *b->symbols);
        b->symbols[n] = (symbol){.id = id, .previous = n - 1, .next = n + 1};
        n++;
    }
    if (n > 0) b->symbols[n - 1].next = -1;
    return n;
}

static void merge_word(bpe *b, const char *word, size_t size, id_list *out) {
    REQUIRE(size < INT32_MAX);
    int32_t n = spell_word(b, word, size);
    for (int32_t i = 0; i < n; i++) offer_pair(b, i);
    while (b->heap_size > 0) {
        candidate first = heap_pop(b);
        if (is_current(b, first)) merge_symbols(b, first);
    }
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = b->symbols[i].next) id_add(out, b->symbols[i].id);
}

// ---- encoding

typedef struct {
    bpe *b;
    id_list *out;
} encoder;

static void encode_word(void *context, const char *word, size_t size, bool too_long) {
    (void)too_long;
    encoder *e = context;
    if (size > CACHED_BYTES) {
        merge_word(e->b, word, size, e->out);
        return;
    }
    uint64_t hash = string_hash(STRING_HASH, word, size);
    cached_word *slot = &e->b->cache[(hash ^ hash >> 32) % CACHE_SLOTS];
    if (slot->size == size && memcmp(slot->word, word, size) == 0) {
        for (int i = 0; i < slot->n; i++) id_add(e->out, slot->ids[i]);
        return;
    }
    size_t before = *e->out->n;
    merge_word(e->b, word, size, e->out);
    size_t n = *e->out->n - before;
    if (n > CACHED_IDS) return;
    slot->size = (uint8_t)size;
    slot->n = (uint8_t)n;
    memcpy(slot->word, word, size);
    if (n > 0) memcpy(slot->ids, *e->out->ids + before, n * sizeof *slot->ids);
}

int64_t bpe_encode(const tokenizer *t, const char *text, size_t size, id_list *out) {
    return byte_split(t->bpe->splitter, text, size, encode_word, &(encoder){t->bpe, out});
}
