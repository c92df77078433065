// Training a byte-level BPE vocabulary: words are written as bytes, merging.c makes pieces of them, and the pieces and
// the merges become vocab.json and merges.txt.
#include "storage/storage.h"
#include "tokenizer/internal.h"

#include <string.h>

#define BYTES 256
#define FIRST_SPECIALS 4 // in RoBERTa's order; <mask> is last
static const int first_specials[FIRST_SPECIALS] = {SPECIAL_BEGIN, SPECIAL_PAD, SPECIAL_SEPARATOR, SPECIAL_UNKNOWN};

static void add_special(string_table *pieces, int which) {
    const char *name = special_names[TOKENIZER_BPE][which];
    string_add(pieces, name, strlen(name));
}

// The pieces that merging begins with: special ones, then the characters that stand for bytes, in their order: first
// the bytes that are their own characters, then the others (U+0100 and on), each in the order of the bytes. ids [BYTES]
// gets the piece of each byte.
static string_table first_pieces(int32_t ids[BYTES]) {
    string_table pieces = {0};
    for (int i = 0; i < FIRST_SPECIALS; i++) add_special(&pieces, first_specials[i]);
    for (int moved = 0; moved < 2; moved++)
        for (int byte = 0; byte < BYTES; byte++) {
            char piece[BYTE_PIECE_SIZE];
            byte_piece(piece, (unsigned char)byte);
            if (((unsigned char)piece[0] >= 0xC4) == moved) ids[byte] = string_add(&pieces, piece, strlen(piece));
        }
    return pieces;
}

static spelled_words spell_words(const vocabulary_counter *c, const int32_t ids[BYTES]) {
    const string_table *strings = &c->words.strings;
    spelled_words words = spelled_words_create(c);
    size_t used = 0;
    for (size_t w = 0; w < words.n; w++) {
        const char *word = string_text(strings, (int32_t)w);
        words.starts[w] = used;
        words.lengths[w] = strings->lengths[w];
        for (int32_t i = 0; i < words.lengths[w]; i++) words.symbols[used++] = ids[(unsigned char)word[i]];
    }
    return words;
}

// ---- the files

static char *write_pieces(const string_table *pieces, size_t *size) {
    json_t *json = json_object();
    for (size_t i = 0; i < pieces->n; i++)
        json_object_set_new(json, string_text(pieces, (int32_t)i), json_integer((json_int_t)i));
    char *text = json_format(json, true, size);
    json_decref(json);
    return text;
}

static char *write_merges(const string_table *pieces, const merge *merges, size_t n, size_t *size) {
    static const char version[] = "#version: 0.2\n";
    *size = strlen(version);
    for (size_t i = 0; i < n; i++) *size += (size_t)pieces->lengths[FIRST_SPECIALS + BYTES + i] + strlen(" \n");
    char *text = memory_allocate(*size + 1, 1), *at = text + sprintf(text, version);
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s %s\n", string_text(pieces, merges[i].left), string_text(pieces, merges[i].right));
    return text;
}

// ---- training

int64_t bpe_train(const vocabulary_counter *c, const vocabulary_settings *settings, tokenizer_files *files,
                  void (*progress)(int64_t done, int64_t wanted), error *err) {
    if (settings->size < BYTES + SPECIAL_COUNT) {
        error_set(err, ERROR_INPUT,
                  "a vocabulary of %lld pieces is too small: the special pieces and the bytes are %d; raise the size "
                  "(--vocab.size)",
                  (long long)settings->size, BYTES + SPECIAL_COUNT);
        return 0;
    }
    int32_t ids[BYTES];
    string_table pieces = first_pieces(ids);
    spelled_words words = spell_words(c, ids);
    merge *merges =
        merge_pairs(&pieces, &words, &(merge_settings){settings->size - 1, settings->min_frequency, 0, progress});
    *files = (tokenizer_files){{{.name = "vocab.json"}, {.name = "merges.txt"}}, 2};
    files->file[1].text = write_merges(&pieces, merges, pieces.n - FIRST_SPECIALS - BYTES, &files->file[1].size);
    add_special(&pieces, SPECIAL_MASK);
    files->file[0].text = write_pieces(&pieces, &files->file[0].size);
    int64_t n = (int64_t)pieces.n;
    memory_free(merges);
    spelled_words_destroy(&words);
    string_table_destroy(&pieces);
    return n;
}
