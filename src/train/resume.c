// What is saved of a run, and how a run resumes from it.
#include "train/internal.h"

#include <string.h>

static json_t *layout_json(const trainer *t) {
    char team[32];
    topology_team_text(team, t->s.topo.attention, t->s.topo.ffn);
    json_t *shares = json_array();
    bool tiles = t->s.place.grid.rows > 0;
    for (int r = 0; r < t->s.place.team; r++) {
        const placement_share *p = &t->s.place.shares[r];
        json_t *share =
            json_pack("{s:[I,I], s:[I,I], s:[I,I]}", "heads", (json_int_t)p->heads.first, (json_int_t)p->heads.count,
                      "neurons", (json_int_t)p->neurons.first, (json_int_t)p->neurons.count, "vocabulary",
                      (json_int_t)p->vocabulary.first, (json_int_t)p->vocabulary.count);
        if (tiles)
            json_object_set_new(share, "grid", json_pack("[i,i]", t->s.place.grid.rows, t->s.place.grid.columns));
        json_array_append_new(shares, share);
    }
    return json_pack("{s:s, s:i, s:i, s:b, s:o}", "team", team, "replicas", t->s.topo.replicas, "stages",
                     t->s.topo.stages, "balance", t->plan.parallel->balance && !tiles, "placement", shares);
}

static json_t *state_json(const trainer *t) {
    const train_settings *train = t->plan.train;
    json_t *state = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:I, s:O?}", "step", (json_int_t)t->done, "steps",
                              (json_int_t)t->steps, "batch", (json_int_t)train->batch, "seed", (json_int_t)train->seed,
                              "max_length", (json_int_t)t->s.max_length, "lower_case", tokenizer_lower_case(t->s.tok),
                              "layout", layout_json(t), "best_step", (json_int_t)t->best_step, "best_metrics", t->best);
    t->what->add_state(t, state);
    return state;
}

bool resume_save(trainer *t) {
    if (!t->plan.run->save) return true;
    error err = {0};
    json_t *state = state_json(t);
    bool ok = session_save(&t->s, t->run.path, t->done, &t->s.model.table, true, state, t->plan.tables,
                           t->plan.n_tables, &err);
    json_decref(state);
    if (!ok) log_warn("no checkpoint of step %lld: %s; training goes on", (long long)t->done, err.text);
    if (ok && t->run.root && t->best_step == t->done && !checkpoint_mark_best(t->run.path, t->done, &err))
        log_warn("%s", err.text);
    error_clear(&err);
    if (ok && t->run.root && !checkpoint_prune(t->run.path, t->plan.run->keep, &err)) log_warn("%s", err.text);
    return ok;
}

bool resume_same_number(const json_t *state, const char *key, int64_t ours, const char *option_name, error *err) {
    int64_t theirs;
    if (!json_get_int(state, key, &theirs, NULL, "state", err)) return false;
    if (theirs == ours) return true;
    return error_set(err, ERROR_INPUT,
                     "the run was begun with %s %lld, now it is %lld; go on with the same, or begin anew in "
                     "another --run.out",
                     option_name, (long long)theirs, (long long)ours);
}

bool resume_begun_with_another(const char *what, error *err) {
    return error_set(err, ERROR_INPUT,
                     "the run was begun with another %s; go on with the same, or begin anew in another --run.out",
                     what);
}

static bool same_model(const trainer *t, const checkpoint *k, error *err) {
    size_t size;
    model_config config;
    char *text = checkpoint_read_file(k, "config.json", &size, err);
    json_t *theirs = text ? json_parse(text, size, "config.json", err) : NULL;
    bool ok = theirs && model_config_from_json(&config, theirs, DESIGN_AUTO, "config.json", err);
    if (ok) {
        json_t *a = model_config_to_json(&config), *b = model_config_to_json(&t->s.config);
        if (!json_equal(a, b)) ok = resume_begun_with_another("model.config or model.design", err);
        json_decref(a);
        json_decref(b);
    }
    json_decref(theirs);
    memory_free(text);
    return ok;
}

static bool same_vocabulary(const trainer *t, const checkpoint *k, error *err) {
    tokenizer_files theirs;
    if (!session_read_vocabulary(&theirs, k, err)) return false;
    bool same = session_same_vocabulary(t->s.tok, &theirs);
    tokenizer_files_free(&theirs);
    return same || resume_begun_with_another("data.vocab", err);
}

// The same team, and yet other shares: with another profile, or by another version.
static void look_at_shares(const trainer *t, const json_t *theirs) {
    json_t *ours = layout_json(t);
    bool same_team = json_equal(json_object_get(ours, "team"), json_object_get(theirs, "team"));
    if (same_team && !json_equal(json_object_get(ours, "placement"), json_object_get(theirs, "placement")))
        log_warn("heads and neurons are dealt out otherwise than when the run was begun (parallel.balance, "
                 "parallel.profile, parallel.ffn): losses go on as they would have to rounding, not to the bit");
    json_decref(ours);
}

static bool restore_state(trainer *t, const checkpoint *k, error *err) {
    int64_t steps;
    const train_settings *train = t->plan.train;
    if (!t->what->same_state(t, k->state, err) ||
        !resume_same_number(k->state, "batch", train->batch, "train.batch", err) ||
        !resume_same_number(k->state, "seed", (int64_t)train->seed, "train.seed", err) || !same_model(t, k, err) ||
        !same_vocabulary(t, k, err) || !json_get_int(k->state, "steps", &steps, NULL, "state", err) ||
        !json_get_int(k->state, "best_step", &t->best_step, NULL, "state", err))
        return false;
    if (steps != t->steps)
        log_warn("the run was begun for %lld steps, now it is %lld: the learning rate follows the new number",
                 (long long)steps, (long long)t->steps);
    look_at_shares(t, json_object_get(k->state, "layout"));
    t->done = k->step;
    json_t *best = json_object_get(k->state, "best_metrics");
    if (json_is_object(best)) t->best = json_deep_copy(best);
    return run_rewind(&t->run, t->done, err);
}

bool resume_load(trainer *t, error *err) {
    checkpoint k;
    comm *world = t->s.topo.world;
    if (!checkpoint_open(&k, world, t->run.path, CHECKPOINT_LATEST, err)) return false;
    restore_state(t, &k, err);
    bool ok = comm_agree(world, err) && checkpoint_load(&k, world, &t->s.model.table, true, NULL, NULL, err);
    if (ok) log_info("resumed from %s", k.path);
    checkpoint_close(&k);
    return ok;
}

// Tensors to tell of: their number and the first of them.
typedef struct {
    int64_t n;
    char first[128];
} tensor_list;

static void add_tensor(tensor_list *list, const char *name) {
    if (!list->n++) snprintf(list->first, sizeof list->first, "%s", name);
}

static void log_tensors(const char *what, const tensor_list *list) {
    if (list->n == 1) log_info("  %s: %s", what, list->first);
    if (list->n > 1) log_info("  %s: %s and %lld more", what, list->first, (long long)list->n - 1);
}

static bool may_be_new(const char *name, void *context) {
    bool head = model_name_of_head(name);
    if (head) add_tensor(context, name);
    return head;
}

// Is it SAF's weights that a PAF model starts from?
static bool becomes_paf(const trainer *t) {
    return t->s.config.design == DESIGN_PAF &&
           json_object_get(json_object_get(t->init.manifest, "tensors"), model_saf_tensor());
}

// The LayerNorms of model.init that folding takes; none where it is not wanted. Collective over the world.
static bool read_norms(const trainer *t, parameter_table *norms, error *err) {
    *norms = (parameter_table){0};
    if (!becomes_paf(t)) return true;
    if (!session_folds(&t->s.config, t->plan.model->conversion)) {
        log_info("SAF made PAF: each layer's first LayerNorm is left out; --model.conversion=fold loses less");
        return true;
    }
    if (t->s.place.grid.rows)
        return error_set(err, ERROR_INPUT,
                         "model.conversion=fold wants whole rows: fold by paf import, or with parallel.ffn=split");
    model_norms_create(norms, &t->s.config);
    return checkpoint_load(&t->init, t->s.topo.world, norms, false, NULL, NULL, err);
}

// The checkpoint's tensors that no stage has, and no folding takes. Collective over the world.
static tensor_list find_unused(const trainer *t, const parameter_table *norms) {
    tensor_list unused = {0};
    json_t *tensors = json_object_get(t->init.manifest, "tensors"), *tensor;
    size_t n = json_object_size(tensors), i = 0;
    double *used = memory_allocate(n, sizeof *used);
    const char *name;
    json_object_foreach(tensors, name, tensor) {
        used[i++] = parameter_find(&t->s.model.table, name) || parameter_find(norms, name);
    }
    comm_sum_doubles(t->s.topo.world, used, (int)n);
    i = 0;
    json_object_foreach(tensors, name, tensor) {
        if (used[i++] == 0) add_tensor(&unused, name);
    }
    memory_free(used);
    return unused;
}

bool resume_start_from(trainer *t, error *err) {
    tensor_list fresh = {0};
    comm *world = t->s.topo.world;
    parameter_table *table = &t->s.model.table, norms;
    if (!checkpoint_load(&t->init, world, table, false, may_be_new, &fresh, err)) return false;
    comm_broadcast(world, &fresh, sizeof fresh, comm_size(world) - 1); // heads are on the last stage
    bool ok = read_norms(t, &norms, err);
    if (ok) {
        tensor_list unused = find_unused(t, &norms);
        log_info("started from %s", t->init.path);
        log_tensors("new, as initialised", &fresh);
        log_tensors("in the checkpoint, and not used", &unused);
        session_fold(&norms, table, &t->s.config);
    }
    parameter_destroy(&norms);
    return ok;
}
