// All of GLUE: tasks, designs and seeds one after the other, and the table that they end in.
#include "glue/glue.h"

#include <string.h>

// ---- the runs of a list

typedef struct {
    const task *task;
    model_design design;
    finetune_settings settings;
} glue_run;

typedef struct {
    const glue_list *list;
    const char *out;
    glue_run *runs; // [n], by task, design and seed, in the table's order
    size_t n;
    bool told; // has this process shown the table as it stands?
} glue;

static bool has_intermediate(const glue *g) { return g->list->settings.intermediate == INTERMEDIATE_MNLI; }

static const char *folder(const glue_run *r) { return r->settings.run.out; }

static bool starts_from_mnli(const task *t) {
    return !strcmp(t->name, "rte") || !strcmp(t->name, "mrpc") || !strcmp(t->name, "stsb");
}

static bool set_text(char out[OPTION_STRING_SIZE], char *text, const char *what, error *err) {
    bool fits = strlen(text) < OPTION_STRING_SIZE;
    if (fits)
        snprintf(out, OPTION_STRING_SIZE, "%s", text);
    else
        error_set(err, ERROR_INPUT, "%s would be %s, which is longer than %d characters", what, text,
                  OPTION_STRING_SIZE - 1);
    memory_free(text);
    return fits;
}

static char *run_path(const glue *g, const char *task, model_design design, uint64_t seed) {
    return memory_format("%s/%s-%s-%llu", g->out, task, model_design_name(design), (unsigned long long)seed);
}

static bool set_run(const glue *g, glue_run *r, const glue_task *t, model_design design, uint64_t seed, error *err) {
    const glue_settings *wanted = &g->list->settings;
    const char *init = design == DESIGN_SAF ? wanted->init_saf : wanted->init_paf;
    *r = (glue_run){&t->task, design, t->settings};
    finetune_settings *s = &r->settings;
    s->train.seed = seed;
    snprintf(s->data.task, sizeof s->data.task, "%s", t->name);
    s->model.design = design;
    s->run.resume = RESUME_AUTO;
    if (*init) snprintf(s->model.init, sizeof s->model.init, "%s", init);
    if (has_intermediate(g) && starts_from_mnli(&t->task) &&
        !set_text(s->model.init, run_path(g, "mnli", design, seed), "model.init", err))
        return false;
    return set_text(s->run.out, run_path(g, t->task.name, design, seed), "run.out", err);
}

static bool set_runs(glue *g, error *err) {
    const glue_list *l = g->list;
    g->runs = memory_allocate(l->n * GLUE_DESIGNS * (size_t)l->settings.seeds, sizeof *g->runs);
    for (size_t t = 0; t < l->n; t++)
        for (int d = 0; d < GLUE_DESIGNS; d++)
            for (uint64_t seed = 0; l->designs[d] && seed < (uint64_t)l->settings.seeds; seed++)
                if (!set_run(g, &g->runs[g->n++], &l->tasks[t], (model_design)d, l->tasks[t].settings.train.seed + seed,
                             err))
                    return false;
    return true;
}

// ---- what is there already: the root looks

static bool root(void) { return comm_rank(comm_world()) == 0; }

// The root's answer, on every rank.
static bool as_root_says(bool answer) {
    double said = root() && answer;
    comm_sum_doubles(comm_world(), &said, 1);
    return said > 0;
}

static bool has_file(const glue_run *r, const char *name) {
    char *path = memory_format("%s/%s", folder(r), name);
    bool there = file_exists(path);
    memory_free(path);
    return there;
}

static json_t *read_file(const glue_run *r, const char *name, error *err) {
    char *path = memory_format("%s/%s", folder(r), name);
    json_t *json = json_read(path, err);
    memory_free(path);
    return json;
}

static bool is_finished(const glue_run *r) { return has_file(r, "results.json"); }

// Where the data lies, where the run lies, and how it is laid out over ranks and memory may change between starts.
static bool changes_results(const char *option) {
    static const char *const others[] = {"data.dir", "run.", "parallel.", "train.micro_tokens", "train.recompute"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strncmp(option, others[i], strlen(others[i]))) return false;
    return true;
}

static bool same_values(const glue_run *r, const option_table *ours, const option_table *theirs, error *err) {
    for (const option *row = ours->rows; row->name; row++) {
        char a[OPTION_STRING_SIZE], b[OPTION_STRING_SIZE];
        option_format(a, row, ours->settings);
        option_format(b, row, theirs->settings);
        if (changes_results(row->name) && strcmp(a, b))
            return error_set(err, ERROR_INPUT,
                             "%s was made with %s = %s, now it is %s; go on with the same, or name another --run.out",
                             folder(r), row->name, *b ? b : "(none)", *a ? a : "(none)");
    }
    return true;
}

// Was the run, begun or finished, made with these settings?
static bool same_settings(const glue_run *r, error *err) {
    finetune_settings ours = r->settings, theirs = {0};
    option_table mine[FINETUNE_TABLES], other[FINETUNE_TABLES];
    finetune_tables(mine, &ours);
    finetune_tables(other, &theirs);
    option_set_defaults(other, FINETUNE_TABLES);
    char *path = memory_format("%s/config.ini", folder(r));
    bool ok = option_read_file(other, FINETUNE_TABLES, path, err);
    for (int i = 0; ok && i < FINETUNE_TABLES; i++) ok = same_values(r, &mine[i], &other[i], err);
    memory_free(path);
    return ok;
}

static bool has_data(const glue_run *r, const char *split, error *err) {
    char path[OPTION_STRING_SIZE * 2];
    return dataset_path(path, r->task, r->settings.data.dir, split, err);
}

static bool check_run(const glue_run *r, error *err) {
    bool finished = is_finished(r);
    if (*r->settings.run.trace)
        return error_set(err, ERROR_INPUT,
                         "run.trace: every run of the list would write over the same file; trace one by paf finetune");
    if (!r->settings.run.save)
        return error_set(err, ERROR_INPUT, "run.save=off: a list of runs stands on their checkpoints");
    if ((finished || checkpoint_exists(folder(r))) && !same_settings(r, err)) return false;
    if (finished) return true;
    if (!*r->settings.data.dir) return error_set(err, ERROR_INPUT, "data.dir is not set: it names GLUE's folder");
    return has_data(r, "train", err) && has_data(r, "dev", err);
}

// What can be known before the first run is told before it. Collective over the world.
static bool check_runs(const glue *g, error *err) {
    for (size_t i = 0; root() && i < g->n; i++)
        if (!check_run(&g->runs[i], err)) break;
    return comm_agree(comm_world(), err);
}

// ---- the table

static const char *const second_dev = "dev_mismatched.json"; // what evaluate_second_dev leaves in a run folder

static bool add_metrics(glue_table *t, const glue_run *r, const char *file, const char *suffix, error *err) {
    json_t *results = read_file(r, file, err);
    if (!results) return false;
    char *part = memory_format("%s%s", r->task->name, suffix);
    const char *metric;
    json_t *value;
    json_object_foreach(json_object_get(results, "metrics"), metric, value)
        glue_table_add(t, r->task->name, part, metric, r->design, json_number_value(value));
    memory_free(part);
    json_decref(results);
    return true;
}

static bool fill_table(glue_table *t, const glue *g, error *err) {
    for (size_t i = 0; i < g->n; i++) {
        const glue_run *r = &g->runs[i];
        bool two = *r->task->dev2_file; // matched and mismatched
        if (is_finished(r) && !add_metrics(t, r, "results.json", two ? "-m" : "", err)) return false;
        if (is_finished(r) && two && has_file(r, second_dev) && !add_metrics(t, r, second_dev, "-mm", err))
            return false;
    }
    return true;
}

static const char *const title =
    "dev splits, the best evaluation of each run, in percent: median, and least to largest, over seeds";

static bool write_table(const glue *g, const glue_table *t, glue_format format, const char *name, error *err) {
    char *table = glue_table_write(t, format);
    char *path = memory_format("%s/%s", g->out, name);
    char *text = format == GLUE_CSV ? memory_string(table) : memory_format("%s\n\n%s", title, table);
    bool ok = file_write_atomic(path, text, strlen(text), err);
    memory_free(text);
    memory_free(path);
    memory_free(table);
    return ok;
}

static void print_table(const glue *g, const glue_table *t) {
    char *text = glue_table_write(t, GLUE_TEXT);
    printf("\n%s\n\n%s\n", title, text);
    fflush(stdout);
    memory_free(text);
    log_info("the table is in %s/table.csv and table.md", g->out);
}

// From the results of all runs that have some. Collective over the world.
static bool tell(glue *g, error *err) {
    glue_table t = {0};
    memcpy(t.shown, g->list->designs, sizeof t.shown);
    if (root() && fill_table(&t, g, err) && write_table(g, &t, GLUE_CSV, "table.csv", err) &&
        write_table(g, &t, GLUE_MARKDOWN, "table.md", err))
        print_table(g, &t);
    glue_table_destroy(&t);
    g->told = true;
    return comm_agree(comm_world(), err);
}

// ---- one run

static evaluate_settings evaluation_of(const glue_run *r, const char *split) {
    evaluate_settings e = {.micro_tokens = r->settings.train.micro_tokens, .parallel = r->settings.parallel};
    snprintf(e.data_dir, sizeof e.data_dir, "%s", r->settings.data.dir);
    snprintf(e.split, sizeof e.split, "%s", split);
    e.which = CHECKPOINT_BEST;
    return e;
}

// Is there this split? If not, a warning. The root looks.
static bool split_is_there(const glue_run *r, const task *t, const char *split) {
    char path[OPTION_STRING_SIZE * 2];
    error err = {0};
    if (root() && !dataset_path(path, t, r->settings.data.dir, split, &err)) log_warn("%s", err.text);
    return as_root_says(err.kind == ERROR_NONE);
}

// MNLI's second dev split, by the checkpoint that is best on the first.
static bool evaluate_second_dev(const glue_run *r, error *err) {
    if (!*r->task->dev2_file || as_root_says(has_file(r, second_dev))) return true;
    if (!split_is_there(r, r->task, "dev_mismatched")) return true;
    evaluate_settings e = evaluation_of(r, "dev_mismatched");
    return set_text(e.out, memory_format("%s/%s", folder(r), second_dev), "evaluate.out", err) &&
           train_evaluate(folder(r), &e, err);
}

// The best checkpoint once more, without moments: a third of the bytes.
static bool save_without_moments(const glue_run *r, const checkpoint *k, session *s, error *err) {
    finetune_settings settings = r->settings;
    option_table tables[FINETUNE_TABLES];
    finetune_tables(tables, &settings);
    const int64_t tokens = s->max_length;
    const model_request request = {
        .classes = s->task.classes, .max_tokens = tokens, .max_sequences = 1, .longest = tokens};
    return session_build(s, &settings.parallel, (double)tokens, request, err) &&
           checkpoint_load(k, s->topo.world, &s->model.table, false, NULL, NULL, err) &&
           session_save(s, folder(r), k->step, &s->model.table, false, k->state, tables, FINETUNE_TABLES, err);
}

static bool save_best_alone(const glue_run *r, error *err) {
    checkpoint k = {0};
    session s = {0};
    bool ok = checkpoint_open(&k, comm_world(), folder(r), CHECKPOINT_BEST, err);
    if (ok) {
        evaluate_compare_step(folder(r), &k);
        session_read_checkpoint(&s, &k, err);
        ok = comm_agree(comm_world(), err) && save_without_moments(r, &k, &s, err);
    }
    if (ok && root()) checkpoint_prune(folder(r), 1, err); // the newest is now the best
    session_close(&s);
    checkpoint_close(&k);
    return comm_agree(comm_world(), err) && ok;
}

// Under the run's lock: who else works on this list must not meet it half done.
static bool keep_best(const glue_run *r, error *err) {
    int lock = -1;
    if (root()) {
        char *path = memory_format("%s/lock", folder(r));
        lock = file_lock(path, err);
        memory_free(path);
    }
    bool ok = comm_agree(comm_world(), err) && save_best_alone(r, err);
    if (lock >= 0) file_unlock(lock);
    return ok;
}

// All tensors of a checkpoint have moments, or none has.
static bool has_moments(const glue_run *r, const char *checkpoint_name) {
    error ignored = {0};
    char *name = memory_format("%s/manifest.json", checkpoint_name);
    json_t *manifest = read_file(r, name, &ignored), *tensors = json_object_get(manifest, "tensors");
    bool has = json_object_get(json_object_iter_value(json_object_iter(tensors)), "moment1");
    json_decref(manifest);
    memory_free(name);
    return has;
}

// Has it more than its best checkpoint without moments, as when its end was cut off?
static bool is_untidy(const glue_run *r) {
    error ignored = {0};
    size_t n, checkpoints = 0;
    bool moments = false;
    char **names = file_list(folder(r), &n, &ignored);
    for (size_t i = 0; names && i < n; i++) {
        bool is_checkpoint = !strncmp(names[i], "step-", 5);
        checkpoints += is_checkpoint;
        moments = moments || (is_checkpoint && has_moments(r, names[i]));
        memory_free(names[i]);
    }
    memory_free(names);
    return checkpoints > 1 || moments;
}

// Trains unless that is done, and sees to what comes behind it. Who asks to stop does not wait for the latter: the next
// start sees to it.
static bool run_one(glue *g, const glue_run *r, size_t number, error *err) {
    bool before = as_root_says(is_finished(r));
    log_info("%srun %zu of %zu: %s, %s, seed %llu%s", before ? "" : "\n", number, g->n, r->task->name,
             model_design_name(r->design), (unsigned long long)r->settings.train.seed,
             before ? ": finished before" : "");
    if (!before && !train_finetune(&r->settings, err)) return error_prefix(err, "%s", folder(r));
    if (trainer_asked_to_stop(comm_world())) return true;
    bool tidy = g->list->settings.keep != KEEP_ALL && (!before || as_root_says(is_untidy(r)));
    if (!evaluate_second_dev(r, err) || (tidy && !keep_best(r, err))) return error_prefix(err, "%s", folder(r));
    return before || tell(g, err);
}

static size_t count_finished(const glue *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) n += is_finished(&g->runs[i]);
    return n;
}

// Those that others start from come first. Once someone has asked to stop, none begins.
static bool run_all(glue *g, bool *stopped, error *err) {
    size_t number = 0;
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < g->n; i++) {
            bool first = has_intermediate(g) && !strcmp(g->runs[i].task->name, "mnli");
            if (first != (turn == 0)) continue;
            if (!run_one(g, &g->runs[i], ++number, err)) return false;
            *stopped = trainer_asked_to_stop(comm_world());
            if (!*stopped) continue;
            log_info("%zu of %zu runs are finished; the same command goes on", count_finished(g), g->n);
            return true;
        }
    return true;
}

// ---- predictions

// The seed that is best on dev; the root reads, and says which.
static const glue_run *best_run(const glue *g, const task *t, model_design design, error *err) {
    int64_t best = -1;
    double most = 0;
    for (size_t i = 0; root() && i < g->n; i++) {
        if (g->runs[i].task != t || g->runs[i].design != design) continue;
        json_t *results = read_file(&g->runs[i], "results.json", err);
        if (!results) break;
        double score = metrics_mean(json_object_get(results, "metrics"));
        json_decref(results);
        if (best >= 0 && score <= most) continue;
        best = (int64_t)i;
        most = score;
    }
    if (!comm_agree(comm_world(), err)) return NULL;
    comm_broadcast(comm_world(), &best, sizeof best, 0);
    return &g->runs[best];
}

static bool predict_split(const glue *g, const glue_run *r, const task *t, const char *split, int file, error *err) {
    if (!*t->submission[file] || trainer_asked_to_stop(comm_world()) || !split_is_there(r, t, split)) return true;
    evaluate_settings e = evaluation_of(r, split);
    if (t != r->task) snprintf(e.task, sizeof e.task, "%s", t->name);
    return set_text(e.out,
                    memory_format("%s/submission-%s/%s", g->out, model_design_name(r->design), t->submission[file]),
                    "evaluate.out", err) &&
           train_predict(folder(r), &e, err);
}

static bool predict_task(const glue *g, const task *t, model_design design, error *err) {
    const glue_run *r = best_run(g, t, design, err);
    if (!r || !predict_split(g, r, t, "test", 0, err)) return false;
    if (*t->test2_file && !predict_split(g, r, t, "test_mismatched", 1, err)) return false;
    if (strcmp(t->name, "mnli")) return true;
    task diagnostic;
    bool ok = task_find(&diagnostic, "ax", err) && predict_split(g, r, &diagnostic, "test", 0, err);
    task_destroy(&diagnostic);
    return ok;
}

static bool predict_all(const glue *g, error *err) {
    for (int d = 0; d < GLUE_DESIGNS; d++) {
        if (!g->list->designs[d]) continue;
        char *path = memory_format("%s/submission-%s", g->out, model_design_name((model_design)d));
        if (root()) file_make_folders(path, err);
        memory_free(path);
        if (!comm_agree(comm_world(), err)) return false;
        for (size_t t = 0; t < g->list->n; t++)
            if (!predict_task(g, &g->list->tasks[t].task, (model_design)d, err)) return false;
    }
    if (trainer_asked_to_stop(comm_world()))
        log_info("asked to stop: submission files may be missing; the same command makes them all");
    return true;
}

bool glue_run_list(const glue_list *l, const char *out, error *err) {
    glue g = {.list = l, .out = *out ? out : "checkpoints/glue"};
    bool stopped = false;
    trainer_catch_signals(comm_world());
    bool ok = set_runs(&g, err) && check_runs(&g, err) && run_all(&g, &stopped, err);
    if (ok && !g.told && !stopped) ok = tell(&g, err);
    if (ok && !stopped && l->settings.predict) ok = predict_all(&g, err);
    memory_free(g.runs);
    return ok;
}
