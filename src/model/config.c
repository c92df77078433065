// A model's shape: read from a config.json and written back; the options of a model.
#include "model/model.h"
#include "storage/storage.h"

#include <stddef.h>
#include <string.h>

const char *const model_design_words[] = {"saf", "paf", "auto", NULL};
const char *const model_conversion_words[] = {"drop", "fold", NULL};
const char *const model_recompute_words[] = {"off", "layer", NULL};
const char *const model_head_words[] = {"classifier", "masked_lm", NULL};

#define ROW(key, type, field, ...)                                                                                     \
    { "model." key, type, offsetof(model_settings, field), __VA_ARGS__ }
const option model_options[] = {
    ROW("config", OPTION_STRING, config, "", .help = "the model's config.json (Hugging Face's keys)"),
    ROW("design", OPTION_CHOICE, design, "auto", .words = model_design_words,
        .help = "saf: FFN after attention; paf: side by side; auto: what the config says, else saf"),
    ROW("init", OPTION_STRING, init, "", .help = "checkpoint or run folder to start from"),
    ROW("conversion", OPTION_CHOICE, conversion, "drop", .words = model_conversion_words,
        .help = "a SAF model.init made PAF: drop its layers' first LayerNorm, or fold it into the weights around it"),
    {0},
};

static const char *const family_names[] = {[FAMILY_BERT] = "bert", [FAMILY_ROBERTA] = "roberta"};

int64_t model_first_position(const model_config *c) { return c->family == FAMILY_ROBERTA ? 2 : 0; }
int64_t model_longest(const model_config *c) { return c->positions - model_first_position(c); }

const char *model_design_name(model_design design) { return model_design_words[design]; }

static bool read_sizes(model_config *c, const json_t *json, const char *where, error *err) {
    const int64_t two = 2;
    struct {
        const char *key;
        int64_t *value;
        const int64_t *fallback;
        int64_t most;
    } sizes[] = {
        {"vocab_size", &c->vocabulary, NULL, 1 << 24},
        {"hidden_size", &c->hidden, NULL, LAYERNORM_WIDEST},
        {"num_hidden_layers", &c->layers, NULL, 1 << 12},
        {"num_attention_heads", &c->heads, NULL, 1 << 12},
        {"intermediate_size", &c->intermediate, NULL, 1 << 20},
        {"max_position_embeddings", &c->positions, NULL, 1 << 20},
        {"type_vocab_size", &c->types, &two, 1 << 10},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (!json_get_int(json, sizes[i].key, sizes[i].value, sizes[i].fallback, where, err)) return false;
        if (*sizes[i].value < 1 || *sizes[i].value > sizes[i].most)
            return error_set(err, ERROR_INPUT, "%s: %s is %lld, expected 1 to %lld", where, sizes[i].key,
                             (long long)*sizes[i].value, (long long)sizes[i].most);
    }
    if (c->hidden % c->heads)
        return error_set(err, ERROR_INPUT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld", where,
                         (long long)c->hidden, (long long)c->heads);
    return true;
}

static bool read_rates(model_config *c, const json_t *json, const char *where, error *err) {
    const double tenth = 0.1, epsilon = 1e-12, range_ = 0.02;
    if (!json_get_double(json, "hidden_dropout_prob", &c->hidden_dropout, &tenth, where, err) ||
        !json_get_double(json, "attention_probs_dropout_prob", &c->attention_dropout, &tenth, where, err) ||
        !json_get_double(json, "layer_norm_eps", &c->norm_epsilon, &epsilon, where, err) ||
        !json_get_double(json, "initializer_range", &c->initializer_range, &range_, where, err))
        return false;
    c->classifier_dropout = c->hidden_dropout;
    const json_t *own = json_object_get(json, "classifier_dropout");
    if (own && !json_is_null(own) &&
        !json_get_double(json, "classifier_dropout", &c->classifier_dropout, NULL, where, err))
        return false;
    const double rates[] = {c->hidden_dropout, c->attention_dropout, c->classifier_dropout};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (!(rates[i] >= 0 && (float)rates[i] < 1)) // dropout scales by 1 / (1 - p), in float
            return error_set(err, ERROR_INPUT, "%s: a dropout probability is %g, expected 0 or more and below 1", where,
                             rates[i]);
    if (!(c->norm_epsilon > 0 && c->norm_epsilon < 1))
        return error_set(err, ERROR_INPUT, "%s: layer_norm_eps is %g, expected more than 0 and less than 1", where,
                         c->norm_epsilon);
    if (!(c->initializer_range >= 0 && c->initializer_range < 10))
        return error_set(err, ERROR_INPUT, "%s: initializer_range is %g, expected 0 to 10", where,
                         c->initializer_range);
    return true;
}

// Variants of BERT that this program would compute wrongly.
static bool refuse_variants(const json_t *json, const char *where, error *err) {
    const struct {
        const char *key, *only;
    } texts[] = {{"hidden_act", "gelu"}, {"position_embedding_type", "absolute"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value;
        if (!json_get_string(json, texts[i].key, &value, texts[i].only, where, err)) return false;
        if (strcmp(value, texts[i].only))
            return error_set(err, ERROR_INPUT, "%s: %s is \"%s\"; paf can do \"%s\" only", where, texts[i].key, value,
                             texts[i].only);
    }
    if (json_is_true(json_object_get(json, "is_decoder")))
        return error_set(err, ERROR_INPUT, "%s: is_decoder is true; paf trains encoders only", where);
    return true;
}

static bool read_family(model_config *c, const json_t *json, const char *where, error *err) {
    const char *name;
    if (!json_get_string(json, "model_type", &name, family_names[FAMILY_BERT], where, err)) return false;
    const char *plain = strncmp(name, "paf-", 4) ? name : name + 4; // as paf export calls a PAF model
    bool roberta = !strcmp(plain, family_names[FAMILY_ROBERTA]);
    if (!roberta && strcmp(plain, family_names[FAMILY_BERT]))
        return error_set(err, ERROR_INPUT, "%s: model_type is \"%s\"; paf can do \"bert\" and \"roberta\" only", where,
                         name);
    c->family = roberta ? FAMILY_ROBERTA : FAMILY_BERT;
    if (model_longest(c) < 1)
        return error_set(err, ERROR_INPUT, "%s: max_position_embeddings is %lld, but RoBERTa's positions count from 2",
                         where, (long long)c->positions);
    return true;
}

static bool read_design(model_config *c, const json_t *json, model_design design, const char *where, error *err) {
    const char *own;
    if (!json_get_string(json, "layer_design", &own, "saf", where, err)) return false;
    c->design = design;
    if (design != DESIGN_AUTO) return true;
    for (c->design = DESIGN_SAF; c->design < DESIGN_AUTO; c->design++)
        if (!strcmp(own, model_design_words[c->design])) return true;
    return error_set(err, ERROR_INPUT, "%s: layer_design is \"%s\", expected saf or paf", where, own);
}

bool model_config_from_json(model_config *config, const json_t *json, model_design design, const char *where,
                            error *err) {
    *config = (model_config){0};
    return refuse_variants(json, where, err) && read_sizes(config, json, where, err) &&
           read_family(config, json, where, err) && read_rates(config, json, where, err) &&
           read_design(config, json, design, where, err);
}

bool model_config_read(model_config *config, const char *path, model_design design, error *err) {
    json_t *json = json_read(path, err);
    if (!json) return false;
    bool ok = model_config_from_json(config, json, design, path, err);
    json_decref(json);
    return ok;
}

json_t *model_config_to_json(const model_config *c) {
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:f, s:i}", "model_type",
                     family_names[c->family], "layer_design", model_design_name(c->design), "vocab_size",
                     (json_int_t)c->vocabulary, "hidden_size", (json_int_t)c->hidden, "num_hidden_layers",
                     (json_int_t)c->layers, "num_attention_heads", (json_int_t)c->heads, "intermediate_size",
                     (json_int_t)c->intermediate, "max_position_embeddings", (json_int_t)c->positions,
                     "type_vocab_size", (json_int_t)c->types, "hidden_act", "gelu", "hidden_dropout_prob",
                     c->hidden_dropout, "attention_probs_dropout_prob", c->attention_dropout, "classifier_dropout",
                     c->classifier_dropout, "layer_norm_eps", c->norm_epsilon, "initializer_range",
                     c->initializer_range, "pad_token_id", c->family == FAMILY_ROBERTA ? 1 : 0);
}
