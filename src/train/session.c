#include "train/internal.h"

#include <string.h>

static bool check_vocabulary(const session *s, const char *vocab, const char *config, error *err) {
    if (tokenizer_size(s->tok) == s->config.vocabulary) return true;
    return error_set(err, ERROR_INPUT,
                     "%s has %lld pieces, but %s says vocab_size %lld; use the vocabulary that belongs to the model",
                     vocab, (long long)tokenizer_size(s->tok), config, (long long)s->config.vocabulary);
}

static bool check_length(const session *s, const char *name, error *err) {
    if (s->max_length <= model_longest(&s->config)) return true;
    return error_set(err, ERROR_INPUT, "%s is %lld, but the model has %lld positions", name, (long long)s->max_length,
                     (long long)model_longest(&s->config));
}

// Tokens of a second text have type 1 in BERT.
bool session_check_types(const session *s, error *err) {
    if (s->config.types >= tokenizer_special_ids(s->tok).types ||
        !(s->task.train.text[1] || s->task.dev.text[1] || s->task.test.text[1]))
        return true;
    return error_set(err, ERROR_INPUT, "task %s has pairs of texts, but the model's type_vocab_size is 1; it takes 2",
                     s->task.name);
}

static const char *const vocabulary_is = "the vocabulary: a vocab.txt, or a folder with vocab.json and merges.txt";
static const char *const config_is = "the model's config.json (see configs/models)";

static bool need(const char *value, const char *name, const char *what, error *err) {
    if (*value) return true;
    return error_set(err, ERROR_INPUT, "%s is not set: it names %s", name, what);
}

bool session_same_vocabulary(const tokenizer *tok, const tokenizer_files *files) {
    const tokenizer_files *ours = tokenizer_files_of(tok);
    bool same = files->n == ours->n;
    for (size_t i = 0; same && i < ours->n; i++)
        same = !strcmp(files->file[i].name, ours->file[i].name) && files->file[i].size == ours->file[i].size &&
               !memcmp(files->file[i].text, ours->file[i].text, ours->file[i].size);
    return same;
}

static bool read_config(session *s, const checkpoint *k, model_design design, error *err) {
    size_t size;
    char *text = checkpoint_read_file(k, "config.json", &size, err);
    if (!text) return false;
    json_t *json = json_parse(text, size, "config.json", err);
    bool ok = json && model_config_from_json(&s->config, json, design, "config.json", err);
    json_decref(json);
    memory_free(text);
    return ok;
}

bool session_read_vocabulary(tokenizer_files *files, const checkpoint *k, error *err) {
    const json_t *all = json_object_get(k->manifest, "files");
    *files = (tokenizer_files){0};
    for (const char *const *name = tokenizer_file_names; *name; name++) {
        if (!json_object_get(all, *name) || files->n == TOKENIZER_FILES) continue;
        files->file[files->n].name = *name;
        files->file[files->n].text = checkpoint_read_file(k, *name, &files->file[files->n].size, err);
        if (!files->file[files->n].text) {
            tokenizer_files_free(files);
            return false;
        }
        files->n++;
    }
    return true;
}

static bool read_vocabulary(session *s, const checkpoint *k, error *err) {
    tokenizer_files files;
    if (!session_read_vocabulary(&files, k, err)) return false;
    s->tok = tokenizer_load_files(&files, json_is_true(json_object_get(k->state, "lower_case")), err);
    tokenizer_files_free(&files);
    return s->tok;
}

// The vocabulary of these settings or, without one, that of the model that is started from. Another one would read its
// embeddings as other words.
static bool load_vocabulary(session *s, const char *vocab, bool lower_case, const checkpoint *init, error *err) {
    if (!*vocab) return read_vocabulary(s, init, err);
    s->tok = tokenizer_load(vocab, lower_case, err);
    if (!s->tok || !init) return s->tok;
    tokenizer_files theirs;
    if (!session_read_vocabulary(&theirs, init, err)) return false;
    bool same = session_same_vocabulary(s->tok, &theirs) &&
                tokenizer_lower_case(s->tok) == json_is_true(json_object_get(init->state, "lower_case"));
    tokenizer_files_free(&theirs);
    return same ||
           error_set(err, ERROR_INPUT,
                     "data.vocab or data.lower_case is not what %s was trained with; leave both out, it brings its own",
                     init->path);
}

// Model and vocabulary of these settings, or what they leave out of the model that is started from.
static bool model_from_settings(session *s, const model_settings *model, const char *vocab, bool lower_case,
                                const checkpoint *init, error *err) {
    const char *config = model->config;
    if (!init && (!need(vocab, "data.vocab", vocabulary_is, err) || !need(config, "model.config", config_is, err)))
        return false;
    return (*config ? model_config_read(&s->config, config, model->design, err)
                    : read_config(s, init, model->design, err)) &&
           load_vocabulary(s, vocab, lower_case, init, err) &&
           check_vocabulary(s, *vocab ? vocab : "its vocabulary", *config ? config : "its config.json", err);
}

bool session_read_settings(session *s, const finetune_settings *settings, const checkpoint *init, error *err) {
    const data_settings *data = &settings->data;
    *s = (session){.max_length = data->max_length};
    return need(data->task, "data.task", "a GLUE task (such as sst2) or a task file", err) &&
           need(data->dir, "data.dir", "the folder with the data", err) && task_open(&s->task, data->task, err) &&
           task_collect_labels(&s->task, data->dir, err) &&
           model_from_settings(s, &settings->model, data->vocab, data->lower_case, init, err) &&
           check_length(s, "data.max_length", err) && session_check_types(s, err);
}

bool session_read_pretrain_settings(session *s, const pretrain_settings *settings, const checkpoint *init, error *err) {
    const pretrain_data_settings *data = &settings->data;
    *s = (session){.max_length = data->length};
    return need(data->tokens, "data.tokens", "a folder of token shards (paf tokenize makes them)", err) &&
           model_from_settings(s, &settings->model, data->vocab, data->lower_case, init, err) &&
           check_length(s, "data.length", err);
}

bool session_read_model(session *s, const checkpoint *k, error *err) {
    return read_config(s, k, DESIGN_AUTO, err) && read_vocabulary(s, k, err) &&
           check_vocabulary(s, "its vocabulary", "its config.json", err);
}

bool session_read_checkpoint(session *s, const checkpoint *k, error *err) {
    *s = (session){0};
    const json_t *task = json_object_get(k->state, "task");
    bool ok = task || error_set(err, ERROR_INPUT,
                                "a pretrained model, which knows no task; fine-tune it first, with --model.init");
    ok = ok && task_from_json(&s->task, task, err) &&
         json_get_int(k->state, "max_length", &s->max_length, NULL, "state", err) && session_read_model(s, k, err) &&
         check_length(s, "data.max_length", err) && session_check_types(s, err);
    return ok || error_prefix(err, "%s", k->path);
}

// ---- SAF made PAF

bool session_folds(const model_config *config, model_conversion conversion) {
    return config->design == DESIGN_PAF && conversion == CONVERSION_FOLD;
}

void session_fold(const parameter_table *norms, parameter_table *table, const model_config *config) {
    if (!norms->n) return;
    model_fold_norms(table, norms, config);
    log_info("SAF made PAF: each layer's first LayerNorm is folded into the weights around it");
}

// ---- ranks and model

double session_typical_length(const dataset *d) {
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < d->n; i++) {
        double length = (double)dataset_length(d, i);
        squares += length * length;
        sum += length;
    }
    return sum > 0 ? squares / sum : 1;
}

int64_t session_need(const session *s) {
    model_memory m = model_need(&s->model, &s->topo);
    return m.parameters + m.gradients + m.moments + m.activations + m.exchange;
}

// A line a rank of the first replica.
static void log_plan(const session *s) {
    const double mib = 1 << 20;
    const placement_share *p = s->model.mine;
    model_memory m = model_need(&s->model, &s->topo);
    char team[32], layout[64] = "", layers[64] = "";
    topology_team_text(team, s->topo.attention, s->topo.ffn);
    if (s->topo.replicas * s->topo.stages > 1)
        snprintf(layout, sizeof layout, ", replicas %d, stages %d", s->topo.replicas, s->topo.stages);
    if (s->topo.stages > 1)
        snprintf(layers, sizeof layers, " layers %lld to %lld,", (long long)s->model.stack.first + 1,
                 (long long)(s->model.stack.first + s->model.stack.count));
    log_info("%s, team %s%s%s", model_design_name(s->config.design), team, layout, s->topo.zero ? ", zero" : "");
    if (s->place.grid.rows)
        log_info("  FFN in tiles on %d x %d ranks, by PBLAS: balance is off", s->place.grid.rows,
                 s->place.grid.columns);
    char *mine =
        memory_format("rank %d:%s heads %lld, neurons %lld, vocabulary rows %lld, %.0f %% of %s FLOP; %.0f MiB: "
                      "parameters %.0f, gradients %.0f, moments %.0f, activations %.0f, exchange %.0f",
                      comm_rank(s->topo.world), layers, (long long)p->heads.count, (long long)p->neurons.count,
                      (long long)p->vocabulary.count, 100 * p->work, s->topo.stages > 1 ? "its stage's" : "the",
                      (double)session_need(s) / mib, (double)m.parameters / mib, (double)m.gradients / mib,
                      (double)m.moments / mib, (double)m.activations / mib, (double)m.exchange / mib);
    char **all = comm_gather_texts(s->topo.model_comm, mine);
    for (int r = 0; r < comm_size(s->topo.model_comm); r++) {
        log_info("  %s", all[r]);
        memory_free(all[r]);
    }
    memory_free(all);
    memory_free(mine);
}

// Does what the ranks of a node need together fit into what it has?
static bool fits(const session *s, error *err) {
    const double gib = 1 << 30;
    double need = (double)session_need(s), have;
    int ranks = comm_node_ranks();
    if (!comm_node_fits(&need, &have))
        error_set(err, ERROR_INPUT,
                  "%d rank%s of a node need %.1f GiB, but it has %.1f GiB free; pass less through the layers together "
                  "(--train.micro_tokens%s)%s, or take more nodes",
                  ranks, ranks == 1 ? "" : "s", need / gib, have / gib,
                  s->model.head == HEAD_MASKED_LM ? ", or more --train.accumulate" : "",
                  s->model.training && !s->model.recompute ? ", set --train.recompute=layer" : "");
    return comm_agree(s->topo.world, err);
}

bool train_read_profile(model_profile *profile, const char *path, const model_config *config, error *err) {
    comm *world = comm_world();
    char *mine = comm_rank(world) == 0 ? text_read(path, NULL, err) : NULL;
    if (comm_agree(world, err)) {
        char *text = comm_broadcast_text(world, mine, 0);
        json_t *json = json_parse(text, strlen(text), path, err);
        if (json) model_profile_from_json(profile, json, config, path, err);
        json_decref(json);
        memory_free(text);
    }
    memory_free(mine);
    return comm_agree(world, err);
}

// Seconds of the update, a parameter and token; 0 without training.
static double update_seconds(const session *s, const model_profile *p) {
    if (!s->optimizer || s->step_tokens <= 0) return 0;
    return (*s->optimizer == OPTIM_LAMB ? p->lamb : p->adamw) / s->step_tokens;
}

// What heads and neurons cost, by a profile where one is named. Collective over the world.
static bool read_costs(const session *s, placement_cost *cost, const char *path, double length, error *err) {
    model_profile profile;
    *cost = model_cost(&s->config, length);
    if (!*path) return true;
    if (!train_read_profile(&profile, path, &s->config, err)) return false;
    *cost = model_profile_cost(&profile, length, update_seconds(s, &profile));
    return true;
}

// Stages are cut by work: where tokens are masked, the last stage has their projection onto the vocabulary, too.
static bool cut_stages(session *s, double length, model_request *request, error *err) {
    int64_t layers = s->config.layers;
    int stages = s->topo.stages;
    if (stages > layers)
        return error_set(err, ERROR_INPUT, "parallel.stages is %d, but the model has %lld layers, one a stage at least",
                         stages, (long long)layers);
    placement_cost cost = model_cost(&s->config, length);
    double layer =
        placement_rank_cost(&cost, s->config.heads, 0) + placement_rank_cost(&cost, 0, s->config.intermediate);
    double head = (double)request->max_masked / (double)request->max_tokens * model_masked_work(&s->config);
    range *all = memory_allocate((size_t)stages, sizeof *all);
    placement_stages(all, stages, layers, head / layer);
    request->layers = all[s->topo.stage];
    memory_free(all);
    return true;
}

static bool plan(session *s, const parallel_settings *parallel, double length, const placement_cost *cost,
                 model_request *request, error *err) {
    int64_t heads = s->config.heads, neurons = s->config.intermediate;
    double attention = placement_rank_cost(cost, heads, 0), ffn = placement_rank_cost(cost, 0, neurons);
    if (!topology_create(&s->topo, parallel, attention, ffn, heads, err)) return false;
    placement_request wanted = model_placement_request(&s->config, &s->topo, parallel->balance, length);
    wanted.cost = *cost;
    wanted.tiles = parallel->ffn == FFN_PBLAS;
    if (!placement_create(&s->place, &wanted, err) || !cut_stages(s, length, request, err)) return false;
    model_plan(&s->model, &s->config, request, &s->topo, &s->place);
    return true;
}

bool session_build(session *s, const parallel_settings *parallel, double sequence_length, model_request request,
                   error *err) {
    request.exchange = parallel->exchange;
    placement_cost cost;
    if (!comm_agree(comm_world(), err) || !read_costs(s, &cost, parallel->profile, sequence_length, err)) return false;
    plan(s, parallel, sequence_length, &cost, &request, err);
    if (!comm_agree(comm_world(), err)) return false;
    if (request.training) log_plan(s);
    if (!fits(s, err)) return false;
    model_allocate(&s->model, &s->topo, err);
    if (!comm_agree(comm_world(), err)) return false;
    if (request.training) log_info("  exchange: %s", exchange_kind_name(s->model.ex));
    return true;
}

bool session_save(const session *s, const char *run, int64_t step, const parameter_table *table, bool moments,
                  const json_t *state, const option_table *tables, size_t n_tables, error *err) {
    size_t size;
    json_t *json = model_config_to_json(&s->config);
    char *config = json_format(json, true, &size), *ini = option_write(tables, n_tables);
    checkpoint_file files[2 + TOKENIZER_FILES] = {{"config.json", config, size}, {"config.ini", ini, strlen(ini)}};
    const tokenizer_files *vocabulary = tokenizer_files_of(s->tok);
    for (size_t i = 0; i < vocabulary->n; i++)
        files[2 + i] = (checkpoint_file){vocabulary->file[i].name, vocabulary->file[i].text, vocabulary->file[i].size};
    bool ok = checkpoint_save(s->topo.world, run, step, table, moments, state, files, 2 + vocabulary->n, err);
    memory_free(ini);
    memory_free(config);
    json_decref(json);
    return ok;
}

void session_close(session *s) {
    if (s->model.mine) model_destroy(&s->model);
    placement_destroy(&s->place);
    topology_destroy(&s->topo);
    tokenizer_destroy(s->tok);
    task_destroy(&s->task);
}
