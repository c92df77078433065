// Import: a model of Hugging Face's becomes a checkpoint. The parameter table says which tensors there are and which
// part of them is this rank's; the folder says which heads.
#include "huggingface/internal.h"

#include <string.h>
#include <strings.h>

typedef struct {
    const import_settings *settings;
    session s;
    json_t *config; // config.json as it is
    foreign f;
    parameter_table table;
    bool has_task;
    json_t *labels; // of the classifier, in its order; NULL where config.json does not say
    int64_t *order; // [classes] row of the folder's classifier for each label of the task
} importer;

// ---- what the folder says ------------------------------------------------------------------------------------------

static bool check_settings(const import_settings *settings, error *err) {
    if (!*settings->from)
        return error_set(err, ERROR_INPUT, "import.from is not set: it names Hugging Face's folder, with config.json");
    if (!*settings->to)
        return error_set(err, ERROR_INPUT, "import.to is not set: it names the run folder that is made");
    if (checkpoint_exists(settings->to))
        return error_set(err, ERROR_INPUT, "%s holds a run already; name another folder with --import.to",
                         settings->to);
    return true;
}

static bool read_config(importer *i, error *err) {
    char *path = memory_format("%s/config.json", i->settings->from);
    i->config = json_read_foreign(path, err);
    bool ok = i->config && model_config_from_json(&i->s.config, i->config, i->settings->design, path, err);
    memory_free(path);
    return ok;
}

// BERT's tokenizer lower-cases unless it is told otherwise.
static bool read_casing(const importer *i, bool *lower_case, error *err) {
    *lower_case = i->settings->lower_case != CASING_OFF;
    char *path = memory_format("%s/tokenizer_config.json", i->settings->from);
    bool wanted = i->settings->lower_case == CASING_AUTO && file_exists(path);
    json_t *json = wanted ? json_read_foreign(path, err) : NULL;
    const json_t *own = json_object_get(json, "do_lower_case");
    if (json_is_boolean(own)) *lower_case = json_is_true(own);
    json_decref(json);
    memory_free(path);
    return json || !wanted;
}

static bool read_vocabulary(importer *i, error *err) {
    bool lower_case;
    const char *path = *i->settings->vocab ? i->settings->vocab : i->settings->from;
    if (!read_casing(i, &lower_case, err)) return false;
    i->s.tok = tokenizer_load(path, lower_case, err);
    if (!i->s.tok) return error_prefix(err, "the model's vocabulary");
    if (tokenizer_size(i->s.tok) == i->s.config.vocabulary) return true;
    return error_set(err, ERROR_INPUT, "the vocabulary in %s has %lld pieces, but config.json says vocab_size %lld",
                     path, (long long)tokenizer_size(i->s.tok), (long long)i->s.config.vocabulary);
}

// ---- heads ---------------------------------------------------------------------------------------------------------

static tensor_name classifier_weight(const model_config *c) {
    return model_tensor_name(c->family, TENSOR_CLASSIFIER, 0, "weight");
}

// The classes of the folder's classifier; 0 where it has none that paf knows: BERT's stands on the pooler.
static int64_t find_classes(const importer *i) {
    const safetensors_tensor *t = foreign_find(&i->f, classifier_weight(&i->s.config).text);
    bool roberta = i->s.config.family == FAMILY_ROBERTA;
    tensor_name pooler = model_tensor_name(i->s.config.family, TENSOR_POOLER, 0, "weight");
    bool whole = t && t->dimensions == 2 && t->shape[0] > 0 && (roberta || foreign_find(&i->f, pooler.text));
    return whole ? t->shape[0] : 0;
}

// Does the folder have any tensor of p's head?
static bool has_head(const importer *i, const parameter_table *table, const parameter *p) {
    size_t n = model_name_head(p->name);
    if (!strncmp(p->name, classifier_weight(&i->s.config).text, n + 1) && !find_classes(i)) return false;
    for (size_t r = 0; r < table->n; r++)
        if (!strncmp(table->rows[r].name, p->name, n + 1) && foreign_find(&i->f, table->rows[r].name)) return true;
    return false;
}

// Adds the rows of a model with this head to the table, as far as they are wanted and new.
static bool add_rows(importer *i, model_head head, error *err) {
    const model_request request = {.head = head,
                                   .classes = find_classes(i) ? find_classes(i) : 1,
                                   .max_tokens = 1,
                                   .max_sequences = 1,
                                   .longest = 1,
                                   .max_masked = 1,
                                   .exchange = EXCHANGE_MPI}; // none is made, and nothing asked of other ranks
    model m;
    model_plan(&m, &i->s.config, &request, &i->s.topo, &i->s.place);
    bool ok = true, again = i->table.n > 0;
    for (size_t r = 0; ok && r < m.table.n; r++) {
        const parameter *p = &m.table.rows[r];
        bool encoder = !model_name_head(p->name);
        if (encoder ? again : !has_head(i, &m.table, p)) continue;
        ok = foreign_check(&i->f, p, err);
        i->table.rows = memory_grow(i->table.rows, i->table.n, &i->table.capacity, sizeof *p);
        i->table.rows[i->table.n++] = *p;
    }
    model_destroy(&m);
    return ok;
}

// Before a table is made of it, a config.json has to be worth it.
static bool check_sizes(const importer *i, error *err) {
    const model_config *c = &i->s.config;
    parameter words = {.dimensions = 2, .shape = {c->vocabulary, c->hidden}};
    parameter last = {.dimensions = 2, .shape = {c->hidden, c->intermediate}};
    tensor_name names[] = {model_tensor_name(c->family, TENSOR_WORDS, 0, "weight"),
                           model_tensor_name(c->family, TENSOR_OUTPUT, c->layers - 1, "weight")};
    memcpy(words.name, names[0].text, sizeof words.name);
    memcpy(last.name, names[1].text, sizeof last.name);
    return foreign_check(&i->f, &words, err) && foreign_check(&i->f, &last, err);
}

static bool plan(importer *i, error *err) {
    const model_config *c = &i->s.config;
    const parallel_settings *parallel = &i->settings->parallel;
    double attention = model_attention_work(c, 128), ffn = model_ffn_work(c);
    if (parallel->replicas * parallel->stages > 1 || parallel->ffn != FFN_SPLIT)
        return error_set(err, ERROR_INPUT,
                         "a model is imported by one team: leave parallel.replicas and parallel.stages at 1, and "
                         "parallel.ffn at split; any layout reads what is written");
    if (!topology_create(&i->s.topo, parallel, attention, ffn, c->heads, err)) return false;
    const placement_request wanted = model_placement_request(c, &i->s.topo, parallel->balance, 128);
    return placement_create(&i->s.place, &wanted, err) && add_rows(i, HEAD_MASKED_LM, err) &&
           add_rows(i, HEAD_CLASSIFIER, err);
}

// ---- labels --------------------------------------------------------------------------------------------------------

// From id2label, {"0": "word", ...}; it may be missing.
static bool read_labels(importer *i, error *err) {
    int64_t classes = find_classes(i);
    const json_t *words = json_object_get(i->config, "id2label");
    if (!classes || !json_is_object(words)) return true;
    i->labels = json_array();
    for (int64_t c = 0; c < classes; c++) {
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)c);
        const char *word = json_string_value(json_object_get(words, key));
        if (!word || json_object_size(words) != (size_t)classes)
            return error_set(err, ERROR_INPUT,
                             "config.json: \"id2label\" should name the %lld labels of the classifier",
                             (long long)classes);
        json_array_append_new(i->labels, json_string(word));
    }
    return true;
}

static int64_t find_label(const json_t *labels, const char *word) {
    for (size_t c = 0; c < json_array_size(labels); c++)
        if (!strcasecmp(json_string_value(json_array_get(labels, c)), word)) return (int64_t)c;
    return -1;
}

// A task file that leaves the words to the data takes them from the model.
static bool take_words(importer *i, error *err) {
    task *t = &i->s.task;
    if (t->regression || t->label_words) return true;
    if (!i->labels)
        return error_set(err, ERROR_INPUT, "task %s: neither it nor config.json's id2label names the labels", t->name);
    t->classes = (int64_t)json_array_size(i->labels);
    t->label_words = memory_allocate((size_t)t->classes, sizeof *t->label_words);
    for (int64_t c = 0; c < t->classes; c++)
        t->label_words[c] = memory_string(json_string_value(json_array_get(i->labels, (size_t)c)));
    return true;
}

// Published classifiers have the labels of a task in orders of their own. Where id2label has the task's words, it says
// which; where it has none of them (LABEL_0, or 0 and 1 by other words), the order is the task's.
static bool find_order(importer *i, error *err) {
    const task *t = &i->s.task;
    int64_t known = 0;
    i->order = memory_allocate((size_t)t->classes, sizeof *i->order);
    for (int64_t c = 0; c < t->classes; c++) {
        i->order[c] = t->label_words ? find_label(i->labels, t->label_words[c]) : -1;
        known += i->order[c] >= 0;
    }
    if (known > 0 && known < t->classes)
        return error_set(err, ERROR_INPUT, "config.json: \"id2label\" has some labels of task %s, but not all",
                         t->name);
    for (int64_t c = 0; !known && c < t->classes; c++) i->order[c] = c;
    return true;
}

static bool read_task(importer *i, error *err) {
    const char *name = i->settings->task;
    int64_t classes = find_classes(i);
    if (!*name) return true;
    if (!classes)
        return error_set(err, ERROR_INPUT, "import.task is %s, but %s has no classifier", name, i->settings->from);
    if (!task_open(&i->s.task, name, err)) return false;
    i->has_task = true;
    if (!take_words(i, err)) return false;
    if (i->s.task.classes != classes)
        return error_set(err, ERROR_INPUT, "task %s has %lld classes, the classifier in %s %lld", name,
                         (long long)i->s.task.classes, i->settings->from, (long long)classes);
    return find_order(i, err);
}

// Puts the classifier's rows, which every rank has all of, into the order of the task.
static void sort_classifier(importer *i) {
    bool moved = false;
    for (int64_t c = 0; i->order && c < i->s.task.classes; c++) moved = moved || i->order[c] != c;
    if (!moved) return;
    for (int part = 0; part < 2; part++) {
        tensor_name name = model_tensor_name(i->s.config.family, TENSOR_CLASSIFIER, 0, part ? "bias" : "weight");
        parameter *p = parameter_find(&i->table, name.text);
        int64_t width = p->size[1];
        float *copy = memory_allocate((size_t)parameter_count(p), sizeof *copy);
        memcpy(copy, p->value, (size_t)parameter_count(p) * sizeof *copy);
        for (int64_t c = 0; c < p->size[0]; c++)
            memcpy(p->value + c * width, copy + i->order[c] * width, (size_t)width * sizeof *copy);
        memory_free(copy);
    }
    log_info("the classifier's rows are now in the order of task %s's labels", i->s.task.name);
}

// ---- the checkpoint ------------------------------------------------------------------------------------------------

static json_t *state_json(const importer *i) {
    int64_t longest = model_longest(&i->s.config), length = i->settings->max_length;
    json_t *state = json_pack("{s:i, s:i, s:I, s:b, s:{s:s}}", "step", 0, "steps", 0, "max_length",
                              (json_int_t)(length < longest ? length : longest), "lower_case",
                              tokenizer_lower_case(i->s.tok), "imported", "from", i->settings->from);
    if (i->has_task) json_object_set_new(state, "task", task_to_json(&i->s.task));
    if (!i->has_task && i->labels) json_object_set(state, "labels", i->labels);
    return state;
}

static bool save(importer *i, error *err) {
    option_table tables[IMPORT_TABLES];
    import_settings copy = *i->settings;
    import_tables(tables, &copy);
    json_t *state = state_json(i);
    bool ok = session_save(&i->s, i->settings->to, 0, &i->table, false, state, tables, IMPORT_TABLES, err);
    json_decref(state);
    return ok;
}

// ---- the whole -----------------------------------------------------------------------------------------------------

static void log_model(const importer *i) {
    const model_config *c = &i->s.config;
    tensor_name masked = model_tensor_name(c->family, TENSOR_MASKED, 0, "bias");
    const char *head = parameter_find(&i->table, classifier_weight(c).text) ? ", a classifier"
                       : parameter_find(&i->table, masked.text)             ? ", a masked-LM head"
                                                                            : "";
    log_info("%s: %s, %lld layers of %lld%s", i->settings->from, model_design_name(c->design), (long long)c->layers,
             (long long)c->hidden, head);
    foreign_log_unused(&i->f);
}

// SAF's weights for PAF, where they are SAF's and folding is wanted.
static bool convert(importer *i, error *err) {
    if (!session_folds(&i->s.config, i->settings->conversion) || !foreign_find(&i->f, model_saf_tensor())) return true;
    parameter_table norms;
    model_norms_create(&norms, &i->s.config);
    bool ok = true;
    for (size_t r = 0; ok && r < norms.n; r++) ok = foreign_check(&i->f, &norms.rows[r], err);
    ok = ok && foreign_load(&i->f, &norms, err);
    if (ok) session_fold(&norms, &i->table, &i->s.config);
    parameter_destroy(&norms);
    return ok;
}

static bool load(importer *i, error *err) {
    parameter_allocate(&i->table, false, false);
    if (foreign_load(&i->f, &i->table, err) && convert(i, err)) sort_classifier(i);
    return comm_agree(comm_world(), err);
}

static void destroy(importer *i) {
    memory_free(i->order);
    json_decref(i->labels);
    json_decref(i->config);
    foreign_close(&i->f);
    parameter_destroy(&i->table);
    session_close(&i->s);
}

bool huggingface_import(const import_settings *settings, error *err) {
    importer i = {.settings = settings};
    comm *world = comm_world();
    bool ok = check_settings(settings, err) && read_config(&i, err) && read_vocabulary(&i, err) &&
              foreign_open(&i.f, settings->from, err) && check_sizes(&i, err) && read_labels(&i, err) &&
              read_task(&i, err);
    ok = comm_agree(world, err) && ok;
    if (ok) {
        plan(&i, err);
        ok = comm_agree(world, err) && load(&i, err) && save(&i, err);
    }
    if (ok) {
        log_model(&i);
        log_info("imported into %s", settings->to);
    }
    destroy(&i);
    return ok;
}
