// A run that trains, whatever it learns: the loop over steps, evaluations and checkpoints in between, the results.
#include "train/internal.h"

#include <math.h>
#include <omp.h>
#include <signal.h>
#include <string.h>

// ---- signals: USR1 asks for a checkpoint and a clean end; what sends it is launch/mpi or Slurm

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal) {
    (void)signal;
    stop_requested = 1;
}

// The handler has a stack of its own. On a thread's it would lie where oneDNN's generated code, below the stack's end,
// keeps what it needs: products in which a signal arrives then write anywhere (oneDNN 2.6; seen as a corrupt heap).
// OpenMP's other threads, whose stacks are as unsafe, leave the signals to this one.
void trainer_catch_signals(const comm *world) {
    static char stack[1 << 16];
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR1);
    if (comm_size(world) == 1) sigaddset(&wanted, SIGTERM); // with more ranks it is mpirun that is told
#pragma omp parallel
    if (omp_get_thread_num() > 0) pthread_sigmask(SIG_BLOCK, &wanted, NULL);
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (int s = 1; s < NSIG; s++)
        if (sigismember(&wanted, s)) sigaction(s, &action, NULL);
}

bool trainer_asked_to_stop(comm *world) {
    double asked = stop_requested;
    comm_sum_doubles(world, &asked, 1);
    return asked > 0;
}

// ---- evaluation in between

static bool diverged(const trainer *t, const char *what, double value, error *err) {
    return error_set(err, ERROR_INTERNAL, "step %lld: the %s is %g; lower train.lr or lengthen train.warmup",
                     (long long)t->done, what, value);
}

static bool evaluate(trainer *t, error *err) {
    const char *split = t->what->split;
    double loss;
    json_t *metrics = t->what->evaluate(t, &loss);
    if (!isfinite(loss)) {
        json_decref(metrics);
        return diverged(t, "evaluation's loss", loss, err);
    }
    json_decref(t->last);
    t->last = metrics;
    t->evaluated_at = t->done;
    if (!t->best || t->what->score(metrics) > t->what->score(t->best)) {
        json_decref(t->best);
        t->best = json_incref(metrics);
        t->best_step = t->done;
    }
    char *text = json_format(metrics, false, NULL);
    log_info("step %lld | %s loss %.4f | %s%s", (long long)t->done, split, loss, text,
             t->best_step == t->done ? " | best so far" : "");
    memory_free(text);
    run_write_metrics(&t->run, json_pack("{s:I, s:s, s:f, s:O}", "step", (json_int_t)t->done, "split", split, "loss",
                                         loss, "metrics", metrics));
    return true;
}

// ---- the run

static void log_step(trainer *t, const step_report *r, double seconds) {
    run_write_metrics(&t->run,
                      json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)t->done, "loss", r->loss, "lr",
                                r->lr, "grad_norm", r->norm, "tokens", r->tokens, "tokens_per_s", r->tokens / seconds));
    if (r->due) progress_print(&t->progress, t->s.topo.world, t->done, r->loss, r->lr, r->norm);
}

static bool loop(trainer *t, error *err) {
    int64_t checkpoint_every = t->plan.run->checkpoint_every;
    bool stopped = false, saved = true;
    while (t->done < t->steps && !stopped) {
        double before = time_now();
        trace_step_begins(t);
        progress_step_begins(&t->progress);
        step_report r = train_step(t, stop_requested);
        progress_step_ended(&t->progress, t->done, r.tokens, r.work);
        double seconds = time_now() - before;
        trace_step_ended(t, &r);
        if (!isfinite(r.loss)) return diverged(t, "loss", r.loss, err);
        if (!isfinite(r.norm)) return diverged(t, "gradient's norm", r.norm, err);
        t->train_seconds += seconds;
        log_step(t, &r, seconds);
        stopped = r.stop;
        bool evaluation_due = t->done % t->eval_every == 0 || t->done == t->steps;
        if (evaluation_due && stopped) resume_save(t); // who asked to stop may not wait for the evaluation
        if (evaluation_due && !evaluate(t, err)) return false;
        bool due = checkpoint_every && t->done % checkpoint_every == 0;
        if (evaluation_due || due || stopped) saved = resume_save(t);
    }
    if (!stopped && !t->last) { // gone on with after its last step, but not evaluated then
        if (!evaluate(t, err)) return false;
        saved = resume_save(t);
    }
    if (!saved) // the weights end with this process
        return error_set(
            err, ERROR_INTERNAL,
            "step %lld of %lld is reached, but its checkpoint could not be saved (see the warning); make room "
            "and go on from the newest one with --run.resume=auto",
            (long long)t->done, (long long)t->steps);
    if (stopped)
        log_info(t->plan.run->save ? "asked to stop: saved at step %lld of %lld; --run.resume=auto goes on"
                                   : "asked to stop: ended at step %lld of %lld; with run.save=off nothing is kept",
                 (long long)t->done, (long long)t->steps);
    return true;
}

// The most that each rank has had resident, the window where it is shared included, against what was planned.
static void log_memory(const trainer *t) {
    const double mib = 1 << 20;
    double planned = (double)session_need(&t->s) / mib;
    char *mine = memory_format("rank %d %.0f (%.0f)", comm_rank(t->s.topo.world), (double)memory_peak() / mib, planned);
    char **all = comm_gather_texts(t->s.topo.world, mine), *line = memory_string("");
    for (int r = 0; r < comm_size(t->s.topo.world); r++) {
        char *longer = memory_format("%s%s%s", line, r ? ", " : "", all[r]);
        memory_free(line);
        memory_free(all[r]);
        line = longer;
    }
    log_info("memory at most, in MiB (of the model, as planned): %s", line);
    memory_free(line);
    memory_free(all);
    memory_free(mine);
}

static const char *task_name(const trainer *t) { return t->what->task ? t->what->task : t->s.task.name; }

static bool write_results(trainer *t, error *err) {
    if (t->done < t->steps) return true; // stopped on request
    char team[32];
    topology_team_text(team, t->s.topo.attention, t->s.topo.ffn);
    json_t *seconds = progress_seconds(&t->progress, t->s.topo.world);
    json_t *sent = progress_traffic(&t->progress, t->s.topo.world);
    json_t *results = json_pack(
        "{s:s, s:s, s:s, s:I, s:O?, s:I, s:{s:O?, s:I}, s:I, s:I, s:s, s:i, s:i, s:i, s:f, s:o, s:o, s:s, s:s}", "task",
        task_name(t), "split", t->what->split, "design", model_design_name(t->s.config.design), "examples",
        (json_int_t)t->what->examples(t), "metrics", t->best, "step", (json_int_t)t->best_step, "last", "metrics",
        t->last, "step", (json_int_t)t->evaluated_at, "steps", (json_int_t)t->steps, "seed",
        (json_int_t)t->plan.train->seed, "team", team, "replicas", t->s.topo.replicas, "stages", t->s.topo.stages,
        "ranks", comm_size(t->s.topo.world), "train_seconds", t->train_seconds, "step_seconds", seconds, "step_traffic",
        sent, "version", PAF_VERSION, "chosen_by", t->what->chosen_by);
    REQUIRE(results);
    run_write_results(&t->run, results, err);
    if (!comm_agree(t->s.topo.world, err)) return false;
    char *text = t->best ? json_format(t->best, false, NULL) : memory_string("none");
    log_info("best: step %lld, %s %s; results in %s/results.json", (long long)t->best_step, t->what->split, text,
             t->run.path);
    memory_free(text);
    return true;
}

static bool results_are_of(const char *path, int64_t steps) {
    error err = {0};
    json_t *results = json_read(path, &err);
    bool same = json_integer_value(json_object_get(results, "steps")) == steps;
    json_decref(results);
    return same;
}

// A job that is started once more after its end.
static bool is_complete(const trainer *t) {
    char *path = memory_format("%s/results.json", t->run.path);
    double there = t->run.root && t->done >= t->steps && file_exists(path) && results_are_of(path, t->steps);
    memory_free(path);
    comm_sum_doubles(t->s.topo.world, &there, 1);
    return there > 0;
}

static bool open_run(trainer *t, const char *default_name, bool *resuming, error *err) {
    const char *out = t->plan.run->out;
    char *path = *out ? memory_string(out) : memory_format("checkpoints/%s", default_name);
    bool again = t->plan.run->resume == RESUME_AUTO;
    double exists = comm_rank(t->s.topo.world) == 0 && checkpoint_exists(path);
    comm_sum_doubles(t->s.topo.world, &exists, 1);
    *resuming = again && exists > 0;
    bool ok = run_open(&t->run, t->s.topo.world, path, again, err);
    memory_free(path);
    return ok;
}

bool trainer_open_init(trainer *t, const checkpoint **init, error *err) {
    const char *path = t->plan.model->init, *out = t->plan.run->out;
    comm *world = comm_world();
    *init = *path ? &t->init : NULL;
    if (!*path) return true;
    double resuming = comm_rank(world) == 0 && *out && t->plan.run->resume == RESUME_AUTO && checkpoint_exists(out);
    comm_sum_doubles(world, &resuming, 1);
    return resuming > 0 ? checkpoint_open(&t->init, world, out, CHECKPOINT_LATEST, err)
                        : checkpoint_open(&t->init, world, path, CHECKPOINT_BEST, err);
}

static bool begin(trainer *t, bool resuming, error *err) {
    parameter_initialise(&t->s.model.table, t->plan.train->seed, t->s.config.initializer_range);
    bool ok = resuming ? resume_load(t, err) : !*t->plan.model->init || resume_start_from(t, err);
    return ok && run_write_settings(&t->run, t->s.topo.world, t->plan.tables, t->plan.n_tables, err);
}

bool trainer_run(trainer *t, const char *default_name, error *err) {
    bool resuming;
    trainer_catch_signals(t->s.topo.world);
    if (!open_run(t, default_name, &resuming, err) || !begin(t, resuming, err)) return false;
    if (resuming && is_complete(t)) {
        log_info("%s is complete: step %lld of %lld", t->run.path, (long long)t->done, (long long)t->steps);
        return true;
    }
    if (!trace_open(t, err)) return false;
    progress_start(&t->progress, t->s.topo.world, t->plan.run->log_every, t->done, t->steps);
    bool ok = loop(t, err) && write_results(t, err);
    if (ok) log_memory(t);
    return ok;
}

void trainer_create_packed(trainer *t) {
    const model *m = &t->s.model;
    t->packed = memory_allocate((size_t)m->flights, sizeof *t->packed);
    for (int f = 0; f < m->flights; f++) t->packed[f] = micro_batch_create(m->max_tokens, m->max_sequences);
}

bool trainer_counts(const trainer *t) { return t->s.model.has_head && t->s.topo.team_rank == 0; }

void trainer_destroy(trainer *t) {
    run_close(&t->run);
    trace_close(&t->trace);
    for (int f = 0; t->packed && f < t->s.model.flights; f++) micro_batch_destroy(&t->packed[f]);
    memory_free(t->packed);
    batch_destroy(&t->samples);
    checkpoint_close(&t->init);
    json_decref(t->best);
    json_decref(t->last);
    session_close(&t->s);
}
