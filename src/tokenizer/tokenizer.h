// tokenizer: text to ids. Unicode clean-up, WordPiece (BERT's), byte-level BPE (RoBERTa's), vocabulary training.
//
// Local to the rank, and for one thread at a time: a BPE tokenizer remembers words that it has met.
#ifndef PAF_TOKENIZER_H
#define PAF_TOKENIZER_H

#include "base/base.h"

typedef enum { TOKENIZER_WORDPIECE, TOKENIZER_BPE } tokenizer_kind;

typedef struct tokenizer tokenizer; // opaque: its tables refer to each other

// The pieces around texts. One text is  begin A separator;  a pair is
//     begin A separator B separator               BERT: between = 1
//     begin A separator separator B separator     RoBERTa: between = 2
typedef struct {
    int32_t pad, unknown, begin, separator, mask; // [PAD] [UNK] [CLS] [SEP] [MASK], or <pad> <unk> <s> </s> <mask>; pad
                                                  // and mask: -1 if there is none
    int32_t between;                              // separators between the two texts of a pair
    int32_t types; // 2: B and the separator behind it have type 1 (BERT); 1: every token has type 0 (RoBERTa)
} tokenizer_specials;

// The files that a vocabulary is made of, as folders and checkpoints carry them: vocab.txt, one piece a line (BERT's
// format), or vocab.json, an object {"piece": id, ...}, and merges.txt, a line "#version..." and then two pieces a
// line, the first to be merged first (RoBERTa's and GPT-2's).
#define TOKENIZER_FILES 2
typedef struct {
    struct {
        const char *name; // borrowed: one of tokenizer_file_names, or a path that ends in it
        char *text;       // [size]
        size_t size;
    } file[TOKENIZER_FILES];
    size_t n;
} tokenizer_files;
extern const char *const tokenizer_file_names[];   // all there are; NULL behind the last
void tokenizer_files_free(tokenizer_files *files); // the texts of a list that owns them

// Reads a vocabulary: path is a vocab.txt (whatever its name), a vocab.json with merges.txt beside it, or a folder that
// holds vocab.json and merges.txt, or else vocab.txt. A vocabulary without [UNK], [CLS] or [SEP] (<unk>, <s> or </s>),
// with a piece or merge twice, with ids that are not 0, 1, 2, ..., with a merge of pieces that it has not, or empty, is
// an error that names file and, where it can, line. lower_case: BERT uncased (lower-cased, accents dropped) or cased;
// BPE does not look at it. NULL and err on failure.
tokenizer *tokenizer_load(const char *path, bool lower_case, error *err);
// The same from files in memory, which are copied; their names stand in messages.
tokenizer *tokenizer_load_files(const tokenizer_files *files, bool lower_case, error *err);
// The same from the text of a vocab.txt; `where` names it in messages.
tokenizer *tokenizer_load_text(const char *text, size_t size, bool lower_case, const char *where, error *err);
void tokenizer_destroy(tokenizer *t);

int64_t tokenizer_size(const tokenizer *t); // pieces in the vocabulary
tokenizer_specials tokenizer_special_ids(const tokenizer *t);
bool tokenizer_lower_case(const tokenizer *t);               // false for BPE
const char *tokenizer_piece(const tokenizer *t, int32_t id); // NULL outside the vocabulary; BPE's as in vocab.json
int32_t tokenizer_id(const tokenizer *t, const char *piece); // -1 if there is none
// Does the piece go on with a word that another one began? WordPiece says so with ##, BPE by no space in front.
bool tokenizer_continues_word(const tokenizer *t, int32_t id);
// The files it came from, byte for byte, by their plain names; they belong to the tokenizer.
const tokenizer_files *tokenizer_files_of(const tokenizer *t);
const char *tokenizer_text(const tokenizer *t, size_t *size); // the same, one behind the other: what identifies it

// Ids of a text, without those around it. Equal to Hugging Face's BertTokenizerFast, or RobertaTokenizerFast without a
// space added in front (special tokens in raw text included; white space before <mask> belongs to it). Invalid UTF-8
// becomes U+FFFD, which BERT drops, and is counted in *replaced if it is not NULL. A byte for which a BPE vocabulary
// has no piece is left out, as there; RoBERTa's, GPT-2's and those trained here have all 256. Appends to *ids, which
// grows by memory_grow: *n used, *capacity. Returns the number of ids appended.
size_t tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *n, size_t *capacity,
                        int64_t *replaced);

// ---- vocabulary training (vocabulary.c, bpe_vocabulary.c) ----------------------------------------------------------

typedef struct {
    int64_t size;          // pieces wanted, special tokens included
    int64_t min_frequency; // a pair seen less often is not merged
    int64_t alphabet;      // WordPiece: characters kept, the most frequent first; BPE keeps every byte
    bool lower_case;       // WordPiece
} vocabulary_settings;

typedef struct vocabulary_counter vocabulary_counter; // words and how often they occur

vocabulary_counter *vocabulary_counter_create(tokenizer_kind kind, bool lower_case);
// Counts the words of a text. Returns how often invalid UTF-8 was replaced.
int64_t vocabulary_count(vocabulary_counter *c, const char *text, size_t size);
int64_t vocabulary_words(const vocabulary_counter *c); // words counted
int64_t vocabulary_distinct_words(const vocabulary_counter *c);
void vocabulary_counter_destroy(vocabulary_counter *c);
// Trains a vocabulary of the counter's kind by merging the most frequent pair of neighbouring pieces (ties: the pair
// that is first in byte order). WordPiece begins from characters, [PAD] [UNK] [CLS] [SEP] [MASK] first; BPE from the
// 256 bytes, <s> <pad> </s> <unk> first and <mask> last. Sets *files, which the caller frees, and returns the number of
// pieces, which is less than wanted if pairs run out first. Deterministic, whatever the order of the text.
// progress is called now and then with pieces done and wanted; it may be NULL. No word at all, or a size that does not
// hold what it begins from: 0 and err.
int64_t vocabulary_train(const vocabulary_counter *c, const vocabulary_settings *settings, tokenizer_files *files,
                         void (*progress)(int64_t done, int64_t wanted), error *err);

#endif
