// train: the driver. Step loop, evaluation, metrics, run folder, progress.
//
//     settings -> session (task, tokenizer, rank groups, model) -> step loop -> run folder
#ifndef PAF_TRAIN_H
#define PAF_TRAIN_H

#include "checkpoint/checkpoint.h"
#include "data/data.h"
#include "model/model.h"
#include "optim/optim.h"
#include "parallel/parallel.h"

#include <jansson.h>

// ---- settings (settings.c) -----------------------------------------------------------------------------------------

typedef struct {
    double epochs;                      // train.epochs
    int64_t max_steps;                  // train.max_steps; 0: by epochs
    int64_t batch;                      // train.batch, examples or sequences of a step over all replicas
    int64_t micro_tokens;               // train.micro_tokens, tokens that pass through the layers together, at most
    int64_t eval_every;                 // train.eval_every, steps; 0: every epoch
    char recompute[OPTION_STRING_SIZE]; // train.recompute: off layer
    uint64_t seed;                      // train.seed: weights, order, masks, dropout
} train_settings;

typedef struct {
    char out[OPTION_STRING_SIZE];    // run.out; "" is checkpoints/TASK-DESIGN
    char resume[OPTION_STRING_SIZE]; // run.resume: off auto
    bool save;                       // run.save; off: no checkpoints at all, for measuring
    int64_t checkpoint_every;        // run.checkpoint_every, steps; 0: at evaluations
    int64_t keep;                    // run.keep, newest checkpoints, besides the best
    double log_every;                // run.log_every, seconds
    char trace[OPTION_STRING_SIZE];  // run.trace: a file; "" is none
    int64_t trace_from, trace_steps; // run.trace_from, the first step, and how many
} run_settings;

typedef struct {
    data_settings data;
    model_settings model;
    train_settings train;
    optim_settings optim;
    parallel_settings parallel;
    run_settings run;
} finetune_settings;

typedef struct {
    char tokens[OPTION_STRING_SIZE]; // data.tokens: what paf tokenize made
    char vocab[OPTION_STRING_SIZE];  // data.vocab
    bool lower_case;                 // data.lower_case
    int64_t length;                  // data.length, tokens of a sequence with its special ones
    int64_t heldout;                 // data.heldout, sequences of an evaluation; 0: all
    double mask;                     // data.mask
    bool whole_words;                // data.whole_words
    bool verify;                     // data.verify
} pretrain_data_settings;

typedef struct {
    int64_t tokens;     // train.batch_tokens; 0: train.batch sequences
    int64_t accumulate; // train.accumulate, micro-batches a step; 0: by train.micro_tokens
} pretrain_batch_settings;

typedef struct {
    pretrain_data_settings data;
    model_settings model;
    train_settings train;
    pretrain_batch_settings batch;
    optim_settings optim;
    parallel_settings parallel;
    run_settings run;
} pretrain_settings;

typedef struct {
    char data_dir[OPTION_STRING_SIZE]; // data.dir
    char split[OPTION_STRING_SIZE];    // evaluate.split
    char which[OPTION_STRING_SIZE];    // evaluate.checkpoint: best latest
    char task[OPTION_STRING_SIZE];     // evaluate.task; "": what the model was trained on
    char out[OPTION_STRING_SIZE];      // evaluate.out: a JSON file, or for predict a submission file
    int64_t micro_tokens;              // train.micro_tokens
    parallel_settings parallel;
} evaluate_settings;

typedef struct {
    char input[OPTION_STRING_SIZE];     // tokenize.input: PATH[,PATH...]
    char output[OPTION_STRING_SIZE];    // tokenize.output
    char vocab[OPTION_STRING_SIZE];     // tokenize.vocab
    bool lower_case;                    // tokenize.lower_case
    char documents[OPTION_STRING_SIZE]; // tokenize.documents: auto file blank doc
    double heldout;                     // tokenize.heldout
    int64_t tokens_per_shard;           // tokenize.tokens_per_shard
} tokenize_settings;

extern const option tokenize_options[];

typedef struct {
    char from[OPTION_STRING_SIZE];       // import.from
    char to[OPTION_STRING_SIZE];         // import.to
    char vocab[OPTION_STRING_SIZE];      // import.vocab; "": in import.from
    char lower_case[OPTION_STRING_SIZE]; // import.lower_case: auto off on
    char task[OPTION_STRING_SIZE];       // import.task
    int64_t max_length;                  // import.max_length
    char design[OPTION_STRING_SIZE];     // model.design: auto saf paf
    char conversion[OPTION_STRING_SIZE]; // model.conversion: drop fold
    parallel_settings parallel;
} import_settings;

typedef struct {
    char from[OPTION_STRING_SIZE];  // export.from
    char to[OPTION_STRING_SIZE];    // export.to
    char which[OPTION_STRING_SIZE]; // export.checkpoint: best latest
} export_settings;

extern const option export_options[];

typedef struct {
    char tasks[OPTION_STRING_SIZE];        // glue.tasks: NAME[,NAME...]
    char designs[OPTION_STRING_SIZE];      // glue.designs
    int64_t seeds;                         // glue.seeds: train.seed and those behind it
    char recipes[OPTION_STRING_SIZE];      // glue.recipes: PREFIX of INI files
    char init_saf[OPTION_STRING_SIZE];     // glue.init_saf; "": model.init
    char init_paf[OPTION_STRING_SIZE];     // glue.init_paf
    char intermediate[OPTION_STRING_SIZE]; // glue.intermediate: off mnli
    bool predict;                          // glue.predict
    char keep[OPTION_STRING_SIZE];         // glue.keep: best all
} glue_settings;

#define FINETUNE_TABLES 6
#define GLUE_TABLES (1 + FINETUNE_TABLES)
#define PRETRAIN_TABLES 7
#define EVALUATE_TABLES 2
#define IMPORT_TABLES 2
// The option tables over a settings struct, for cli_read_options and option_write.
void finetune_tables(option_table tables[FINETUNE_TABLES], finetune_settings *settings);
void pretrain_tables(option_table tables[PRETRAIN_TABLES], pretrain_settings *settings);
void evaluate_tables(option_table tables[EVALUATE_TABLES], evaluate_settings *settings);
void import_tables(option_table tables[IMPORT_TABLES], import_settings *settings);
void glue_tables(option_table tables[GLUE_TABLES], glue_settings *settings, finetune_settings *finetune);

// ---- commands (finetune.c, pretrain.c, evaluate.c, tokenize.c) -----------------------------------------------------

// Trains on one task, evaluates on its dev split, keeps the best and the last checkpoints, and writes results.json.
// Collective over the world; the same error on every rank.
bool train_finetune(const finetune_settings *settings, error *err);
// Trains a masked language model on token shards, evaluates on those held out, and keeps as above.
bool train_pretrain(const pretrain_settings *settings, error *err);
// Metrics of a checkpoint or run folder on a labelled split: a line to standard output, JSON where evaluate.out says.
bool train_evaluate(const char *run, const evaluate_settings *settings, error *err);
// Predictions for any split as a submission file, evaluate.out or the task's own name in the run folder.
bool train_predict(const char *run, const evaluate_settings *settings, error *err);

// Text to token shards: the files of tokenize.input and of paths [n], files or folders, in that order, shared out over
// the ranks of c. What comes out does not depend on how many they are. Collective over c; the same error on every rank.
bool train_tokenize(comm *c, const tokenize_settings *settings, char *const *paths, size_t n, error *err);

// ---- Hugging Face's folders (import.c, export.c) --------------------------------------------------------------------

// A folder with config.json, model.safetensors and vocabulary to step 0 of a new run folder: the encoder, and the heads
// that there are. Each rank reads what it owns. Collective over the world; the same error on every rank.
bool train_import(const import_settings *settings, error *err);
// A run or checkpoint folder to a folder that transformers loads; a PAF model with the code that computes it, so that
// it is not mistaken for a SAF one. Rank 0 works. Collective as above.
bool train_export(const export_settings *settings, error *err);

// ---- all of GLUE (glue_list.c, glue.c) -----------------------------------------------------------------------------

#define GLUE_DESIGNS 2 // indexed by model_design

typedef struct {
    char name[OPTION_STRING_SIZE]; // as data.task has it
    task task;
    finetune_settings settings; // the caller's to fill: how it is trained, whatever the design and seed
} glue_task;

typedef struct {
    glue_settings settings;
    glue_task *tasks; // [n], in the order asked for
    size_t n, capacity;
    bool designs[GLUE_DESIGNS];
} glue_list;

// Opens the tasks that settings list. False and err where a task or design is unknown or named twice; what was made,
// glue_list_destroy takes. Local to the rank.
bool glue_list_create(glue_list *l, const glue_settings *settings, error *err);
void glue_list_destroy(glue_list *l);
// Fine-tunes every task by every design and seed, each in a folder of its own below out, TASK-DESIGN-SEED. What has
// results there is not run again, what was begun is gone on with; both must have been made with the same settings,
// which is looked at before anything runs. After each run the table: standard output, table.csv and table.md. A signal
// that stops a run ends the list. Collective over the world; the same error on every rank.
bool train_glue(const glue_list *l, const char *out, error *err);

// ---- its table (glue_table.c): local to the rank -------------------------------------------------------------------

typedef struct {
    size_t n;
    double median, low, high; // of an even number the median is the mean of the two in the middle
} glue_spread;

glue_spread glue_spread_of(const double *values, size_t n); // zeros for n = 0

typedef struct {
    char task[TASK_NAME_SIZE]; // "mnli"
    char part[TASK_NAME_SIZE]; // "mnli-mm", or the task's name once more
    char metric[64];
    double *values[GLUE_DESIGNS]; // [n], a run each, as fractions
    size_t n[GLUE_DESIGNS], capacity[GLUE_DESIGNS];
} glue_row;

typedef struct {
    glue_row *rows; // [n], in the order in which they were first added to
    size_t n, capacity;
    bool shown[GLUE_DESIGNS];
} glue_table;

typedef enum { GLUE_TEXT, GLUE_MARKDOWN, GLUE_CSV } glue_format;

// A run's value. All that is of one task must be added before another task's.
void glue_table_add(glue_table *t, const char *task, const char *part, const char *metric, model_design design,
                    double value);
// Means over tasks, where a task's score is the mean of its rows' medians, as GLUE's own is. Over those tasks that all
// designs shown have whole; how many these are comes back.
int glue_table_averages(const glue_table *t, double averages[GLUE_DESIGNS]);
// CSV has fractions, the others percent. Caller frees.
char *glue_table_write(const glue_table *t, glue_format format);
void glue_table_destroy(glue_table *t);

// ---- metrics (metrics.c): local to the rank ------------------------------------------------------------------------

// Of n examples: predicted classes against labels, or predicted values against targets (the other two are NULL).
// An object of GLUE's names: accuracy; f1 (of class 1); matthews_correlation; pearson, spearmanr (average ranks for
// ties). An undefined correlation is 0, never NaN. n = 0 gives zeros.
json_t *metrics_compute(metric_kind kind, int64_t n, const int32_t *predicted, const int32_t *labels,
                        const float *values, const float *targets);
// The mean of the object's members: what the best checkpoint is chosen by.
double metrics_mean(const json_t *metrics);

// ---- a step (step.c): what surrounds the forward and backward passes, whatever is learnt ----------------------------

// Before the first micro-batch: the gradients are zeroed.
void train_step_begin(model *m);
// After the last: the gradients, of a sum of `count` losses, are summed over all ranks, divided by count and clipped,
// and the weights updated; update counts from 1. Returns the gradient's norm before clipping. Collective over the ranks
// of the topology.
double train_step_end(model *m, const topology *t, const optim_settings *optim, double lr, int64_t update,
                      double count);

// ---- profiles (session.c) ------------------------------------------------------------------------------------------

// What parallel.profile names, for a model of this config. The root's file counts. Collective over the world; the same
// error on every rank.
bool train_read_profile(model_profile *profile, const char *path, const model_config *config, error *err);

// ---- submissions (submission.c): local to the rank -----------------------------------------------------------------

// GLUE's format: header index<TAB>prediction, index from 0 in file order; the class number, or its word where the task
// wants words; regression clipped to the task's range with three decimals. Written atomically.
bool submission_write(const char *path, const task *t, int64_t n, const int32_t *predicted, const float *values,
                      error *err);

#endif
