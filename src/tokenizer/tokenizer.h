// tokenizer: text to ids. Unicode clean-up, WordPiece, vocabulary training.
//
// Local to the rank. A tokenizer is read-only once loaded.
#ifndef PAF_TOKENIZER_H
#define PAF_TOKENIZER_H

#include "base/base.h"

typedef struct tokenizer tokenizer; // opaque: its tables refer to each other

typedef struct {
    int32_t pad, unknown, begin, separator, mask; // [PAD] [UNK] [CLS] [SEP] [MASK]; pad and mask: -1 if there is none
} tokenizer_specials;

// Reads vocab.txt, one piece a line (BERT's format). A vocabulary without [UNK], [CLS] or [SEP], with a piece twice, or
// empty, is an error that names the line. lower_case: BERT uncased (lower-cased, accents dropped) or cased.
// NULL and err on failure.
tokenizer *tokenizer_load(const char *path, bool lower_case, error *err);
// The same from the text of a vocab.txt, as checkpoints carry it; `where` names it in messages.
tokenizer *tokenizer_load_text(const char *text, size_t size, bool lower_case, const char *where, error *err);
void tokenizer_destroy(tokenizer *t);

int64_t tokenizer_size(const tokenizer *t); // pieces in the vocabulary
tokenizer_specials tokenizer_special_ids(const tokenizer *t);
bool tokenizer_lower_case(const tokenizer *t);
const char *tokenizer_piece(const tokenizer *t, int32_t id);  // NULL outside the vocabulary
int32_t tokenizer_id(const tokenizer *t, const char *piece);  // -1 if there is none
const char *tokenizer_text(const tokenizer *t, size_t *size); // the vocab.txt it came from, byte for byte

// Ids of a text, without [CLS] and [SEP]. Equal to Hugging Face's BertTokenizerFast (special tokens in raw text
// included). Invalid UTF-8 becomes U+FFFD, which BERT drops, and is counted in *replaced if it is not NULL.
// Appends to *ids, which grows by memory_grow: *n used, *capacity. Returns the number of ids appended.
size_t tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *n, size_t *capacity,
                        int64_t *replaced);

// ---- vocabulary training (vocabulary.c) ---------------------------------------------------------------------------

typedef struct {
    int64_t size;          // pieces wanted, special tokens included
    int64_t min_frequency; // a pair seen less often is not merged
    int64_t alphabet;      // characters kept, the most frequent first
    bool lower_case;
} vocabulary_settings;

typedef struct vocabulary_counter vocabulary_counter; // words and how often they occur

vocabulary_counter *vocabulary_counter_create(bool lower_case);
// Counts the words of a text. Returns how often invalid UTF-8 was replaced.
int64_t vocabulary_count(vocabulary_counter *c, const char *text, size_t size);
int64_t vocabulary_words(const vocabulary_counter *c); // words counted
int64_t vocabulary_distinct_words(const vocabulary_counter *c);
void vocabulary_counter_destroy(vocabulary_counter *c);
// Trains a WordPiece vocabulary by merging the most frequent pair of neighbouring pieces (ties: the pair that is first
// in byte order), beginning from characters, [PAD] [UNK] [CLS] [SEP] [MASK] first; the text of a vocab.txt, which the
// caller frees. It is shorter than wanted if pairs run out first. Deterministic, whatever the order of the text.
// progress is called now and then with pieces done and wanted; it may be NULL. No word at all, or a size that does not
// hold the alphabet: NULL and err.
char *vocabulary_train(const vocabulary_counter *c, const vocabulary_settings *settings,
                       void (*progress)(int64_t done, int64_t wanted), error *err);

#endif
