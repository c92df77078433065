// What the files of this room share: a table of strings, words as BERT sees them, the special pieces' names, pair
// merging.
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

// ---- special pieces (wordpiece.c) ---------------------------------------------------------------------------------

enum { SPECIAL_PAD, SPECIAL_UNKNOWN, SPECIAL_BEGIN, SPECIAL_SEPARATOR, SPECIAL_MASK, SPECIAL_COUNT };
extern const char *const special_names[SPECIAL_COUNT]; // in the order of a trained vocabulary
// Where in text [size] the first special name is, and *which; size if there is none. A name whose ids [SPECIAL_COUNT]
// entry is negative is ordinary text; NULL: all count.
size_t special_find(const char *text, size_t size, const int32_t *ids, int *which);

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

// Makes the most frequent pair of neighbouring pieces a new piece, until there are `size` of them or no pair occurs
// min_frequency times. Ties go to the pair whose left, then right piece is first in byte order.
void merge_pairs(string_table *pieces, spelled_words *words, int64_t size, int64_t min_frequency,
                 void (*progress)(int64_t done, int64_t wanted));

#endif
