#include "model/model.h"
#include "storage/storage.h"

#include <string.h>

enum { FORMAT = 1 };

// ---- JSON

static const char *const how =
    "measure this model's: launch/mpi RANKS build/paf bench kernels --bench.config=CONFIG --write-profile=FILE";

static bool check_shape(const model_profile *p, const model_config *c, const char *where, error *err) {
    if (p->hidden == c->hidden && p->heads == c->heads && p->intermediate == c->intermediate &&
        p->vocabulary == c->vocabulary)
        return true;
    return error_set(
        err, ERROR_INPUT,
        "%s was measured for hidden %lld, %lld heads, intermediate %lld, vocabulary %lld, but the model has "
        "%lld, %lld, %lld, %lld; %s",
        where, (long long)p->hidden, (long long)p->heads, (long long)p->intermediate, (long long)p->vocabulary,
        (long long)c->hidden, (long long)c->heads, (long long)c->intermediate, (long long)c->vocabulary, how);
}

static bool read_seconds(const json_t *json, const char *key, double least, double *value, const char *where,
                         error *err) {
    if (!json_get_double(json, key, value, NULL, where, err)) return false;
    return (*value >= least && *value < 1) ||
           error_set(err, ERROR_INPUT, "%s: %s is %g, expected seconds, %g or more and less than 1; %s", where, key,
                     *value, least, how);
}

static const double more_than_nothing = 1e-18; // seconds: whoever owns a piece has something to do

static bool read_attention(model_profile *p, const json_t *json, const char *where, error *err) {
    const json_t *rows = json_object_get(json, "attention");
    size_t n = json_array_size(rows);
    if (n < 1 || n > PROFILE_LENGTHS)
        return error_set(err, ERROR_INPUT, "%s: attention is no array of 1 to %d lengths; %s", where, PROFILE_LENGTHS,
                         how);
    double before = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, i);
        if (!json_get_double(row, "length", &p->attention[i].length, NULL, where, err) ||
            !read_seconds(row, "base_s", 0, &p->attention[i].base, where, err) ||
            !read_seconds(row, "head_s", more_than_nothing, &p->attention[i].head, where, err))
            return false;
        if (!(p->attention[i].length > before))
            return error_set(err, ERROR_INPUT, "%s: the lengths of attention do not grow; %s", where, how);
        before = p->attention[i].length;
    }
    p->lengths = (int)n;
    return true;
}

bool model_profile_from_json(model_profile *p, const json_t *json, const model_config *config, const char *where,
                             error *err) {
    int64_t format;
    *p = (model_profile){0};
    if (!json_get_int(json, "profile", &format, NULL, where, err)) return false;
    if (format != FORMAT)
        return error_set(err, ERROR_INPUT, "%s: profile is %lld, this program knows %d; %s", where, (long long)format,
                         FORMAT, how);
    return json_get_int(json, "hidden", &p->hidden, NULL, where, err) &&
           json_get_int(json, "heads", &p->heads, NULL, where, err) &&
           json_get_int(json, "intermediate", &p->intermediate, NULL, where, err) &&
           json_get_int(json, "vocabulary", &p->vocabulary, NULL, where, err) && check_shape(p, config, where, err) &&
           json_get_int(json, "tokens", &p->tokens, NULL, where, err) && read_attention(p, json, where, err) &&
           read_seconds(json, "ffn_base_s", 0, &p->ffn, where, err) &&
           read_seconds(json, "neuron_s", more_than_nothing, &p->neuron, where, err) &&
           read_seconds(json, "adamw_s", 0, &p->adamw, where, err) &&
           read_seconds(json, "lamb_s", 0, &p->lamb, where, err) &&
           read_seconds(json, "embedding_s", 0, &p->embedding, where, err) &&
           read_seconds(json, "word_s", 0, &p->word, where, err);
}

json_t *model_profile_to_json(const model_profile *p) {
    json_t *rows = json_array();
    for (int i = 0; i < p->lengths; i++)
        json_array_append_new(rows, json_pack("{s:f, s:f, s:f}", "length", p->attention[i].length, "base_s",
                                              p->attention[i].base, "head_s", p->attention[i].head));
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:f, s:f, s:f, s:f, s:f}", "profile", FORMAT, "hidden",
                     (json_int_t)p->hidden, "heads", (json_int_t)p->heads, "intermediate", (json_int_t)p->intermediate,
                     "vocabulary", (json_int_t)p->vocabulary, "tokens", (json_int_t)p->tokens, "attention", rows,
                     "ffn_base_s", p->ffn, "neuron_s", p->neuron, "adamw_s", p->adamw, "lamb_s", p->lamb, "embedding_s",
                     p->embedding, "word_s", p->word);
}

// ---- cost

// The attention block at a length between those measured: what of the next, and which.
static double place_between(const model_profile *p, double length, int *at) {
    *at = 0;
    while (*at + 1 < p->lengths && p->attention[*at + 1].length <= length) ++*at;
    if (*at + 1 == p->lengths || length <= p->attention[*at].length) return 0;
    return (length - p->attention[*at].length) / (p->attention[*at + 1].length - p->attention[*at].length);
}

placement_cost model_profile_cost(const model_profile *p, double sequence_length, double update) {
    int at;
    double part = place_between(p, sequence_length, &at), hidden = (double)p->hidden;
    int next = part > 0 ? at + 1 : at;
    double head_size = hidden / (double)p->heads;
    return (placement_cost){
        .attention = p->attention[at].base + part * (p->attention[next].base - p->attention[at].base),
        .head = p->attention[at].head + part * (p->attention[next].head - p->attention[at].head) +
                update * (4 * hidden + 3) * head_size,
        .ffn = p->ffn,
        .neuron = p->neuron + update * (2 * hidden + 1),
    };
}
