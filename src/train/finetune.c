#include "train/internal.h"

#include <math.h>
#include <signal.h>
#include <string.h>

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

// ---- evaluation in between

static bool diverged(const trainer *t, const char *what, double value, error *err) {
    return error_set(err, ERROR_INTERNAL, "step %lld: the %s is %g; lower train.lr or lengthen train.warmup",
                     (long long)t->done, what, value);
}

static bool evaluate(trainer *t, error *err) {
    evaluation e;
    evaluation_run(&e, &t->s, &t->dev, "dev");
    if (!isfinite(e.loss)) {
        double loss = e.loss;
        evaluation_destroy(&e);
        return diverged(t, "dev loss", loss, err);
    }
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
    return true;
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
    bool stopped = false, saved = true;
    while (t->done < t->steps && !stopped) {
        double before = time_now();
        step_report r = train_step(t, stop_requested);
        if (!isfinite(r.loss)) return diverged(t, "loss", r.loss, err);
        if (!isfinite(r.norm)) return diverged(t, "gradient's norm", r.norm, err);
        double seconds = time_now() - before;
        t->train_seconds += seconds;
        log_step(t, &r, seconds);
        stopped = r.stop;
        bool evaluation_due = t->done % t->eval_every == 0 || t->done == t->steps;
        if (evaluation_due && stopped) keep_save(t); // who asked to stop may not wait for the evaluation
        if (evaluation_due && !evaluate(t, err)) return false;
        bool due = settings->run.checkpoint_every && t->done % settings->run.checkpoint_every == 0;
        if (evaluation_due || due || stopped) saved = keep_save(t);
    }
    if (!stopped && !t->last) { // gone on with after its last step, but not evaluated then
        if (!evaluate(t, err)) return false;
        saved = keep_save(t);
    }
    if (!saved) // the weights end with this process
        return error_set(
            err, ERROR_INTERNAL,
            "step %lld of %lld is reached, but its checkpoint could not be saved (see the warning); make room "
            "and go on from the newest one with --run.resume=auto",
            (long long)t->done, (long long)t->steps);
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

// A job that is started once more after its end.
static bool is_complete(const trainer *t) {
    char *path = memory_format("%s/results.json", t->run.path);
    double there = t->run.root && t->done >= t->steps && file_exists(path);
    memory_free(path);
    comm_sum_doubles(t->s.topo.world, &there, 1);
    return there > 0;
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
    return true;
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
    bool ok = prepare(&t, err) && open_run(&t, &resuming, err);
    if (ok && resuming)
        ok = keep_resume(&t, err);
    else if (ok && *settings->model.init)
        ok = keep_start_from(&t, err);
    if (ok && resuming && is_complete(&t))
        log_info("%s is complete: step %lld of %lld", t.run.path, (long long)t.done, (long long)t.steps);
    else if (ok) {
        progress_start(&t.progress, t.s.topo.world, settings->run.log_every, t.done, t.steps);
        ok = loop(&t, err) && write_results(&t, err);
    }
    destroy(&t);
    return ok;
}
