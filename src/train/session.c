#include "train/internal.h"

#include <string.h>

static bool check_vocabulary(const session *s, const char *vocab, const char *config, error *err) {
    if (tokenizer_size(s->tok) == s->config.vocabulary) return true;
    return error_set(err, ERROR_INPUT,
                     "%s has %lld pieces, but %s says vocab_size %lld; use the vocabulary that belongs to the model",
                     vocab, (long long)tokenizer_size(s->tok), config, (long long)s->config.vocabulary);
}

static bool check_length(const session *s, error *err) {
    if (s->max_length <= s->config.positions) return true;
    return error_set(err, ERROR_INPUT, "data.max_length is %lld, but the model has %lld positions",
                     (long long)s->max_length, (long long)s->config.positions);
}

// Tokens of a second text have type 1 in BERT.
static bool check_types(const session *s, error *err) {
    if (s->config.types >= tokenizer_special_ids(s->tok).types ||
        !(s->task.train.text[1] || s->task.dev.text[1] || s->task.test.text[1]))
        return true;
    return error_set(err, ERROR_INPUT, "task %s has pairs of texts, but the model's type_vocab_size is 1; it takes 2",
                     s->task.name);
}

static bool need(const char *value, const char *name, const char *what, error *err) {
    if (*value) return true;
    return error_set(err, ERROR_INPUT, "%s is not set: it names %s", name, what);
}

bool session_read_settings(session *s, const finetune_settings *settings, error *err) {
    *s = (session){.max_length = settings->data.max_length};
    const char *vocab = settings->data.vocab, *config = settings->model.config;
    if (!need(settings->data.task, "data.task", "a GLUE task (such as sst2) or a task file", err) ||
        !need(settings->data.dir, "data.dir", "the folder with the data", err) ||
        !need(vocab, "data.vocab", "the vocabulary: a vocab.txt, or a folder with vocab.json and merges.txt", err) ||
        !need(config, "model.config", "the model's config.json (see configs/models)", err))
        return false;
    if (!task_open(&s->task, settings->data.task, err) || !task_collect_labels(&s->task, settings->data.dir, err))
        return false;
    if (!model_config_read(&s->config, config, settings->model.design, err)) return false;
    s->tok = tokenizer_load(vocab, settings->data.lower_case, err);
    return s->tok && check_vocabulary(s, vocab, config, err) && check_length(s, err) && check_types(s, err);
}

static bool read_config(session *s, const checkpoint *k, error *err) {
    size_t size;
    char *text = checkpoint_read_file(k, "config.json", &size, err);
    if (!text) return false;
    json_t *json = json_parse(text, size, "config.json", err);
    bool ok = json && model_config_from_json(&s->config, json, "auto", "config.json", err);
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
    bool ok = s->tok && check_vocabulary(s, files.file[0].name, "config.json", err);
    tokenizer_files_free(&files);
    return ok;
}

bool session_read_checkpoint(session *s, const checkpoint *k, error *err) {
    *s = (session){0};
    bool ok = task_from_json(&s->task, json_object_get(k->state, "task"), err) &&
              json_get_int(k->state, "max_length", &s->max_length, NULL, "state", err) && read_config(s, k, err) &&
              read_vocabulary(s, k, err) && check_length(s, err) && check_types(s, err);
    return ok || error_prefix(err, "%s", k->path);
}

// ---- ranks and model

// The mean of S^2 over the mean of S: what a token meets in attention, on average.
static double typical_length(const dataset *d) {
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < d->n; i++) {
        double length = (double)dataset_length(d, i);
        squares += length * length;
        sum += length;
    }
    return sum > 0 ? squares / sum : 1;
}

static bool build(session *s, const parallel_settings *parallel, const dataset *d, const model_request *request,
                  error *err) {
    double length = typical_length(d);
    double attention = model_attention_work(&s->config, length), ffn = model_ffn_work(&s->config);
    if (!topology_create(&s->topo, parallel, attention, ffn, s->config.heads, err)) return false;
    const placement_request wanted = model_placement_request(&s->config, &s->topo, parallel->balance, length);
    return placement_create(&s->place, &wanted, err) &&
           model_create(&s->model, &s->config, request, &s->topo, &s->place, err);
}

bool session_build(session *s, const parallel_settings *parallel, const dataset *d, int64_t max_tokens,
                   int64_t max_sequences, bool training, error *err) {
    if (max_tokens < d->longest)
        error_set(err, ERROR_INPUT, "train.micro_tokens is %lld, but the longest example has %lld tokens",
                  (long long)max_tokens, (long long)d->longest);
    const model_request request = {.classes = s->task.classes,
                                   .max_tokens = max_tokens,
                                   .max_sequences = max_sequences,
                                   .longest = s->max_length < max_tokens ? s->max_length : max_tokens,
                                   .training = training,
                                   .exchange = parallel->exchange};
    if (err->kind == ERROR_NONE) build(s, parallel, d, &request, err);
    return comm_agree(comm_world(), err);
}

void session_log_placement(const session *s) {
    const double mib = 1 << 20;
    const placement_share *p = s->model.mine;
    const model *m = &s->model;
    double copies = m->training ? 4 : 1;
    double parameters = copies * (double)m->table.total * sizeof(float) / mib;
    double activations = (double)m->activations.size / mib, buffers = (double)exchange_footprint(m->ex) / mib;
    char team[32];
    topology_team_text(team, s->topo.attention, s->topo.ffn);
    log_info("%s, team %s, exchange %s", model_design_name(s->config.design), team, exchange_kind_name(m->ex));
    char *mine = memory_format("rank %d: heads %lld, neurons %lld, vocabulary rows %lld, %.0f %% of the work, %.0f MiB "
                               "(parameters %.0f, activations %.0f, exchange %.0f)",
                               comm_rank(s->topo.world), (long long)p->heads.count, (long long)p->neurons.count,
                               (long long)p->vocabulary.count, 100 * p->work, parameters + activations + buffers,
                               parameters, activations, buffers);
    char **all = comm_gather_texts(s->topo.world, mine);
    for (int r = 0; r < comm_size(s->topo.world); r++) {
        log_info("  %s", all[r]);
        memory_free(all[r]);
    }
    memory_free(all);
    memory_free(mine);
}

void session_close(session *s) {
    if (s->model.mine) model_destroy(&s->model);
    placement_destroy(&s->place);
    topology_destroy(&s->topo);
    tokenizer_destroy(s->tok);
    task_destroy(&s->task);
}
