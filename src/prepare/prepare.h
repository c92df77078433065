// prepare: what text becomes before anything can train on it: a vocabulary, and token shards.
#ifndef PAF_PREPARE_H
#define PAF_PREPARE_H

#include "data/data.h"
#include "parallel/parallel.h"
#include "storage/storage.h"
#include "tokenizer/tokenizer.h"

// ---- vocabularies (vocab.c) -----------------------------------------------------------------------------------------

typedef struct {
    tokenizer_kind kind;             // vocab.kind
    char input[OPTION_STRING_SIZE];  // vocab.input: PATH[,PATH...]
    char output[OPTION_STRING_SIZE]; // vocab.output; "": vocab.txt, or for BPE the folder vocab
    int64_t size;                    // vocab.size, with special ones
    int64_t min_frequency;           // vocab.min_frequency, of a pair that is merged
    int64_t alphabet;                // vocab.alphabet, characters
    bool lower_case;                 // vocab.lower_case
} vocab_settings;

extern const option vocab_options[];

// Trains a vocabulary on the files of vocab.input and of paths [n], files or folders, and writes it to vocab.output:
// one file for WordPiece, a folder for BPE. The order of the text does not matter. Local to the rank.
bool prepare_vocabulary(const vocab_settings *settings, char *const *paths, size_t n, error *err);

// ---- token shards (tokenize.c) --------------------------------------------------------------------------------------

typedef struct {
    char input[OPTION_STRING_SIZE];  // tokenize.input: PATH[,PATH...]
    char output[OPTION_STRING_SIZE]; // tokenize.output
    char vocab[OPTION_STRING_SIZE];  // tokenize.vocab
    bool lower_case;                 // tokenize.lower_case
    document_form documents;         // tokenize.documents
    double heldout;                  // tokenize.heldout
    int64_t tokens_per_shard;        // tokenize.tokens_per_shard
} tokenize_settings;

extern const option tokenize_options[];

// Text to token shards: the files of tokenize.input and of paths [n], files or folders, in that order, shared out over
// the ranks of c. What comes out does not depend on how many they are. Collective over c; the same error on every rank.
bool prepare_tokens(comm *c, const tokenize_settings *settings, char *const *paths, size_t n, error *err);

#endif
