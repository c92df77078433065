#include "train/internal.h"

#include <string.h>

// One checkpoint and the session made from it.
typedef struct {
    const evaluate_settings *settings;
    checkpoint k;
    session s;
} evaluator;

static bool check_settings(const evaluate_settings *settings, error *err) {
    if (*settings->data_dir) return true;
    return error_set(err, ERROR_INPUT, "data.dir is not set: it names the folder with the data");
}

static bool same_labels(const task *a, const task *b) {
    if (a->regression || b->regression) return a->regression == b->regression && a->low == b->low && a->high == b->high;
    bool same = a->classes == b->classes && a->label_words && b->label_words;
    for (int64_t c = 0; same && c < a->classes; c++) same = !strcmp(a->label_words[c], b->label_words[c]);
    return same;
}

// A model of MNLI also answers the diagnostic set, whose labels are the same.
static bool replace_task(session *s, const char *name, error *err) {
    task other;
    bool ok = task_open(&other, name, err);
    if (ok && !same_labels(&other, &s->task))
        ok = error_set(err, ERROR_INPUT, "evaluate.task: the %s of %s are not those of %s, which the model knows",
                       other.regression && s->task.regression ? "limits" : "labels", other.name, s->task.name);
    task replaced = ok ? s->task : other;
    if (ok) s->task = other;
    task_destroy(&replaced);
    return ok && session_check_types(s, err);
}

void evaluate_compare_step(const char *run, const checkpoint *k) {
    error ignored = {0};
    char *path = memory_format("%s/results.json", run);
    json_t *results = file_exists(path) ? json_read(path, &ignored) : NULL, *step = json_object_get(results, "step");
    if (json_is_integer(step) && json_integer_value(step) != k->step)
        log_warn("%s has step %lld as the best, but the best checkpoint at hand is of step %lld", path,
                 (long long)json_integer_value(step), (long long)k->step);
    json_decref(results);
    memory_free(path);
}

static bool open_session(evaluator *v, const char *run, error *err) {
    comm *world = comm_world();
    check_settings(v->settings, err);
    if (!comm_agree(world, err) || !checkpoint_open(&v->k, world, run, v->settings->which, err)) return false;
    if (v->settings->which == CHECKPOINT_BEST) evaluate_compare_step(run, &v->k);
    if (session_read_checkpoint(&v->s, &v->k, err) && *v->settings->task) replace_task(&v->s, v->settings->task, err);
    return comm_agree(world, err);
}

// Builds the model for data of this kind and fills it. Collective over the world.
static bool load_model(evaluator *v, const dataset *d, error *err) {
    int64_t tokens = v->settings->micro_tokens;
    const model_request request = {.classes = v->s.task.classes,
                                   .max_tokens = tokens,
                                   .max_sequences = tokens / 2,
                                   .longest = v->s.max_length < tokens ? v->s.max_length : tokens};
    return session_build(&v->s, &v->settings->parallel, session_typical_length(d), request, err) &&
           checkpoint_load(&v->k, v->s.topo.world, &v->s.model.table, false, NULL, NULL, err);
}

static void close_session(evaluator *v) {
    session_close(&v->s);
    checkpoint_close(&v->k);
}

static bool load_split(dataset *d, evaluator *v, const char *split, error *err) {
    dataset_load(d, &v->s.task, v->settings->data_dir, split, v->s.tok, v->s.max_length, err);
    if (err->kind == ERROR_NONE && d->longest > v->settings->micro_tokens)
        error_set(err, ERROR_INPUT, "train.micro_tokens is %lld, but the longest example of %s has %lld tokens",
                  (long long)v->settings->micro_tokens, split, (long long)d->longest);
    if (!comm_agree(comm_world(), err)) return false;
    if (d->dropped) log_warn("%s: %lld rows with a wrong number of fields dropped", split, (long long)d->dropped);
    if (d->replaced) log_warn("%s: %lld invalid UTF-8 sequences replaced", split, (long long)d->replaced);
    return true;
}

// ---- evaluate

static json_t *result_json(const evaluator *v, const char *split, const evaluation *e) {
    return json_pack("{s:s, s:s, s:s, s:I, s:O, s:f, s:I, s:s, s:s}", "task", v->s.task.name, "split", split, "design",
                     model_design_name(v->s.config.design), "examples", (json_int_t)e->n, "metrics", e->metrics, "loss",
                     e->loss, "step", (json_int_t)v->k.step, "checkpoint", v->k.path, "version", PAF_VERSION);
}

static void print_result(const json_t *result) {
    printf("%s %s:", json_string_value(json_object_get(result, "task")),
           json_string_value(json_object_get(result, "split")));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(result, "metrics"), key, value)
        printf(" %s %.4f", key, json_number_value(value));
    printf(" (%lld examples, loss %.4f)\n", (long long)json_integer_value(json_object_get(result, "examples")),
           json_number_value(json_object_get(result, "loss")));
}

static bool evaluate_split(evaluator *v, const char *split, json_t *results, error *err) {
    dataset d = {0};
    evaluation e = {0};
    bool ok = load_split(&d, v, split, err);
    if (ok && !d.labels && !d.targets)
        ok = error_set(err, ERROR_INPUT, "%s %s has no labels; use predict", v->s.task.name, split);
    if (ok && !v->s.model.mine) ok = load_model(v, &d, err);
    if (ok) {
        evaluation_run(&e, &v->s, &d, split);
        json_array_append_new(results, result_json(v, split, &e));
    }
    evaluation_destroy(&e);
    dataset_destroy(&d);
    return ok;
}

// MNLI's dev split is two files; without the second there is a warning. The root looks, so that ranks do not differ.
static bool second_split(const evaluator *v, const char *split) {
    char path[OPTION_STRING_SIZE * 2];
    error err = {0};
    comm *world = v->s.topo.world;
    if (strcmp(split, "dev") || !*v->s.task.dev2_file) return false;
    if (comm_rank(world) == 0) dataset_path(path, &v->s.task, v->settings->data_dir, "dev_mismatched", &err);
    if (comm_agree(world, &err)) return true;
    log_warn("%s", err.text);
    return false;
}

static bool report(const evaluator *v, json_t *results, error *err) {
    if (comm_rank(v->s.topo.world) == 0) {
        for (size_t i = 0; i < json_array_size(results); i++) print_result(json_array_get(results, i));
        json_t *whole = json_array_size(results) == 1 ? json_array_get(results, 0) : results;
        if (*v->settings->out) json_write(v->settings->out, whole, err);
    }
    return comm_agree(v->s.topo.world, err);
}

bool train_evaluate(const char *run, const evaluate_settings *settings, error *err) {
    evaluator v = {.settings = settings};
    const char *split = *settings->split ? settings->split : "dev";
    json_t *results = json_array();
    bool ok = open_session(&v, run, err) && evaluate_split(&v, split, results, err);
    if (ok && second_split(&v, split)) ok = evaluate_split(&v, "dev_mismatched", results, err);
    ok = ok && report(&v, results, err);
    json_decref(results);
    close_session(&v);
    return ok;
}

// ---- predict

static bool predict_split(evaluator *v, const char *run, const char *split, const char *file, error *err) {
    dataset d = {0};
    evaluation e = {0};
    bool ok = load_split(&d, v, split, err) && (v->s.model.mine || load_model(v, &d, err));
    if (ok) {
        evaluation_run(&e, &v->s, &d, split);
        char *path = *v->settings->out ? memory_string(v->settings->out) : memory_format("%s/%s", run, file);
        if (comm_rank(v->s.topo.world) == 0 && submission_write(path, &v->s.task, e.n, e.predicted, e.values, err))
            printf("%s %s: %lld predictions in %s\n", v->s.task.name, split, (long long)e.n, path);
        memory_free(path);
        ok = comm_agree(v->s.topo.world, err);
    }
    evaluation_destroy(&e);
    dataset_destroy(&d);
    return ok;
}

bool train_predict(const char *run, const evaluate_settings *settings, error *err) {
    evaluator v = {.settings = settings};
    const char *split = *settings->split ? settings->split : "test";
    bool ok = open_session(&v, run, err);
    const task *t = &v.s.task;
    bool both = ok && !strcmp(split, "test") && *t->test2_file && !*settings->out;
    if (ok) {
        int which = strstr(split, "mismatched") != NULL;
        bool wanted = !strncmp(split, "test", 4) && *t->submission[which]; // GLUE takes the test split only
        char *own = wanted ? memory_string(t->submission[which]) : memory_format("%s-%s.tsv", t->name, split);
        ok = predict_split(&v, run, split, own, err);
        memory_free(own);
    }
    if (ok && both) ok = predict_split(&v, run, "test_mismatched", t->submission[1], err);
    close_session(&v);
    return ok;
}
