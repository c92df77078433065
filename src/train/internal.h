// The parts of the driver. Private to this room.
#ifndef PAF_TRAIN_INTERNAL_H
#define PAF_TRAIN_INTERNAL_H

#include "train/train.h"

// ---- session.c: what training, evaluation and prediction stand on ---------------------------------------------------

typedef struct {
    task task;
    tokenizer *tok;
    int64_t max_length;
    model_config config;
    topology topo;
    placement place;
    model model;
} session;

// The three ways to know task, vocabulary and model: from settings, and from a checkpoint. Local to the rank; the
// caller agrees.
bool session_read_settings(session *s, const finetune_settings *settings, error *err);
bool session_read_checkpoint(session *s, const checkpoint *k, error *err);
// The files of a checkpoint's vocabulary, which the caller frees.
bool session_read_vocabulary(tokenizer_files *files, const checkpoint *k, error *err);
// Rank groups, placement and model, for data like d. Parameters are left undefined. Collective over the world.
bool session_build(session *s, const parallel_settings *parallel, const dataset *d, int64_t max_tokens,
                   int64_t max_sequences, bool training, error *err);
void session_log_placement(const session *s); // a line a rank; collective over the world
void session_close(session *s);

// ---- evaluation.c ---------------------------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    int32_t *predicted; // [n], NULL for regression
    float *values;      // [n], NULL for classification
    double loss;        // mean; 0 without labels
    json_t *metrics;    // NULL without labels
} evaluation;

// Every example of d once, in file order; the same result on every rank. Collective over the team.
void evaluation_run(evaluation *e, session *s, const dataset *d, const char *what);
void evaluation_destroy(evaluation *e);

// ---- run.c: the run folder, kept by the root
// --------------------------------------------------------------------------

typedef struct {
    char path[OPTION_STRING_SIZE * 2];
    bool root;
    int lock;
    FILE *metrics; // metrics.jsonl, on the root
} run;

// Makes the folder and takes its lock. A folder that holds a run is an error unless resume. Collective over the world.
bool run_open(run *r, comm *world, const char *path, bool resume, const option_table *tables, size_t n, error *err);
// Drops the lines of metrics.jsonl that are beyond a step, so that a resumed run does not tell them twice.
bool run_rewind(run *r, int64_t step, error *err);
void run_write_metrics(run *r, json_t *line);                // takes the reference
bool run_write_results(run *r, json_t *results, error *err); // takes the reference
void run_close(run *r);

// ---- progress.c
// -------------------------------------------------------------------------------------------------------

typedef struct {
    double interval;    // seconds between lines
    double peak;        // GFLOP/s of all ranks' cores
    double begun, last; // time_now()
    int64_t first_step, last_step, steps;
    double tokens, work; // since the last line
} progress;

// Measures the machine's peak and starts the clock. Collective over the world.
void progress_start(progress *p, comm *world, double interval, int64_t first_step, int64_t steps);
void progress_add(progress *p, double tokens, double work);
bool progress_due(const progress *p, int64_t done); // the root's opinion
// Collective over the world: where the ranks' time went since the last line.
void progress_print(progress *p, comm *world, int64_t done, double loss, double lr, double norm);

// ---- finetune.c, step.c, keep.c: a fine-tuning run
// --------------------------------------------------------------------

// What it is made of, and where it stands.
typedef struct {
    const finetune_settings *settings;
    session s;
    dataset train, dev;
    batch examples;     // of the current step
    micro_batch packed; // of the current micro-batch
    run run;
    progress progress;
    int64_t steps, eval_every;
    int64_t done;         // steps
    int64_t best_step;    // 0: none yet
    double best_mean;     // of the best evaluation's metrics
    json_t *best;         // its metrics
    json_t *last;         // the newest evaluation's
    int64_t evaluated_at; // the step of the newest evaluation
    double train_seconds;
} trainer;

// Of one step; the same on every rank.
typedef struct {
    double loss, lr, norm, tokens, work;
    bool stop, due;
} step_report;

// step.c: forward, backward and update over the micro-batches of step t->done, which it counts. stop is this rank's
// wish to end; what ranks must agree on rides with the loss. Collective over the world.
step_report train_step(trainer *t, bool stop);

// keep.c: checkpoints of the run, out and in. A save that fails is told and training goes on.
bool keep_save(trainer *t);
bool keep_resume(trainer *t, error *err);
// model.init: the encoder of another checkpoint; a head of another task stays as it was initialised.
bool keep_start_from(trainer *t, error *err);

#endif
