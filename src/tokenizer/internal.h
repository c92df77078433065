// What the files of this room share: a table of strings, words as BERT and as RoBERTa see them, special pieces, the two
// kinds of tokenizer, counted words, pair merging.
#ifndef PAF_TOKENIZER_INTERNAL_H
#define PAF_TOKENIZER_INTERNAL_H

#include "tokenizer/tokenizer.h"

// ---- strings (strings.c) ------------------------------------------------------------------------------------------
//
// Strings numbered in the order they came, found by an open-addressing hash table. A hash is built up byte by byte, so
// that one pass over a word gives the hashes of all its beginnings:
//
//     h = STRING_HASH; h = string_hash_step(h, byte); ... ; string_find(table, h, prefix, text, size)

typedef struct {
    uint32_t tag; // upper half of the mixed hash
    int32_t next; // the string's number + 1; 0 is an empty slot
} string_slot;

typedef struct {
    char *bytes; // every string, a NUL behind each
    size_t used, bytes_capacity;
    size_t *starts;   // [n]
    int32_t *lengths; // [n], without the NUL
    size_t n, starts_capacity, lengths_capacity;
    string_slot *slots; // [mask + 1]; NULL while there is no string
    size_t mask;
} string_table;

#define STRING_HASH UINT64_C(0xcbf29ce484222325) // FNV-1a's beginning and prime
static inline uint64_t string_hash_step(uint64_t hash, char byte) {
    return (hash ^ (unsigned char)byte) * UINT64_C(0x100000001b3);
}

uint64_t string_hash(uint64_t hash, const char *text, size_t size);
// The number of the string prefix + text, whose hash is given; -1 if it is not there. text [size] may hold any bytes.
int32_t string_find(const string_table *t, uint64_t hash, const char *prefix, const char *text, size_t size);
// The number of a string, which is added if it is new (then it is n - 1 afterwards).
int32_t string_add(string_table *t, const char *text, size_t size);
static inline const char *string_text(const string_table *t, int32_t number) { return t->bytes + t->starts[number]; }
void string_table_destroy(string_table *t);

// ---- words (unicode.c) --------------------------------------------------------------------------------------------

#define WORD_CHARACTERS 100 // a longer word is [UNK]
#define WORD_BYTES (4 * WORD_CHARACTERS)

// Gets each word in turn. word [size] is valid during the call only; of a word that is too long, it is the beginning.
typedef void word_function(void *context, const char *word, size_t size, bool too_long);

// Cleans a text as BERT does (see unicode.c), splits it at white space and punctuation, and calls take for each word.
// Returns how often invalid UTF-8 was replaced.
int64_t words_split(const char *text, size_t size, bool lower_case, word_function *take, void *context);
// Bytes of the character that text [size > 0] begins with; *c is -1 where it is not valid UTF-8, and the bytes are
// those that U+FFFD stands for: the longest beginning of a valid character, or one byte.
size_t unicode_decode(int32_t *c, const char *text, size_t size);

// Bytes of text without the white space (Unicode's White_Space) at its end.
size_t unicode_trim(const char *text, size_t size);

// ---- words (byte_level.c) -----------------------------------------------------------------------------------------

#define BYTE_PIECE_SIZE 3 // a byte's character, which has one or two bytes of UTF-8, and a NUL
// The printable character that stands for a byte in vocab.json and merges.txt (GPT-2's table).
void byte_piece(char out[BYTE_PIECE_SIZE], unsigned char byte);

typedef struct byte_splitter byte_splitter; // opaque: a compiled pattern and its scratch memory

byte_splitter *byte_splitter_create(void);
// Splits a text into words as GPT-2's pattern does and calls take for each (too_long is always false); together they
// are the text, where U+FFFD stands for what is not UTF-8. Returns how often it was put there.
int64_t byte_split(byte_splitter *s, const char *text, size_t size, word_function *take, void *context);
void byte_splitter_destroy(byte_splitter *s); // NULL is nothing

// ---- the tokenizer (tokenizer.c) ----------------------------------------------------------------------------------

enum { SPECIAL_PAD, SPECIAL_UNKNOWN, SPECIAL_BEGIN, SPECIAL_SEPARATOR, SPECIAL_MASK, SPECIAL_COUNT };
extern const char *const special_names[2][SPECIAL_COUNT]; // by tokenizer_kind
// Where in text [size] the first special name of a kind is, and *which; size if there is none. A name whose ids
// [SPECIAL_COUNT] entry is negative is ordinary text; NULL: all count.
size_t special_find(tokenizer_kind kind, const char *text, size_t size, const int32_t *ids, int *which);

typedef struct bpe bpe;

struct tokenizer {
    tokenizer_kind kind;
    char *text; // [text_size] its files, one behind the other
    size_t text_size;
    tokenizer_files files;           // parts of text
    string_table pieces;             // a piece's number is its id
    int32_t specials[SPECIAL_COUNT]; // -1 where the vocabulary has none
    bool lower_case;                 // WordPiece
    size_t longest;                  // WordPiece: bytes of the longest piece, "##" not counted
    bpe *bpe;                        // NULL for WordPiece
};

// The caller's ids, as tokenizer_encode appends to them.
typedef struct {
    int32_t **ids;
    size_t *n, *capacity;
} id_list;

static inline void id_add(id_list *list, int32_t id) {
    *list->ids = memory_grow(*list->ids, *list->n, list->capacity, sizeof **list->ids);
    (*list->ids)[(*list->n)++] = id;
}

// The two kinds. load sets the pieces, and what else the kind needs, from t->files, whose names in messages are those
// of `named`; encode appends the ids of a text without special pieces and returns how often invalid UTF-8 was replaced.
bool wordpiece_load(tokenizer *t, const tokenizer_files *named, error *err);
int64_t wordpiece_encode(const tokenizer *t, const char *text, size_t size, id_list *out);
bool bpe_load(tokenizer *t, const tokenizer_files *named, error *err);
int64_t bpe_encode(const tokenizer *t, const char *text, size_t size, id_list *out);
void bpe_destroy(bpe *b); // NULL is nothing

// ---- counted words (vocabulary.c) ---------------------------------------------------------------------------------

typedef struct {
    string_table strings;
    int64_t *counts; // [strings.n]
    size_t capacity;
} tally;

struct vocabulary_counter {
    tokenizer_kind kind;
    bool lower_case;
    byte_splitter *splitter; // NULL for WordPiece
    tally words;
    int64_t total;
};

// ---- merging (merging.c) ------------------------------------------------------------------------------------------

// Words written as pieces. A word has room for its characters; merging makes it shorter:
//     | word 0: piece piece piece - | word 1: piece - - | ...
typedef struct {
    int32_t *symbols;      // pieces of all words
    size_t *starts;        // [n] where a word begins in symbols
    int32_t *lengths;      // [n] its pieces now
    const int64_t *counts; // [n] how often it occurs
    size_t n;
} spelled_words;

// Words of the counter's, empty, with room for a piece a byte. The caller frees them.
spelled_words spelled_words_create(const vocabulary_counter *c);
void spelled_words_destroy(spelled_words *words);

typedef struct {
    int32_t left, right; // pieces
} merge;

typedef struct {
    int64_t size;          // pieces wanted
    int64_t min_frequency; // a pair that occurs less often is not merged
    size_t mark;           // bytes at the beginning of a right piece that joining drops: those of "##", or none
    void (*progress)(int64_t done, int64_t wanted);
} merge_settings;

// Makes the most frequent pair of neighbouring pieces a new piece, until there are enough of them or no pair occurs
// often enough. Ties go to the pair whose left, then right piece is first in byte order. Returns the merges, one for
// each piece that was added, in order; the caller frees them.
merge *merge_pairs(string_table *pieces, spelled_words *words, const merge_settings *settings);
// bpe_vocabulary.c: what vocabulary_train does for BPE.
int64_t bpe_train(const vocabulary_counter *c, const vocabulary_settings *settings, tokenizer_files *files,
                  void (*progress)(int64_t done, int64_t wanted), error *err);

#endif
