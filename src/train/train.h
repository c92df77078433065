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
    double epochs;             // train.epochs
    int64_t max_steps;         // train.max_steps; 0: by epochs
    int64_t batch;             // train.batch, examples or sequences of a step over all replicas
    int64_t micro_tokens;      // train.micro_tokens, tokens that pass through the layers together, at most
    int64_t eval_every;        // train.eval_every, steps; 0: every epoch
    model_recompute recompute; // train.recompute
    uint64_t seed;             // train.seed: weights, order, masks, dropout
} train_settings;

typedef enum { RESUME_OFF, RESUME_AUTO } run_resume;

typedef struct {
    char out[OPTION_STRING_SIZE];    // run.out; "" is checkpoints/TASK-DESIGN
    run_resume resume;               // run.resume
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
    checkpoint_choice which;           // evaluate.checkpoint
    char task[OPTION_STRING_SIZE];     // evaluate.task; "": what the model was trained on
    char out[OPTION_STRING_SIZE];      // evaluate.out: a JSON file, or for predict a submission file
    int64_t micro_tokens;              // train.micro_tokens
    parallel_settings parallel;
} evaluate_settings;

#define FINETUNE_TABLES 6
#define PRETRAIN_TABLES 7
#define EVALUATE_TABLES 2
// The option tables over a settings struct, for cli_read_options and option_write.
void finetune_tables(option_table tables[FINETUNE_TABLES], finetune_settings *settings);
void pretrain_tables(option_table tables[PRETRAIN_TABLES], pretrain_settings *settings);
void evaluate_tables(option_table tables[EVALUATE_TABLES], evaluate_settings *settings);

// ---- commands (finetune.c, pretrain.c, evaluate.c) -----------------------------------------------------------------

// Trains on one task, evaluates on its dev split, keeps the best and the last checkpoints, and writes results.json.
// Collective over the world; the same error on every rank.
bool train_finetune(const finetune_settings *settings, error *err);
// Trains a masked language model on token shards, evaluates on those held out, and keeps as above.
bool train_pretrain(const pretrain_settings *settings, error *err);
// Metrics of a checkpoint or run folder on a labelled split: a line to standard output, JSON where evaluate.out says.
bool train_evaluate(const char *run, const evaluate_settings *settings, error *err);
// Predictions for any split as a submission file, evaluate.out or the task's own name in the run folder.
bool train_predict(const char *run, const evaluate_settings *settings, error *err);

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

// ---- session (session.c): what training, evaluation and prediction stand on -----------------------------------------

typedef struct {
    task task;
    tokenizer *tok;
    int64_t max_length;
    model_config config;
    const optim_kind *optimizer; // borrowed; NULL without training
    double step_tokens;          // of a step of the optimizer, about
    topology topo;
    placement place;
    model model;
} session;

// The ways to know task, vocabulary and model: from settings, with the checkpoint of model.init (NULL without one) for
// what they leave out, and from a checkpoint alone. Local to the rank; the caller agrees.
bool session_read_settings(session *s, const finetune_settings *settings, const checkpoint *init, error *err);
bool session_read_pretrain_settings(session *s, const pretrain_settings *settings, const checkpoint *init, error *err);
bool session_read_checkpoint(session *s, const checkpoint *k, error *err);
// Vocabulary and model alone. What a failure leaves, session_close takes.
bool session_read_model(session *s, const checkpoint *k, error *err);
// The files of a checkpoint's vocabulary, which the caller frees.
bool session_read_vocabulary(tokenizer_files *files, const checkpoint *k, error *err);
bool session_same_vocabulary(const tokenizer *tok, const tokenizer_files *files); // to the byte
// Has the model the token types that the task's texts take? The readings ask; for who replaces the task.
bool session_check_types(const session *s, error *err);
// Rank groups, placement and model; sequence_length is the mean of S^2 over the mean of S, what a token meets in
// attention. Says what it needs, and refuses what memory cannot hold. Parameters are left undefined. Collective over
// the world; err is looked at first.
bool session_build(session *s, const parallel_settings *parallel, double sequence_length, model_request request,
                   error *err);
// Are a SAF model's first LayerNorms to be folded into this model's weights, by model.conversion?
bool session_folds(const model_config *config, model_conversion conversion);
// Does it, and says so; nothing where norms has no rows.
void session_fold(const parameter_table *norms, parameter_table *table, const model_config *config);
int64_t session_need(const session *s); // bytes of this rank's model
double session_typical_length(const dataset *d);
// Saves a checkpoint of step `step` into the run folder, with the model's config, these options and the vocabulary
// beside it. Collective over the world; the same error on every rank.
bool session_save(const session *s, const char *run, int64_t step, const parameter_table *table, bool moments,
                  const json_t *state, const option_table *tables, size_t n_tables, error *err);
void session_close(session *s);

// Warns where a run's results.json tells of another step than k, its best checkpoint at hand: the one of that step was
// not saved, or has been damaged. Local; the root's warning is what is seen.
void evaluate_compare_step(const char *run, const checkpoint *k);

// ---- signals (trainer.c) -------------------------------------------------------------------------------------------

// From here on USR1, and to a single rank TERM, ask to stop instead of ending the process; a run that trains
// sees to this itself.
void trainer_catch_signals(const comm *world);
// Has any rank been asked so far? The same answer on every rank. Collective over the world.
bool trainer_asked_to_stop(comm *world);

// ---- profiles (session.c) ------------------------------------------------------------------------------------------

// What parallel.profile names, for a model of this config. The root's file counts. Collective over the world; the same
// error on every rank.
bool train_read_profile(model_profile *profile, const char *path, const model_config *config, error *err);

#endif
