// Fine-tuning: one task's training set, its dev set in between.
#include "train/internal.h"

#include <math.h>
#include <string.h>

typedef struct {
    trainer t;
    const finetune_settings *settings;
    dataset train, dev;
    strata strata; // of the even order; empty for the random one
} finetuner;

// ---- what is learnt

static void sample(trainer *t) {
    const finetuner *f = (const finetuner *)t;
    const train_settings *train = t->plan.train;
    batch_sample(&t->samples, &f->train, f->strata.n ? &f->strata : NULL, train->seed, t->done, train->batch);
}

static int64_t pack(trainer *t, int64_t at, int flight) {
    return micro_batch_pack(&t->packed[flight], &((finetuner *)t)->train, &t->samples, at, t->samples.n);
}

// The losses and their gradients of the sequences whose head this rank computed.
static double compute_losses(finetuner *f, const micro_batch *packed) {
    model *m = &f->t.s.model;
    double sum = 0;
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t example = packed->examples[m->head_sequences[i]];
        float *d = m->dlogits + i * m->classes;
        const float *logits = m->logits + i * m->classes;
        sum += f->t.s.task.regression ? squared_error(d, logits, &f->train.targets[example], 1, 1)
                                      : cross_entropy(d, logits, &f->train.labels[example], 1, m->classes, 1);
    }
    return sum;
}

static void forward(trainer *t, int flight, model_pass pass, step_work *work) {
    const micro_batch *packed = &t->packed[flight];
    model_forward(&t->s.model, packed, pass);
    work->loss += compute_losses((finetuner *)t, packed);
    if (!trainer_counts(t)) return;
    work->count += (double)packed->sequences;
    work->heads += (double)packed->sequences;
}

static void backward(trainer *t, int flight, model_pass pass) { model_backward(&t->s.model, &t->packed[flight], pass); }

static json_t *evaluate(trainer *t, double *loss) {
    evaluation e;
    evaluation_run(&e, &t->s, &((finetuner *)t)->dev, "dev");
    *loss = e.loss;
    json_t *metrics = json_incref(e.metrics);
    evaluation_destroy(&e);
    return metrics;
}

static double head_work(const trainer *t) { return model_classifier_work(&t->s.config); }

static int64_t examples(const trainer *t) { return ((const finetuner *)t)->dev.n; }

static void add_state(const trainer *t, json_t *state) {
    const finetuner *f = (const finetuner *)t;
    json_object_set_new(state, "examples", json_integer(f->train.n));
    json_object_set_new(state, "order", json_string(data_order_words[f->settings->data.order]));
    json_object_set_new(state, "task", task_to_json(&t->s.task));
}

// Runs that do not say it were begun when there was no other order than the random one.
static bool same_order(const json_t *state, const char *ours, error *err) {
    const char *theirs;
    if (!json_get_string(state, "order", &theirs, "random", "state", err)) return false;
    if (!strcmp(theirs, ours)) return true;
    return error_set(
        err, ERROR_INPUT,
        "the run was begun with data.order %s, now it is %s; go on with the same, or begin anew in another "
        "--run.out",
        theirs, ours);
}

static bool same_state(const trainer *t, const json_t *state, error *err) {
    const finetuner *f = (const finetuner *)t;
    if (!json_object_get(state, "task"))
        return error_set(err, ERROR_INPUT, "%s holds a run of another kind", t->run.path);
    return same_order(state, data_order_words[f->settings->data.order], err) &&
           resume_same_number(state, "examples", f->train.n, "training examples", err) &&
           resume_same_number(state, "max_length", t->s.max_length, "data.max_length", err);
}

static const objective finetuning = {
    .split = "dev",
    .chosen_by = "the best mean of the dev split's metrics; last is the end of training",
    .items = "examples",
    .sample = sample,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .evaluate = evaluate,
    .score = metrics_mean,
    .head_work = head_work,
    .examples = examples,
    .add_state = add_state,
    .same_state = same_state,
};

// ---- the run

static bool load_data(finetuner *f, error *err) {
    const data_settings *d = &f->settings->data;
    const session *s = &f->t.s;
    return dataset_load(&f->train, &s->task, d->dir, "train", s->tok, d->max_length, err) &&
           dataset_load(&f->dev, &s->task, d->dir, "dev", s->tok, d->max_length, err);
}

static void log_data(const char *split, const dataset *d) {
    log_info("%s: %lld examples, %.1f tokens on average, longest %lld, %lld truncated", split, (long long)d->n,
             (double)d->starts[d->n] / (double)d->n, (long long)d->longest, (long long)d->truncated);
    if (d->dropped) log_warn("%s: %lld rows with a wrong number of fields dropped", split, (long long)d->dropped);
    if (d->replaced) log_warn("%s: %lld invalid UTF-8 sequences replaced", split, (long long)d->replaced);
}

// Everything up to the first step. Collective over the world.
static bool prepare(finetuner *f, error *err) {
    trainer *t = &f->t;
    const train_settings *train = t->plan.train;
    const checkpoint *init;
    if (!trainer_open_init(t, &init, err)) return false;
    if (session_read_settings(&t->s, f->settings, init, err)) load_data(f, err);
    if (!comm_agree(comm_world(), err)) return false;
    log_data("train", &f->train);
    log_data("dev", &f->dev);
    double epochs_steps = ceil(train->epochs * (double)f->train.n / (double)train->batch);
    t->steps = train->max_steps ? train->max_steps : (int64_t)epochs_steps;
    int64_t epoch = (f->train.n + train->batch - 1) / train->batch;
    t->eval_every = train->eval_every ? train->eval_every : epoch;
    if (f->settings->data.order == ORDER_EVEN) f->strata = strata_create(&f->train, train->batch);
    const dataset *longer = f->train.longest > f->dev.longest ? &f->train : &f->dev;
    int64_t replicas = t->plan.parallel->replicas, part = (train->batch + replicas - 1) / replicas; // of one, at most
    int64_t tokens = smaller(train->micro_tokens, part * longer->longest);
    if (tokens < longer->longest)
        error_set(err, ERROR_INPUT, "train.micro_tokens is %lld, but the longest example has %lld tokens",
                  (long long)tokens, (long long)longer->longest);
    int64_t sequences = tokens / 2; // the shortest example is [CLS] [SEP]
    const model_request request = {.classes = t->s.task.classes,
                                   .max_tokens = tokens,
                                   .max_sequences = sequences,
                                   .longest = longer->longest,
                                   .training = true,
                                   .recompute = train->recompute == RECOMPUTE_LAYER};
    t->s.optimizer = &t->plan.optim->optimizer;
    t->s.step_tokens = (double)train->batch * (double)f->train.starts[f->train.n] / (double)f->train.n;
    if (!session_build(&t->s, t->plan.parallel, session_typical_length(longer), request, err)) return false;
    trainer_create_packed(t);
    return true;
}

bool train_finetune(const finetune_settings *settings, error *err) {
    option_table tables[FINETUNE_TABLES];
    finetune_settings copy = *settings; // the tables can write, too
    finetune_tables(tables, &copy);
    finetuner f = {
        .t = {.what = &finetuning,
              .plan = {&copy.model, &copy.train, &copy.optim, &copy.parallel, &copy.run, tables, FINETUNE_TABLES},
              .run.lock = -1},
        .settings = &copy};
    bool ok = prepare(&f, err);
    if (ok) {
        char *name = memory_format("%s-%s", f.t.s.task.name, model_design_name(f.t.s.config.design));
        ok = trainer_run(&f.t, name, err);
        memory_free(name);
    }
    strata_destroy(&f.strata);
    dataset_destroy(&f.train);
    dataset_destroy(&f.dev);
    trainer_destroy(&f.t);
    return ok;
}
