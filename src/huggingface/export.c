// Export: a checkpoint becomes a folder that transformers load. Tensors stream from one file into the other, so that
// memory holds a block of rows and no model.
#include "huggingface/huggingface.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_ELEMENTS ((int64_t)1 << 22)

// The code that computes PAF, as a file is part of the program.
__asm__(".section .rodata\n"
        "modeling_paf_begin: .incbin \"huggingface/modeling_paf.py\"\n"
        "modeling_paf_end: .byte 0\n"
        ".previous\n");
extern const char modeling_paf_begin[], modeling_paf_end[];

// Families as transformers' classes name them.
static const char *const class_prefixes[] = {[FAMILY_BERT] = "Bert", [FAMILY_ROBERTA] = "Roberta"};

typedef struct {
    const export_settings *settings;
    comm *self; // of rank 0 alone
    checkpoint k;
    model_config config;
    tokenizer *tok;
    safetensors_tensor *tensors; // [n] under Hugging Face's names
    char **names;                // [n] ours
    size_t n;
    int64_t classes; // 0: no classifier
} exporter;

static bool check_settings(const export_settings *settings, error *err) {
    if (!*settings->from)
        return error_set(err, ERROR_INPUT, "export.from is not set: it names a run or checkpoint folder");
    if (!*settings->to) return error_set(err, ERROR_INPUT, "export.to is not set: it names the folder that is made");
    char *path = memory_format("%s/config.json", settings->to);
    bool taken = file_exists(path);
    memory_free(path);
    return !taken ||
           error_set(err, ERROR_INPUT, "%s holds a model already; name another folder with --export.to", settings->to);
}

static bool read_checkpoint(exporter *x, error *err) {
    session s = {0};
    bool ok = checkpoint_open(&x->k, x->self, x->settings->from, x->settings->which, err) &&
              session_read_model(&s, &x->k, err);
    x->config = s.config;
    x->tok = s.tok;
    return ok;
}

// ---- tensors -------------------------------------------------------------------------------------------------------

static char *their_name(const exporter *x, const char *name) {
    return memory_format("%s%s", model_name_prefix(x->config.family, name), name);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// By name, so that the file does not depend on who wrote which shard.
static void list_tensors(exporter *x) {
    json_t *all = json_object_get(x->k.manifest, "tensors"), *entry;
    const char *name;
    tensor_name classifier = model_tensor_name(x->config.family, TENSOR_CLASSIFIER, 0, "bias");
    x->tensors = memory_allocate(json_object_size(all), sizeof *x->tensors);
    x->names = memory_allocate(json_object_size(all), sizeof *x->names);
    json_object_foreach(all, name, entry) x->names[x->n++] = memory_string(name);
    qsort(x->names, x->n, sizeof *x->names, compare_names);
    for (size_t i = 0; i < x->n; i++) {
        const json_t *shape = json_object_get(json_object_get(all, x->names[i]), "shape");
        safetensors_tensor *t = &x->tensors[i];
        t->name = their_name(x, x->names[i]);
        t->dimensions = (int)json_array_size(shape);
        for (int d = 0; d < t->dimensions; d++) t->shape[d] = json_integer_value(json_array_get(shape, (size_t)d));
        if (!strcmp(x->names[i], classifier.text)) x->classes = t->shape[0];
    }
}

static bool copy_tensor(exporter *x, size_t i, safetensors_writer *out, error *err) {
    const safetensors_tensor *t = &x->tensors[i];
    int64_t rows = t->shape[0], width = t->dimensions == 2 ? t->shape[1] : 1;
    int64_t height = BLOCK_ELEMENTS / width > 0 ? BLOCK_ELEMENTS / width : 1;
    bool ok = true;
    for (int64_t row = 0; ok && row < rows; row += height) {
        int64_t count = rows - row < height ? rows - row : height;
        parameter_table block = {0};
        parameter_add(&block, x->names[i], t->dimensions, rows, width, SPLIT_ROWS, row, count, false, false,
                      INITIAL_ZERO);
        parameter_allocate(&block, false, false);
        ok = checkpoint_load(&x->k, x->self, &block, false, NULL, NULL, err) &&
             safetensors_write(out, block.rows[0].value, count * width, err);
        parameter_destroy(&block);
    }
    return ok;
}

static bool write_tensors(exporter *x, error *err) {
    char *path = memory_format("%s/model.safetensors", x->settings->to);
    safetensors_writer *out = safetensors_create(path, x->tensors, x->n, err);
    memory_free(path);
    if (!out) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < x->n; i++) {
        log_progress("tensor %zu of %zu", i + 1, x->n);
        ok = copy_tensor(x, i, out, err);
    }
    return safetensors_finish(out, ok, err) && ok;
}

// ---- config.json ---------------------------------------------------------------------------------------------------

static bool has_tensor(const exporter *x, const char *name) {
    return json_object_get(json_object_get(x->k.manifest, "tensors"), name);
}

// Of the classifier: the task's words, what import found, or LABEL_0, LABEL_1 ...
static void add_labels(const exporter *x, json_t *config) {
    const json_t *task = json_object_get(x->k.state, "task");
    const json_t *words = json_object_get(task ? task : x->k.state, "labels");
    bool known = json_array_size(words) == (size_t)x->classes;
    json_t *names = json_object(), *numbers = json_object();
    for (int64_t c = 0; c < x->classes; c++) {
        char key[32], fallback[32];
        snprintf(key, sizeof key, "%lld", (long long)c);
        snprintf(fallback, sizeof fallback, "LABEL_%lld", (long long)c);
        const char *word = known ? json_string_value(json_array_get(words, (size_t)c)) : NULL;
        if (!word) word = fallback;
        json_object_set_new(names, key, json_string(word));
        json_object_set_new(numbers, word, json_integer(c));
    }
    json_object_set_new(config, "id2label", names);
    json_object_set_new(config, "label2id", numbers);
    const char *problem = x->classes == 1 ? "regression" : "single_label_classification";
    json_object_set_new(config, "problem_type", json_string(problem));
}

// A PAF model has a type of its own, which transformers do not know: without trust_remote_code they refuse it, where
// they would otherwise compute SAF from it.
static void add_design(const exporter *x, json_t *config) {
    if (x->config.design != DESIGN_PAF) return;
    const char *prefix = class_prefixes[x->config.family];
    const char *const parts[][2] = {{"AutoConfig", "Config"},
                                    {"AutoModel", "Model"},
                                    {"AutoModelForMaskedLM", "ForMaskedLM"},
                                    {"AutoModelForSequenceClassification", "ForSequenceClassification"}};
    json_t *map = json_object();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        json_object_set_new(map, parts[i][0], json_sprintf("modeling_paf.Paf%s%s", prefix, parts[i][1]));
    json_object_set_new(config, "auto_map", map);
    json_object_set_new(config, "model_type",
                        json_sprintf("paf-%s", x->config.family == FAMILY_BERT ? "bert" : "roberta"));
}

static json_t *make_config(const exporter *x) {
    tensor_name masked = model_tensor_name(x->config.family, TENSOR_MASKED, 0, "bias");
    const char *head = x->classes ? "ForSequenceClassification" : has_tensor(x, masked.text) ? "ForMaskedLM" : "Model";
    json_t *config = model_config_to_json(&x->config);
    json_t *name =
        json_sprintf("%s%s%s", x->config.design == DESIGN_PAF ? "Paf" : "", class_prefixes[x->config.family], head);
    json_object_set_new(config, "architectures", json_pack("[o]", name));
    json_object_set_new(config, "position_embedding_type", json_string("absolute"));
    json_object_set_new(config, "torch_dtype", json_string("float32"));
    tokenizer_specials ids = tokenizer_special_ids(x->tok);
    if (ids.pad >= 0) json_object_set_new(config, "pad_token_id", json_integer(ids.pad));
    if (x->config.family == FAMILY_ROBERTA) {
        json_object_set_new(config, "bos_token_id", json_integer(ids.begin));
        json_object_set_new(config, "eos_token_id", json_integer(ids.separator));
    }
    if (x->classes) add_labels(x, config);
    add_design(x, config);
    return config;
}

static json_t *make_tokenizer_config(const exporter *x) {
    bool bpe = tokenizer_files_of(x->tok)->n > 1;
    json_t *config = json_pack("{s:s, s:I}", "tokenizer_class", bpe ? "RobertaTokenizer" : "BertTokenizer",
                               "model_max_length", (json_int_t)model_longest(&x->config));
    json_object_set_new(config, bpe ? "add_prefix_space" : "do_lower_case",
                        json_boolean(!bpe && tokenizer_lower_case(x->tok)));
    return config;
}

// ---- files ---------------------------------------------------------------------------------------------------------

static bool write_file(const exporter *x, const char *name, const char *text, size_t size, error *err) {
    char *path = memory_format("%s/%s", x->settings->to, name);
    bool ok = file_write_atomic(path, text, size, err);
    memory_free(path);
    return ok;
}

static bool write_json(const exporter *x, const char *name, json_t *value, error *err) {
    size_t size;
    char *text = json_format(value, true, &size);
    bool ok = write_file(x, name, text, size, err);
    memory_free(text);
    json_decref(value);
    return ok;
}

// config.json comes last: a folder that has it is whole.
static bool write_folder(exporter *x, error *err) {
    const tokenizer_files *vocabulary = tokenizer_files_of(x->tok);
    bool ok = file_make_folders(x->settings->to, err) && write_tensors(x, err);
    for (size_t i = 0; ok && i < vocabulary->n; i++)
        ok = write_file(x, vocabulary->file[i].name, vocabulary->file[i].text, vocabulary->file[i].size, err);
    if (ok && x->config.design == DESIGN_PAF)
        ok = write_file(x, "modeling_paf.py", modeling_paf_begin, (size_t)(modeling_paf_end - modeling_paf_begin), err);
    return ok && write_json(x, "tokenizer_config.json", make_tokenizer_config(x), err) &&
           write_json(x, "config.json", make_config(x), err);
}

static void destroy(exporter *x) {
    for (size_t i = 0; i < x->n; i++) {
        memory_free(x->tensors[i].name);
        memory_free(x->names[i]);
    }
    memory_free(x->tensors);
    memory_free(x->names);
    tokenizer_destroy(x->tok);
    checkpoint_close(&x->k);
}

bool huggingface_export(const export_settings *settings, error *err) {
    comm *world = comm_world();
    exporter x = {.settings = settings, .self = comm_split(world, comm_rank(world), 0)};
    if (comm_rank(world) == 0 && check_settings(settings, err) && read_checkpoint(&x, err)) {
        list_tensors(&x);
        if (write_folder(&x, err)) log_info("exported %s into %s", x.k.path, settings->to);
    }
    destroy(&x);
    comm_free(x.self);
    comm_barrier_asleep(world);
    return comm_agree(world, err);
}
