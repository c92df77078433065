// The parts of the driver. Private to this room.
#ifndef PAF_TRAIN_INTERNAL_H
#define PAF_TRAIN_INTERNAL_H

#include "train/train.h"

// ---- evaluation.c ---------------------------------------------------------------------------------------------------

typedef struct {
    int64_t n;
    int32_t *predicted; // [n], NULL for regression
    float *values;      // [n], NULL for classification
    double loss;        // mean; 0 without labels
    json_t *metrics;    // NULL without labels
} evaluation;

// Every example of d once, in file order; the same result on every rank. Collective over the world.
void evaluation_run(evaluation *e, session *s, const dataset *d, const char *what);
void evaluation_destroy(evaluation *e);

// ---- run.c: the run folder, kept by the root -----------------------------------------------------------------------

typedef struct {
    char path[OPTION_STRING_SIZE * 2];
    bool root;
    int lock;
    FILE *metrics; // metrics.jsonl, on the root
} run;

// Makes the folder and takes its lock. A folder that holds a run is an error unless resume. Collective over the world.
bool run_open(run *r, comm *world, const char *path, bool resume, error *err);
// config.ini; once it is sure that the run goes on with these settings. Collective over the world.
bool run_write_settings(const run *r, comm *world, const option_table *tables, size_t n, error *err);
// Drops the lines of metrics.jsonl that are beyond a step, so that a resumed run does not tell them twice.
bool run_rewind(run *r, int64_t step, error *err);
void run_write_metrics(run *r, json_t *line);                // takes the reference
bool run_write_results(run *r, json_t *results, error *err); // takes the reference
void run_close(run *r);

// ---- progress.c -----------------------------------------------------------------------------------------------------

typedef struct {
    double interval;    // seconds between lines
    double peak;        // GFLOP/s of all ranks' cores
    double begun, last; // time_now()
    int64_t first_step, last_step, steps;
    double tokens, work;      // since the last line
    double spans[SPAN_COUNT]; // seconds of this rank's steps since the last line
    double all[SPAN_COUNT];   // and of all its steps but the first few, which are all_steps
    traffic sent, before;     // in those, and until the step began
    int64_t all_steps;
} progress;

// Measures the machine's peak and starts the clock. Collective over the world.
void progress_start(progress *p, comm *world, double interval, int64_t first_step, int64_t steps);
// Around a step: what a rank does in between, evaluations and checkpoints, does not count.
void progress_step_begins(progress *p);
void progress_step_ended(progress *p, int64_t done, double tokens, double work);
bool progress_due(const progress *p, int64_t done); // the root's opinion
// Collective over the world: where the ranks' time went in the steps since the last line.
void progress_print(progress *p, comm *world, int64_t done, double loss, double lr, double norm);
// Of a step, the mean over all but the first few. Seconds by what ranks did, the mean over ranks; messages and bytes
// that all ranks sent (comm_traffic says which). Collective over the world.
json_t *progress_seconds(const progress *p, comm *world);
json_t *progress_traffic(const progress *p, comm *world);

// ---- trace.c: the spans of a few steps ------------------------------------------------------------------------------

typedef struct {
    double begin, end, tokens;
} traced_step;

typedef struct {
    int64_t first, last; // steps, from 1; both 0: none
    traced_step *steps;  // [last - first + 1]
    span_record record;  // of all of them
} trace;

// ---- trainer.c, step.c, resume.c: a run that trains
// -------------------------------------------------------------------

// What the user asked for, in the parts that every kind of run has; all borrowed.
typedef struct {
    const model_settings *model;
    const train_settings *train;
    const optim_settings *optim;
    const parallel_settings *parallel;
    const run_settings *run;
    const option_table *tables; // [n_tables] of all settings
    size_t n_tables;
} training_plan;

typedef struct trainer trainer;

// What this rank adds to a step, whose gradients are of the sum of all losses; summed over ranks it is the step's.
typedef struct {
    double loss;
    double count; // what the losses' sum is divided by, and the gradients
    double tokens;
    double squares; // the sum of the squared lengths of its sequences
    double heads;   // rows that pass through the head, for its share of the work
} step_work;

// What a run learns: fine-tuning and pretraining fill one in each.
typedef struct {
    const char *task;              // NULL: the session's
    const char *split, *chosen_by; // for results.json
    const char *items;             // examples, sequences
    // The global batch of step t->done, into t->samples.
    void (*sample)(trainer *t);
    // Packs item `at` and those that go with it into the flight's micro-batch; returns the first item that is left.
    int64_t (*pack)(trainer *t, int64_t at, int flight);
    // The passes over the flight's micro-batch, pack's last where there is but one flight. Forward adds to *work losses
    // and, on one rank of a replica, counts and heads. Collective over the team.
    void (*forward)(trainer *t, int flight, model_pass pass, step_work *work);
    void (*backward)(trainer *t, int flight, model_pass pass);
    // On what is not trained on; the caller's reference. Collective over the world.
    json_t *(*evaluate)(trainer *t, double *loss);
    double (*score)(const json_t *metrics); // the larger, the better
    double (*head_work)(const trainer *t);  // FLOP of a forward pass of the head, a row
    int64_t (*examples)(const trainer *t);  // evaluated
    // What is its own in a checkpoint's state, and whether a checkpoint's is the same.
    void (*add_state)(const trainer *t, json_t *state);
    bool (*same_state)(const trainer *t, const json_t *state, error *err);
} objective;

// What it is made of, and where it stands. The first member of a struct that knows the rest.
struct trainer {
    const objective *what;
    training_plan plan;
    session s;
    batch samples;       // of the current step; from batch_deal on, this replica's
    micro_batch *packed; // [s.model.flights]
    run run;
    progress progress;
    trace trace;
    checkpoint init; // what trainer_open_init found
    int64_t steps, eval_every;
    int64_t done;         // steps
    int64_t best_step;    // 0: none yet
    json_t *best;         // the best evaluation's metrics
    json_t *last;         // the newest evaluation's
    int64_t evaluated_at; // the step of the newest evaluation
    double train_seconds;
};

// trainer.c. Opens the checkpoint of model.init, or the run's own if it is gone on with: they have the same config and
// vocabulary. NULL in *init where model.init is not set. Collective over the world.
bool trainer_open_init(trainer *t, const checkpoint **init, error *err);
// The run, from its folder (run.out, or this name) to its results: begun, or gone on with. The session is built.
// Collective over the world; the same error on every rank.
bool trainer_run(trainer *t, const char *default_name, error *err);
void trainer_destroy(trainer *t);
// The micro-batches of all flights, once the session is built.
void trainer_create_packed(trainer *t);
// One rank of each replica counts what its ranks have in common: the first of those that have the head.
bool trainer_counts(const trainer *t);

// Of one step; the same on every rank.
typedef struct {
    double loss, lr, norm, tokens, work;
    bool stop, due;
} step_report;

// step.c: forward, backward and update over the micro-batches of step t->done, which it counts. stop is this rank's
// wish to end; what ranks must agree on rides with the loss. Collective over the world.
step_report train_step(trainer *t, bool stop);

// trace.c. Room for what run.trace asks for, and a first, empty file, so that one that cannot be written is told now.
// Collective over the world; the same error on every rank.
bool trace_open(trainer *t, error *err);
void trace_close(trace *t);
void trace_step_begins(trainer *t);
// After the last step that is traced, which may be one that stops the run, it writes the file; when that fails it is
// told and training goes on. Collective over the world.
void trace_step_ended(trainer *t, const step_report *r);

// resume.c: checkpoints of the run, out and in. A save that fails is told and training goes on.
bool resume_save(trainer *t);
bool resume_load(trainer *t, error *err);
// model.init: the encoder of another checkpoint; a head that it has not, or of another task, stays as it was
// initialised.
bool resume_start_from(trainer *t, error *err);
// For same_state: is the state's number ours?
bool resume_same_number(const json_t *state, const char *key, int64_t ours, const char *option_name, error *err);
bool resume_begun_with_another(const char *what, error *err);

#endif
