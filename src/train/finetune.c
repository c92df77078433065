#include "train/internal.h"

#include <math.h>
#include <signal.h>
#include <string.h>

// What a fine-tuning run is made of, and where it stands.
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

// ---- signals: USR1 asks for a checkpoint and a clean end; what sends it is launch/mpi or Slurm

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal) {
    (void)signal;
    stop_requested = 1;
}

static void catch_signals(const comm *world) {
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    if (comm_size(world) == 1) sigaction(SIGTERM, &action, NULL); // with more ranks it is mpirun that is told
}

// ---- one step

// Loss and its gradient over the sequences whose head this rank computed; the step's loss is the mean over its batch.
static double loss_backward(trainer *t) {
    model *m = &t->s.model;
    float scale = 1 / (float)t->settings->train.batch;
    double sum = 0;
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t example = t->packed.examples[m->head_sequences[i]];
        float *d = m->dlogits + i * m->classes;
        const float *logits = m->logits + i * m->classes;
        sum += t->s.task.regression ? squared_error(d, logits, &t->train.targets[example], 1, scale)
                                    : cross_entropy(d, logits, &t->train.labels[example], 1, m->classes, scale);
    }
    return sum;
}

typedef struct {
    double loss, lr, norm, tokens, work;
    bool stop, due;
} step_report;

// Sequences of one step pass in micro-batches; what ranks must agree on rides with the loss.
static step_report run_step(trainer *t) {
    model *m = &t->s.model;
    const finetune_settings *settings = t->settings;
    model_pass pass = {.train = true, .seed = settings->train.seed, .step = (uint64_t)t->done};
    step_report report = {.lr = optim_learning_rate(&settings->optim, t->done, t->steps)};
    batch_sample(&t->examples, &t->train, settings->train.seed, t->done, settings->train.batch);
    parameter_zero_gradients(&m->table);
    double loss = 0, squares = 0;
    for (int64_t at = 0; at < t->examples.n;) {
        at = micro_batch_pack(&t->packed, &t->train, &t->examples, at, t->examples.n);
        model_forward(m, &t->packed, pass);
        loss += loss_backward(t);
        model_backward(m, &t->packed, pass);
        report.tokens += (double)t->packed.tokens;
        for (int64_t i = 0; i < t->packed.sequences; i++)
            squares += pow((double)(t->packed.starts[i + 1] - t->packed.starts[i]), 2);
    }
    report.work = model_step_work(&t->s.config, report.tokens, squares / report.tokens, (double)t->examples.n);
    double due = t->run.root && progress_due(&t->progress, t->done + 1);
    double sums[3] = {loss, stop_requested, due};
    comm_sum_doubles(t->s.topo.world, sums, 3);
    report.loss = sums[0] / (double)settings->train.batch;
    report.stop = sums[1] > 0;
    report.due = sums[2] > 0;

    model_reduce_gradients(m, t->s.topo.team_comm);
    report.norm = optim_gradient_norm(&m->table, t->s.topo.team_comm);
    optim_adamw(&m->table, &settings->optim, report.lr, t->done + 1,
                optim_clip_factor(report.norm, settings->optim.clip));
    t->done++;
    return report;
}

// ---- checkpoints

static json_t *state_json(const trainer *t) {
    const finetune_settings *settings = t->settings;
    char team[32];
    topology_team_text(team, t->s.topo.attention, t->s.topo.ffn);
    json_t *shares = json_array();
    for (int r = 0; r < t->s.place.team; r++) {
        const placement_share *p = &t->s.place.shares[r];
        json_array_append_new(shares, json_pack("{s:[I,I], s:[I,I], s:[I,I]}", "heads", (json_int_t)p->heads.first,
                                                (json_int_t)p->heads.count, "neurons", (json_int_t)p->neurons.first,
                                                (json_int_t)p->neurons.count, "vocabulary",
                                                (json_int_t)p->vocabulary.first, (json_int_t)p->vocabulary.count));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:{s:s, s:i, s:i, s:b, s:o}, s:I, s:O?}", "step",
                     (json_int_t)t->done, "steps", (json_int_t)t->steps, "batch", (json_int_t)settings->train.batch,
                     "examples", (json_int_t)t->train.n, "seed", (json_int_t)settings->train.seed, "max_length",
                     (json_int_t)t->s.max_length, "lower_case", settings->data.lower_case, "task",
                     task_to_json(&t->s.task), "layout", "team", team, "replicas", t->s.topo.replicas, "stages",
                     t->s.topo.stages, "balance", settings->parallel.balance, "placement", shares, "best_step",
                     (json_int_t)t->best_step, "best_metrics", t->best);
}

// A save that fails is told and training goes on: the newest complete checkpoint is intact.
static bool save(trainer *t) {
    error err = {0};
    size_t vocab_size, config_size;
    const char *vocab = tokenizer_text(t->s.tok, &vocab_size);
    json_t *config_json = model_config_to_json(&t->s.config), *state = state_json(t);
    char *config = json_format(config_json, true, &config_size);
    option_table tables[FINETUNE_TABLES];
    finetune_settings copy = *t->settings;
    finetune_tables(tables, &copy);
    char *ini = option_write(tables, FINETUNE_TABLES);
    const checkpoint_file files[] = {
        {"config.json", config, config_size}, {"config.ini", ini, strlen(ini)}, {"vocab.txt", vocab, vocab_size}};
    bool ok = checkpoint_save(t->s.topo.world, t->run.path, t->done, &t->s.model.table, true, state, files,
                              sizeof files / sizeof *files, &err);
    if (!ok) log_warn("no checkpoint of step %lld: %s; training goes on", (long long)t->done, err.text);
    if (ok && t->run.root && t->best_step == t->done && !checkpoint_mark_best(t->run.path, t->done, &err))
        log_warn("%s", err.text);
    error_clear(&err);
    if (ok && t->run.root && !checkpoint_prune(t->run.path, t->settings->run.keep, &err)) log_warn("%s", err.text);
    memory_free(ini);
    memory_free(config);
    json_decref(config_json);
    json_decref(state);
    return ok;
}

static bool same_number(const json_t *state, const char *key, int64_t ours, const char *option_name, error *err) {
    int64_t theirs;
    if (!json_get_int(state, key, &theirs, NULL, "state", err)) return false;
    if (theirs == ours) return true;
    return error_set(err, ERROR_INPUT,
                     "the run was begun with %s %lld, now it is %lld; go on with the same, or begin anew in "
                     "another --run.out",
                     option_name, (long long)theirs, (long long)ours);
}

static bool restore_state(trainer *t, const checkpoint *k, error *err) {
    int64_t steps;
    if (!same_number(k->state, "batch", t->settings->train.batch, "train.batch", err) ||
        !same_number(k->state, "examples", t->train.n, "training examples", err) ||
        !same_number(k->state, "seed", (int64_t)t->settings->train.seed, "train.seed", err) ||
        !same_number(k->state, "max_length", t->s.max_length, "data.max_length", err) ||
        !json_get_int(k->state, "steps", &steps, NULL, "state", err) ||
        !json_get_int(k->state, "best_step", &t->best_step, NULL, "state", err))
        return false;
    if (steps != t->steps)
        log_warn("the run was begun for %lld steps, now it is %lld: the learning rate follows the new number",
                 (long long)steps, (long long)t->steps);
    t->done = k->step;
    json_t *best = json_object_get(k->state, "best_metrics");
    if (json_is_object(best)) {
        t->best = json_deep_copy(best);
        t->best_mean = metrics_mean(best);
    }
    return run_rewind(&t->run, t->done, err);
}

static bool resume(trainer *t, error *err) {
    checkpoint k;
    comm *world = t->s.topo.world;
    if (!checkpoint_open(&k, world, t->run.path, "latest", err)) return false;
    restore_state(t, &k, err);
    bool ok = comm_agree(world, err) && checkpoint_load(&k, world, &t->s.model.table, true, NULL, NULL, err);
    if (ok) log_info("resumed from %s", k.path);
    checkpoint_close(&k);
    return ok;
}

static bool is_head(const char *name, void *context) {
    (void)context;
    return !strncmp(name, "classifier.", 11) || !strncmp(name, "pooler.", 7);
}

// model.init: the encoder of another checkpoint; a head of another task stays as it was initialised.
static bool start_from(trainer *t, error *err) {
    checkpoint k;
    comm *world = t->s.topo.world;
    if (!checkpoint_open(&k, world, t->settings->model.init, "best", err)) return false;
    bool ok = checkpoint_load(&k, world, &t->s.model.table, false, is_head, NULL, err);
    if (ok) log_info("started from %s", k.path);
    checkpoint_close(&k);
    return ok;
}

// ---- evaluation in between

static void evaluate(trainer *t) {
    evaluation e;
    evaluation_run(&e, &t->s, &t->dev, "dev");
    double mean = metrics_mean(e.metrics);
    t->evaluated_at = t->done;
    json_decref(t->last);
    t->last = json_incref(e.metrics);
    if (!t->best || mean > t->best_mean) {
        t->best_step = t->done;
        t->best_mean = mean;
        json_decref(t->best);
        t->best = json_incref(e.metrics);
    }
    char *text = json_format(e.metrics, false, NULL);
    log_info("step %lld | dev loss %.4f | %s%s", (long long)t->done, e.loss, text,
             t->best_step == t->done ? " | best so far" : "");
    memory_free(text);
    run_write_metrics(&t->run, json_pack("{s:I, s:s, s:f, s:O}", "step", (json_int_t)t->done, "split", "dev", "loss",
                                         e.loss, "metrics", e.metrics));
    evaluation_destroy(&e);
}

// ---- the run

static void log_step(trainer *t, const step_report *r, double seconds) {
    run_write_metrics(&t->run,
                      json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)t->done, "loss", r->loss, "lr",
                                r->lr, "grad_norm", r->norm, "tokens", r->tokens, "tokens_per_s", r->tokens / seconds));
    progress_add(&t->progress, r->tokens, r->work);
    if (r->due) progress_print(&t->progress, t->s.topo.world, t->done, r->loss, r->lr, r->norm);
}

static bool loop(trainer *t, error *err) {
    const finetune_settings *settings = t->settings;
    bool stopped = false;
    while (t->done < t->steps && !stopped) {
        double before = time_now();
        step_report r = run_step(t);
        if (!isfinite(r.loss) || !isfinite(r.norm))
            return error_set(
                err, ERROR_INTERNAL,
                "step %lld: the loss is %g and the gradient's norm %g; lower train.lr or lengthen train.warmup",
                (long long)t->done, r.loss, r.norm);
        double seconds = time_now() - before;
        t->train_seconds += seconds;
        log_step(t, &r, seconds);
        stopped = r.stop;
        bool evaluation_due = t->done % t->eval_every == 0 || t->done == t->steps;
        if (evaluation_due && !stopped) evaluate(t);
        bool due = settings->run.checkpoint_every && t->done % settings->run.checkpoint_every == 0;
        if (evaluation_due || due || stopped) save(t);
    }
    if (stopped)
        log_info("asked to stop: saved at step %lld of %lld; --run.resume=auto goes on", (long long)t->done,
                 (long long)t->steps);
    return true;
}

static bool write_results(trainer *t, error *err) {
    if (t->done < t->steps) return true; // stopped on request
    char team[32];
    topology_team_text(team, t->s.topo.attention, t->s.topo.ffn);
    json_t *results = json_pack(
        "{s:s, s:s, s:s, s:I, s:O?, s:I, s:{s:O?, s:I}, s:I, s:I, s:s, s:i, s:f, s:s, s:s}", "task", t->s.task.name,
        "split", "dev", "design", model_design_name(t->s.config.design), "examples", (json_int_t)t->dev.n, "metrics",
        t->best, "step", (json_int_t)t->best_step, "last", "metrics", t->last, "step", (json_int_t)t->evaluated_at,
        "steps", (json_int_t)t->steps, "seed", (json_int_t)t->settings->train.seed, "team", team, "ranks",
        comm_size(t->s.topo.world), "train_seconds", t->train_seconds, "version", PAF_VERSION, "chosen_by",
        "the best mean of the dev split's metrics; last is the end of training");
    REQUIRE(results);
    run_write_results(&t->run, results, err);
    if (!comm_agree(t->s.topo.world, err)) return false;
    char *text = t->best ? json_format(t->best, false, NULL) : memory_string("none");
    log_info("best: step %lld, dev %s; results in %s/results.json", (long long)t->best_step, text, t->run.path);
    memory_free(text);
    return true;
}

static bool load_data(trainer *t, error *err) {
    const data_settings *d = &t->settings->data;
    return dataset_load(&t->train, &t->s.task, d->dir, "train", t->s.tok, d->max_length, err) &&
           dataset_load(&t->dev, &t->s.task, d->dir, "dev", t->s.tok, d->max_length, err);
}

static void log_data(const char *split, const dataset *d) {
    log_info("%s: %lld examples, %.1f tokens on average, longest %lld, %lld truncated", split, (long long)d->n,
             (double)d->starts[d->n] / (double)d->n, (long long)d->longest, (long long)d->truncated);
    if (d->dropped) log_warn("%s: %lld rows with a wrong number of fields dropped", split, (long long)d->dropped);
    if (d->replaced) log_warn("%s: %lld invalid UTF-8 sequences replaced", split, (long long)d->replaced);
}

static int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

// Everything up to the first step. Collective over the world.
static bool prepare(trainer *t, error *err) {
    const finetune_settings *s = t->settings;
    comm *world = comm_world();
    if (session_read_settings(&t->s, s, err)) load_data(t, err);
    if (!comm_agree(world, err)) return false;
    log_data("train", &t->train);
    log_data("dev", &t->dev);
    double epochs_steps = ceil(s->train.epochs * (double)t->train.n / (double)s->train.batch);
    t->steps = s->train.max_steps ? s->train.max_steps : (int64_t)epochs_steps;
    int64_t epoch = (t->train.n + s->train.batch - 1) / s->train.batch;
    t->eval_every = s->train.eval_every ? s->train.eval_every : epoch;
    int64_t longest = t->train.longest > t->dev.longest ? t->train.longest : t->dev.longest;
    int64_t tokens = at_most(s->train.micro_tokens, s->train.batch * longest);
    int64_t sequences = tokens / 2; // the shortest example is [CLS] [SEP]
    const dataset *longer = t->train.longest > t->dev.longest ? &t->train : &t->dev;
    if (!session_build(&t->s, &s->parallel, longer, tokens, sequences, true, err)) return false;
    t->packed = micro_batch_create(tokens, sequences);
    session_log_placement(&t->s);
    parameter_initialise(&t->s.model.table, s->train.seed, t->s.config.initializer_range);
    return !*s->model.init || start_from(t, err);
}

static bool open_run(trainer *t, bool *resuming, error *err) {
    char *path = *t->settings->run.out
                     ? memory_string(t->settings->run.out)
                     : memory_format("checkpoints/%s-%s", t->s.task.name, model_design_name(t->s.config.design));
    bool again = !strcmp(t->settings->run.resume, "auto");
    option_table tables[FINETUNE_TABLES];
    finetune_settings copy = *t->settings;
    finetune_tables(tables, &copy);
    double exists = comm_rank(t->s.topo.world) == 0 && checkpoint_exists(path);
    comm_sum_doubles(t->s.topo.world, &exists, 1);
    *resuming = again && exists > 0;
    bool ok = run_open(&t->run, t->s.topo.world, path, again, tables, FINETUNE_TABLES, err);
    memory_free(path);
    return ok;
}

static void destroy(trainer *t) {
    run_close(&t->run);
    micro_batch_destroy(&t->packed);
    batch_destroy(&t->examples);
    dataset_destroy(&t->train);
    dataset_destroy(&t->dev);
    json_decref(t->best);
    json_decref(t->last);
    session_close(&t->s);
}

bool train_finetune(const finetune_settings *settings, error *err) {
    trainer t = {.settings = settings, .run.lock = -1};
    catch_signals(comm_world());
    bool resuming = false;
    bool ok = prepare(&t, err) && open_run(&t, &resuming, err) && (!resuming || resume(&t, err));
    if (ok) {
        progress_start(&t.progress, t.s.topo.world, settings->run.log_every, t.done, t.steps);
        ok = loop(&t, err) && write_results(&t, err);
    }
    destroy(&t);
    return ok;
}
