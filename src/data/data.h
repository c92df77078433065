// data: tasks, examples, and the packed micro-batches that the layers see.
//
// Local to the rank; knows no MPI: the caller says which part of a batch it serves. Every rank of a team loads the same
// examples and packs the same micro-batches.
#ifndef PAF_DATA_H
#define PAF_DATA_H

#include "base/base.h"
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

typedef struct {
    char task[OPTION_STRING_SIZE];  // data.task: a GLUE name, or the path of a task file
    char dir[OPTION_STRING_SIZE];   // data.dir: GLUE's folder, or the task's own
    char vocab[OPTION_STRING_SIZE]; // data.vocab
    bool lower_case;                // data.lower_case
    int64_t max_length;             // data.max_length, tokens of an example with its special ones
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

// ---- batches (batch.c) --------------------------------------------------------------------------------------------

// Sample k of a run: epoch k / n, and within it the element k % n of the permutation that (seed, RANDOM_ORDER, epoch)
// names. A step's global batch is the samples [step * batch, (step + 1) * batch).
int64_t data_sample(uint64_t seed, int64_t n, int64_t k);

// A list of examples of one step in sampling order, with the global number of each one's first token: its place in the
// step's global batch before any packing or division.
typedef struct {
    int64_t n, capacity;
    int64_t *examples; // [n]
    int64_t *first;    // [n]
} batch;

void batch_sample(batch *b, const dataset *d, uint64_t seed, int64_t step, int64_t size); // a training step's
void batch_range(batch *b, const dataset *d, int64_t first, int64_t n); // examples in file order, for evaluation
void batch_destroy(batch *b);

// The packed sequences that the layers see: tensor.h draws them.
micro_batch micro_batch_create(int64_t token_capacity, int64_t sequence_capacity);
void micro_batch_destroy(micro_batch *m);
// Packs elements from, from + 1, ... of b as long as they fit into the capacities; at least one must fit (REQUIREd).
// Returns the first element that is left for the next micro-batch.
int64_t micro_batch_pack(micro_batch *m, const dataset *d, const batch *b, int64_t from, int64_t to);

// ---- masked language modelling (masking.c) --------------------------------------------------------------------------
//
// Of a sequence of n tokens, special and unknown ones not counted, int(share n + U) are chosen, at least one; U is
// uniform in [0, 1). Of the chosen, 80 % become the mask, 10 % any ordinary piece, 10 % stay. All of it depends on the
// stream and on each token's global number alone, so that every step has masks of its own and no layout or packing
// changes them (dynamic masking; Devlin et al., 2019; Liu et al., 2019). With whole_words, words are chosen, in the
// order of the draw those that still fit into that number (none where all are longer); each of their pieces has its own
// of the three fates.

typedef struct {
    double share;
    bool whole_words;
    int32_t mask;
    int64_t pieces;    // in the vocabulary
    uint8_t *kinds;    // [pieces] special, begins a word, goes on with one
    int32_t *ordinary; // [n_ordinary] the pieces that are not special
    int64_t n_ordinary;
} masking;

// A vocabulary without a mask piece is an error.
bool masking_create(masking *m, const tokenizer *tok, double share, bool whole_words, error *err);
void masking_destroy(masking *m);
// Tokens chosen of a micro-batch of so many tokens and sequences, at most.
int64_t masking_capacity(const masking *m, int64_t tokens, int64_t sequences);
masked_tokens masked_tokens_create(int64_t capacity);
void masked_tokens_destroy(masked_tokens *t);
// Chooses tokens of b, replaces their ids, and says in out which they were.
void masking_apply(const masking *m, masked_tokens *out, micro_batch *b, random_stream stream);

#endif
