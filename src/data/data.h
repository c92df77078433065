// data: tasks, examples, token shards, and the packed micro-batches that the layers see.
//
// Local to the rank; knows no MPI: the caller says which part of a batch it serves. Every rank of a team loads the same
// examples and packs the same micro-batches.
#ifndef PAF_DATA_H
#define PAF_DATA_H

#include "base/base.h"
#include "batch/batch.h"
#include "storage/storage.h"
#include "tensor/tensor.h"
#include "tokenizer/tokenizer.h"

#include <jansson.h>

// ---- tasks (task.c): GLUE's nine and AX by name, any other TSV by a task file --------------------------------------

typedef enum { METRIC_ACCURACY, METRIC_ACCURACY_F1, METRIC_MATTHEWS, METRIC_CORRELATION } metric_kind;

#define TASK_NAME_SIZE 128

// How the files of one split look. Columns count from 1; 0 means that there is none.
typedef struct {
    int text[2];
    int label;       // TASK_LAST_COLUMN: whichever column is last
    int fields;      // a row has this many; 0: as many as the first line of the file
    bool header;     // the first line names the columns
    bool drop_wrong; // rows with another number of fields are dropped and counted, not an error (QQP's train and dev)
} task_columns;

#define TASK_LAST_COLUMN (-1)

typedef struct {
    char name[TASK_NAME_SIZE];   // "sst2"
    char folder[TASK_NAME_SIZE]; // "SST-2", below data.dir
    metric_kind metric;
    bool regression;
    int64_t classes;    // 1 for regression
    char **label_words; // [classes], as the files spell them; NULL for regression, or until task_collect_labels has run
    double low, high;   // regression: what predictions are clipped to in submissions
    task_columns train, dev, test;
    char train_file[TASK_NAME_SIZE], dev_file[TASK_NAME_SIZE], test_file[TASK_NAME_SIZE]; // "train.tsv"
    char dev2_file[TASK_NAME_SIZE], test2_file[TASK_NAME_SIZE]; // MNLI's mismatched; "" where there is none
    char test_elsewhere[TASK_NAME_SIZE]; // another place of the test file below data.dir (AX has two); "" is none
    bool words_in_submission;            // GLUE wants the words (MNLI, AX, QNLI, RTE), not the numbers
    char submission[2][TASK_NAME_SIZE];  // "SST-2.tsv"; MNLI has two
} task;

// By GLUE name (cola sst2 mrpc stsb qqp mnli qnli rte wnli ax); an unknown one suggests the nearest.
bool task_find(task *t, const char *name, error *err);
// From a task file (INI): configs/tasks/example.ini explains its keys. Labels that are `auto` are not there yet.
bool task_read(task *t, const char *path, error *err);
// What data.task says: the path of a task file, which holds a '/' or ends in .ini, or else a GLUE name.
bool task_open(task *t, const char *name, error *err);
// A checkpoint carries its task, so that evaluate and predict need only data.
json_t *task_to_json(const task *t);
bool task_from_json(task *t, const json_t *value, error *err);
void task_destroy(task *t);
// The label's index, or -1.
int64_t task_label_index(const task *t, const char *word, size_t length);
const char *const *task_glue_names(size_t *n);

// ---- examples (dataset.c) -----------------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    int64_t *starts;  // [n + 1] into ids
    int32_t *ids;     // [CLS] A [SEP], or [CLS] A [SEP] B [SEP]; RoBERTa: <s> A </s>, or <s> A </s> </s> B </s>
    int32_t *second;  // [n] where the second text begins within its example, and tokens of type 1; the length if there
                      // is none, and for RoBERTa, whose tokens all have type 0
    int32_t *labels;  // [n] class; NULL for regression and for an unlabelled split
    float *targets;   // [n] regression; NULL otherwise
    int64_t longest;  // tokens of the longest example
    int64_t dropped;  // rows dropped for a wrong number of fields
    int64_t replaced; // invalid UTF-8 sequences replaced
    int64_t truncated;
} dataset;

typedef enum { ORDER_EVEN, ORDER_RANDOM } data_order; // of examples: as many short and long ones in every step, or not
extern const char *const data_order_words[];          // by value, NULL behind the last

typedef struct {
    char task[OPTION_STRING_SIZE];  // data.task: a GLUE name, or the path of a task file
    char dir[OPTION_STRING_SIZE];   // data.dir: GLUE's folder, or the task's own
    char vocab[OPTION_STRING_SIZE]; // data.vocab
    bool lower_case;                // data.lower_case
    int64_t max_length;             // data.max_length, tokens of an example with its special ones
    data_order order;               // data.order
} data_settings;

extern const option data_options[];

// split: train, dev, test, or for MNLI also dev_mismatched and test_mismatched (dev means matched). Files are sought in
// dir/<folder>/ and then in dir itself. Pairs are truncated longest first to max_length. A wrong number of fields, or a
// label outside the set, is an error with file:line; invalid UTF-8 is replaced and counted.
bool dataset_load(dataset *d, const task *t, const char *dir, const char *split, const tokenizer *tok,
                  int64_t max_length, error *err);
// Fills label_words from the distinct labels of the training file, in byte order, where the task file says labels =
// auto; otherwise does nothing.
bool task_collect_labels(task *t, const char *dir, error *err);
// The path of a split's file, into out[OPTION_STRING_SIZE * 2]; false and err (naming both places) if there is none.
bool dataset_path(char *out, const task *t, const char *dir, const char *split, error *err);
void dataset_destroy(dataset *d);
static inline int64_t dataset_length(const dataset *d, int64_t i) { return d->starts[i + 1] - d->starts[i]; }

// ---- the order of examples (order.c) --------------------------------------------------------------------------------

// Sample k of a run: epoch k / n, and within it the element k % n of the permutation that (seed, RANDOM_ORDER, epoch)
// names. A step's global batch is the samples [step * batch, (step + 1) * batch).
int64_t data_sample(uint64_t seed, int64_t n, int64_t k);

// The even order: like amounts of work a step. The examples, sorted by length, are cut into as many strata as a batch
// has examples, and sample k of a run is one of stratum k % count, by a permutation of its own for each seed, epoch and
// stratum. So a step has one example of every stratum, the shortest first, those that end one epoch and begin the next
// no less:
//
//     sorted      2 2 3 3 | 4 4 5 5 | 6 7 7 9 | 9 12 20 31        tokens of 16 examples in 4 strata
//     step 0      3         4         7         20
//     step 1      2         4         9         9
//
// What it does to the statistics: an epoch holds every example once, as with data_sample, and each is as likely to be
// early as late; but which examples meet in a step is no longer left to chance alone, and what their lengths add to the
// noise of its gradient is smaller.
typedef struct {
    int64_t n, count;
    int64_t *by_length; // [n] examples
} strata;

// count > 0: examples of a step's batch; there may be more than d has.
strata strata_create(const dataset *d, int64_t count);
void strata_destroy(strata *s);
int64_t strata_sample(const strata *s, uint64_t seed, int64_t k);

// ---- batches (batch.c) --------------------------------------------------------------------------------------------

// One example, or sequence, of a step. first is the global number of its first token: its place in the step's global
// batch in sampling order, before any packing or division. However a batch is sorted and cut, it stays.
typedef struct {
    int64_t example, length, first;
    int64_t part; // what goes into one micro-batch has one number here; 0 until batch_cut
} batch_item;

typedef struct {
    int64_t tokens, sequences;
} batch_load;

typedef struct {
    int64_t n, capacity;
    batch_item *list;  // [n] in sampling order, until it is sorted or cut
    batch_load *loads; // [capacity] of the parts, for batch_cut
} batch;

// A training step's; even NULL: by data_sample, else by strata_sample.
void batch_sample(batch *b, const dataset *d, const strata *even, uint64_t seed, int64_t step, int64_t size);
void batch_range(batch *b, const dataset *d, int64_t first, int64_t n); // examples in file order, for evaluation
void batch_destroy(batch *b);
// Leaves what one replica of how many serves: like numbers of examples of like lengths.
void batch_deal(batch *b, int replica, int replicas);
// Longest first, in one part; equals in sampling order. Micro-batches packed from it are of like lengths.
void batch_sort(batch *b);
// Cuts b into parts of at most so many tokens and sequences, as few as it finds, never more than full ones in sampling
// order make, and with like numbers of tokens; and puts them one behind the other, each longest first, as attention's
// threads like it. No item is longer than tokens (REQUIREd). Returns how many parts there are.
int64_t batch_cut(batch *b, int64_t tokens, int64_t sequences);

// The packed sequences that the layers see: tensor.h draws them.
micro_batch micro_batch_create(int64_t token_capacity, int64_t sequence_capacity);
void micro_batch_destroy(micro_batch *m);
double micro_batch_squares(const micro_batch *m); // the sum of the squared lengths of its sequences
// Packs items from, from + 1, ... of b as long as they are of one part and fit into the capacities; at least one must
// fit (REQUIREd). Returns the first item that is left for the next micro-batch.
int64_t micro_batch_pack(micro_batch *m, const dataset *d, const batch *b, int64_t from, int64_t to);

// ---- making token shards (corpus.c, spool.c, shards_write.c) --------------------------------------------------------
//
// Text becomes a folder of HDF5 files that checkpoints/TOKENS.md specifies: documents of lines of tokens, in the order
// of the text, those held out in a folder of their own. Any number of ranks works together, each on files that follow
// each other, and the bytes that come out do not depend on how many they are:
//
//     texts  ->  a spool a rank  ->  shards, cut where the spools, one behind the other, say
//
// The steps, in their order; before each, all ranks must have finished the one before:
//
//     shards_begin    one rank      makes OUTPUT.tmp
//     shards_spool    every rank    its files -> OUTPUT.tmp/spool
//     shards_write    every rank    the shards that are its own -> OUTPUT.tmp/train, OUTPUT.tmp/heldout
//     shards_commit   one rank      tokens.json; OUTPUT.tmp becomes OUTPUT
//
// After a failure one rank calls shards_abandon: nothing is left of it, and an OUTPUT that was there is as it was.

typedef enum {
    DOCUMENTS_AUTO,  // DOC where a file begins with <doc, else BLANK
    DOCUMENTS_FILE,  // a file is a document
    DOCUMENTS_BLANK, // documents are separated by blank lines
    DOCUMENTS_DOC,   // lines <doc ...> and </doc>, as WikiExtractor writes them, begin and end a document
} document_form;

extern const char *const document_form_words[]; // by document_form, NULL behind the last
// Is a line (without its end) one of those around a document in the form DOC?
bool document_begins(const char *line, size_t length);
bool document_ends(const char *line, size_t length);

// The parts of a corpus, each a folder of shards.
typedef enum { SHARDS_TRAIN, SHARDS_HELDOUT, SHARDS_SPLITS } shards_split;
extern const char *const shards_split_names[SHARDS_SPLITS];

typedef struct {
    const char *output;  // the folder; no slash at its end
    int64_t rank, ranks; // which of how many this is
    document_form form;
    double heldout;           // the share of documents, chosen by a hash of their text, that is held out
    int64_t tokens_per_shard; // a shard that has as many is full; documents are not divided
    const tokenizer *tok;
} shards_job;

typedef struct {
    int64_t shards, documents, lines, tokens;
    int64_t replaced; // invalid UTF-8 sequences
} shards_counts;

// An OUTPUT that holds anything but token shards is an error.
bool shards_begin(const shards_job *job, error *err);
// files [n] in their order: this rank's come behind those of the rank before. progress is called behind each file with
// bytes done and wanted; it may be NULL.
bool shards_spool(const shards_job *job, char *const *files, size_t n, void (*progress)(int64_t done, int64_t wanted),
                  error *err);
// Returns an account of the shards written, for shards_commit. Caller frees. NULL and err on failure.
char *shards_write(const shards_job *job, error *err);
// accounts [ranks]: in rank order. Fills counts. Texts without any token are an error, and so is a part without any
// document: SHARDS_TRAIN, or where heldout is above 0, SHARDS_HELDOUT.
bool shards_commit(const shards_job *job, char *const *accounts, shards_counts counts[SHARDS_SPLITS], error *err);
void shards_abandon(const shards_job *job);

// ---- reading token shards (shards.c) --------------------------------------------------------------------------------

typedef struct {
    char *path;
    char checksum[CHECKSUM_SIZE];
    int64_t first;                    // the number of its first token in the folder
    int64_t documents, lines, tokens; // in it
    h5_file *file;                    // NULL while it is closed
    int64_t used;                     // when it was last read, by the folder's clock
} shard;

// A folder of shards, seen as one row of tokens from 0 to counts.tokens.
typedef struct {
    char *path;
    char checksum[CHECKSUM_SIZE]; // of its tokens.json, which has those of all shards
    int64_t n;
    shard *list; // [n]
    shards_counts counts;
    int64_t pieces; // of the vocabulary: every id is below
    int64_t open, clock;
} shards;

// Opens OUTPUT/train or OUTPUT/heldout. Shards that were made with another vocabulary or casing, or of which one is
// missing or has not the size that it should, are an error.
bool shards_open(shards *s, const char *path, const tokenizer *tok, error *err);
void shards_close(shards *s);
// Reads the tokens first .. first + n - 1 into ids, and nothing else. Few files are open at a time.
bool shards_read(shards *s, int64_t first, int64_t n, int32_t *ids, error *err);
// Where lines and documents of shard i begin: lines [lines + 1] are tokens of the shard, documents [documents + 1] are
// lines of it, each with the end behind the last. Caller frees both.
bool shards_read_boundaries(shards *s, int64_t i, int64_t **lines, int64_t **documents, error *err);
// Holds every parts-th shard from number `part` on against its checksum, so that ranks can share the work.
bool shards_verify(const shards *s, int64_t part, int64_t parts, error *err);

// ---- full sentences (sequences.c) -----------------------------------------------------------------------------------
//
// Sequences to learn from, as RoBERTa packs them (FULL-SENTENCES): whole lines, one behind the other, as many as fit,
// with a separator where a document ends within. Only a line of more tokens than a sequence can hold is cut: it begins
// behind the line before it, and wherever a sequence is full.
//
//     lines       a a a a a | b b b ‖ c c | d d d d ...           ‖: a document ends
//     sequences   [CLS] a a a a a b b b [SEP] c c [SEP]           then [CLS] d d d d ...
//
// Every token of the shards is in one sequence. Which, depends on the shards and the length alone.

typedef struct {
    int64_t first;  // token of the shards
    int32_t tokens; // of the shards
    int32_t length; // with begin, end, and separators between documents
} sequence;

typedef struct {
    shards *source; // borrowed; reading opens its files
    int64_t n;
    sequence *list;     // [n]
    int64_t *documents; // [counts.documents] the first token of each
    int64_t longest;    // length of the longest
    int64_t tokens;     // the sum of all lengths
    int32_t begin, separator;
} sequences;

// Reads the boundaries of all shards, no token. length >= 3: of a sequence with its special tokens, at most.
bool sequences_create(sequences *q, shards *source, const tokenizer *tok, int64_t length, error *err);
void sequences_destroy(sequences *q);
// ids [list[i].length] of sequence i, special tokens included.
bool sequences_read(const sequences *q, int64_t i, int32_t *ids, error *err);

// Batches and micro-batches of sequences, as above those of examples: a step's global batch is the samples
// [step * size, (step + 1) * size) by data_sample, so that a step's number is all that resuming needs. There is no even
// order here: most sequences are full, and steps of 256 of them differ in tokens by about a hundredth (3.5 % with 32 of
// 128 tokens, on Wikipedia and Gutenberg).
void sequences_sample(batch *b, const sequences *q, uint64_t seed, int64_t step, int64_t size);
void sequences_range(batch *b, const sequences *q, int64_t first, int64_t n);
// *next is the first item that is left. All types are 0. Reads the tokens of what it packs, no others.
bool sequences_pack(micro_batch *m, const sequences *q, const batch *b, int64_t from, int64_t to, int64_t *next,
                    error *err);

// ---- masked language modelling (masking.c) --------------------------------------------------------------------------
//
// Of a sequence of n tokens, special and unknown ones not counted, int(share n + U) are chosen, at least one; U is
// uniform in [0, 1). Of the chosen, 80 % become the mask, 10 % any ordinary piece, 10 % stay. All of it depends on the
// stream and on each token's global number alone, so that every step has masks of its own and no layout or packing
// changes them (dynamic masking; Devlin et al., 2019; Liu et al., 2019). With whole_words, words are chosen, in the
// order of the draw those that still fit into that number (none where all are longer); each of their pieces has its own
// of the three fates. Lines follow each other without a space, so that with BPE the first word of one belongs to the
// last word of the one before.

typedef struct {
    double share;
    bool whole_words;
    int32_t mask;
    int64_t pieces;    // in the vocabulary
    uint8_t *kinds;    // [pieces] special, begins a word, goes on with one
    int32_t *ordinary; // [n_ordinary] the pieces that are not special
    int64_t n_ordinary;
    struct masking_unit *units; // [longest] scratch
    int64_t longest;            // sequence so far
} masking;

// A vocabulary without a mask piece is an error.
bool masking_create(masking *m, const tokenizer *tok, double share, bool whole_words, error *err);
void masking_destroy(masking *m);
// Tokens chosen of a micro-batch of so many tokens and sequences, at most.
int64_t masking_capacity(const masking *m, int64_t tokens, int64_t sequences);
masked_tokens masked_tokens_create(int64_t capacity);
void masked_tokens_destroy(masked_tokens *t);
// Chooses tokens of b, replaces their ids, and says in out which they were.
void masking_apply(masking *m, masked_tokens *out, micro_batch *b, random_stream stream);

// ---- submissions (submission.c): local to the rank -----------------------------------------------------------------

// GLUE's format: header index<TAB>prediction, index from 0 in file order; the class number, or its word where the task
// wants words; regression clipped to the task's range with three decimals. Written atomically.
bool submission_write(const char *path, const task *t, int64_t n, const int32_t *predicted, const float *values,
                      error *err);

#endif
