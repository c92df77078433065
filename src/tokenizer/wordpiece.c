// WordPiece: a word is the longest piece that it begins with, then again for what is left, with "##" in front.
#include "tokenizer/internal.h"

#include <string.h>

const char *const special_names[SPECIAL_COUNT] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

struct tokenizer {
    char *text; // [text_size] the vocab.txt
    size_t text_size;
    bool lower_case;
    string_table pieces;             // a piece's number is its id
    size_t longest;                  // bytes of the longest piece, "##" not counted
    int32_t specials[SPECIAL_COUNT]; // -1 where the vocabulary has none
};

static bool begins_with(const char *text, size_t size, const char *name) {
    size_t length = strlen(name);
    return size >= length && memcmp(text, name, length) == 0;
}

size_t special_find(const char *text, size_t size, const int32_t *ids, int *which) {
    const char *end = text + size;
    for (const char *at = text; (at = memchr(at, '[', (size_t)(end - at))); at++)
        for (int i = 0; i < SPECIAL_COUNT; i++)
            if ((!ids || ids[i] >= 0) && begins_with(at, (size_t)(end - at), special_names[i])) {
                *which = i;
                return (size_t)(at - text);
            }
    return size;
}

// ---- loading

static bool is_valid_piece(const char *text, size_t size) {
    int32_t c;
    for (size_t at = 0; at < size;) {
        at += unicode_decode(&c, text + at, size - at);
        if (c <= 0) return false;
    }
    return size > 0;
}

static bool is_continuing(const char *piece, size_t size) { return size > 2 && piece[0] == '#' && piece[1] == '#'; }

static bool add_piece(tokenizer *t, const char *piece, size_t size, const char *where, error *err) {
    size_t line = t->pieces.n + 1;
    if (size == 0) return error_set(err, ERROR_INPUT, "%s:%zu: an empty line, where a piece should be", where, line);
    if (!is_valid_piece(piece, size))
        return error_set(err, ERROR_INPUT, "%s:%zu: not UTF-8 text: is this a vocab.txt?", where, line);
    int32_t id = string_add(&t->pieces, piece, size);
    if ((size_t)id + 1 < line)
        return error_set(err, ERROR_INPUT, "%s:%zu: the piece %.*s is on line %d already", where, line, (int)size,
                         piece, id + 1);
    size_t length = is_continuing(piece, size) ? size - 2 : size;
    if (length > t->longest) t->longest = length;
    return true;
}

static bool find_specials(tokenizer *t, const char *where, error *err) {
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        t->specials[i] = tokenizer_id(t, special_names[i]);
        bool needed = i == SPECIAL_UNKNOWN || i == SPECIAL_BEGIN || i == SPECIAL_SEPARATOR;
        if (needed && t->specials[i] < 0)
            return error_set(err, ERROR_INPUT, "%s:%zu: the vocabulary ends without the piece %s", where, t->pieces.n,
                             special_names[i]);
    }
    return true;
}

static bool load_pieces(tokenizer *t, const char *where, error *err) {
    const char *line;
    size_t at = 0, length;
    while (text_next_line(t->text, t->text_size, &at, &line, &length))
        if (!add_piece(t, line, length, where, err)) return false;
    if (t->pieces.n == 0) return error_set(err, ERROR_INPUT, "%s:1: the vocabulary is empty", where);
    return find_specials(t, where, err);
}

tokenizer *tokenizer_load_text(const char *text, size_t size, bool lower_case, const char *where, error *err) {
    tokenizer *t = memory_allocate(1, sizeof *t);
    t->text = memory_allocate(size + 1, 1);
    memcpy(t->text, text, size);
    t->text_size = size;
    t->lower_case = lower_case;
    if (load_pieces(t, where, err)) return t;
    tokenizer_destroy(t);
    return NULL;
}

tokenizer *tokenizer_load(const char *path, bool lower_case, error *err) {
    size_t size;
    char *text = text_read(path, &size, err);
    if (!text) return NULL;
    tokenizer *t = tokenizer_load_text(text, size, lower_case, path, err);
    memory_free(text);
    return t;
}

void tokenizer_destroy(tokenizer *t) {
    if (!t) return;
    string_table_destroy(&t->pieces);
    memory_free(t->text);
    memory_free(t);
}

// ---- asking

int64_t tokenizer_size(const tokenizer *t) { return (int64_t)t->pieces.n; }

bool tokenizer_lower_case(const tokenizer *t) { return t->lower_case; }

tokenizer_specials tokenizer_special_ids(const tokenizer *t) {
    return (tokenizer_specials){.pad = t->specials[SPECIAL_PAD],
                                .unknown = t->specials[SPECIAL_UNKNOWN],
                                .begin = t->specials[SPECIAL_BEGIN],
                                .separator = t->specials[SPECIAL_SEPARATOR],
                                .mask = t->specials[SPECIAL_MASK]};
}

const char *tokenizer_piece(const tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->pieces.n ? string_text(&t->pieces, id) : NULL;
}

int32_t tokenizer_id(const tokenizer *t, const char *piece) {
    size_t size = strlen(piece);
    return string_find(&t->pieces, string_hash(STRING_HASH, piece, size), "", piece, size);
}

const char *tokenizer_text(const tokenizer *t, size_t *size) {
    if (size) *size = t->text_size;
    return t->text;
}

// ---- encoding

typedef struct {
    const tokenizer *t;
    int32_t **ids;
    size_t *n, *capacity;
} encoder;

static void add_id(encoder *e, int32_t id) {
    *e->ids = memory_grow(*e->ids, *e->n, e->capacity, sizeof **e->ids);
    (*e->ids)[(*e->n)++] = id;
}

// The longest piece that text [size > 0] begins with, and its length without prefix ("##" or ""); -1 if there is none.
static int32_t find_longest(const tokenizer *t, const char *prefix, const char *text, size_t size, size_t *length) {
    uint64_t hashes[WORD_BYTES]; // [i]: of prefix + the first i + 1 bytes
    uint64_t hash = string_hash(STRING_HASH, prefix, strlen(prefix));
    if (size > t->longest) size = t->longest;
    for (size_t i = 0; i < size; i++) hashes[i] = hash = string_hash_step(hash, text[i]);
    for (*length = size; *length > 0; (*length)--) {
        int32_t id = string_find(&t->pieces, hashes[*length - 1], prefix, text, *length);
        if (id >= 0) return id;
    }
    return -1;
}

// A word that cannot be put together from pieces is one [UNK], whatever of it was found before.
static void encode_word(void *context, const char *word, size_t size, bool too_long) {
    encoder *e = context;
    size_t before = *e->n;
    bool known = !too_long;
    for (size_t at = 0, length; known && at < size; at += length) {
        int32_t id = find_longest(e->t, at ? "##" : "", word + at, size - at, &length);
        known = id >= 0;
        if (known) add_id(e, id);
    }
    if (known) return;
    *e->n = before;
    add_id(e, e->t->specials[SPECIAL_UNKNOWN]);
}

size_t tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *n, size_t *capacity,
                        int64_t *replaced) {
    encoder e = {.t = t, .ids = ids, .n = n, .capacity = capacity};
    size_t before = *n;
    int64_t bad = 0;
    for (size_t at = 0; at < size;) {
        int which = 0;
        size_t plain = special_find(text + at, size - at, t->specials, &which);
        bad += words_split(text + at, plain, t->lower_case, encode_word, &e);
        at += plain;
        if (at == size) break;
        add_id(&e, t->specials[which]);
        at += strlen(special_names[which]);
    }
    if (replaced) *replaced += bad;
    return *n - before;
}
