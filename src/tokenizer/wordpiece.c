// WordPiece: a word is the longest piece that it begins with, then again for what is left, with "##" in front.
#include "tokenizer/internal.h"

#include <string.h>

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

bool wordpiece_load(tokenizer *t, const tokenizer_files *named, error *err) {
    const char *where = named->file[0].name, *line;
    size_t at = 0, length;
    while (text_next_line(t->text, t->text_size, &at, &line, &length))
        if (!add_piece(t, line, length, where, err)) return false;
    return true;
}

// ---- encoding

typedef struct {
    const tokenizer *t;
    id_list *out;
} encoder;

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
    size_t before = *e->out->n;
    bool known = !too_long;
    for (size_t at = 0, length; known && at < size; at += length) {
        int32_t id = find_longest(e->t, at ? "##" : "", word + at, size - at, &length);
        known = id >= 0;
        if (known) id_add(e->out, id);
    }
    if (known) return;
    *e->out->n = before;
    id_add(e->out, e->t->specials[SPECIAL_UNKNOWN]);
}

int64_t wordpiece_encode(const tokenizer *t, const char *text, size_t size, id_list *out) {
    return words_split(text, size, t->lower_case, encode_word, &(encoder){t, out});
}
