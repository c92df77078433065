// The names of tensors: Hugging Face's, without the family's prefix. One row a part of the model, one column a family;
// who adds a family adds a column.
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#define EMBEDDINGS "embeddings."
#define ENCODER "encoder."
#define LAYER ENCODER "layer."
#define ATTENTION_NORM "attention.output.LayerNorm"
#define POOLER "pooler."

// What transformers put before the encoder's tensors.
static const char *const prefixes[MODEL_FAMILIES] = {[FAMILY_BERT] = "bert.", [FAMILY_ROBERTA] = "roberta."};

// What is the same in all families. Those of a layer follow LAYER and its number.
static const char *const encoder_names[TENSOR_ENCODER_PARTS] = {
    [TENSOR_WORDS] = EMBEDDINGS "word_embeddings",
    [TENSOR_POSITIONS] = EMBEDDINGS "position_embeddings",
    [TENSOR_TYPES] = EMBEDDINGS "token_type_embeddings",
    [TENSOR_EMBEDDING_NORM] = EMBEDDINGS "LayerNorm",
    [TENSOR_QUERY] = "attention.self.query",
    [TENSOR_KEY] = "attention.self.key",
    [TENSOR_VALUE] = "attention.self.value",
    [TENSOR_ATTENTION_OUTPUT] = "attention.output.dense",
    [TENSOR_ATTENTION_NORM] = ATTENTION_NORM,
    [TENSOR_INTERMEDIATE] = "intermediate.dense",
    [TENSOR_OUTPUT] = "output.dense",
    [TENSOR_OUTPUT_NORM] = "output.LayerNorm",
};

static const char *const head_names[TENSOR_PARTS - TENSOR_ENCODER_PARTS][MODEL_FAMILIES] = {
#define ROW(part, bert, roberta) [part - TENSOR_ENCODER_PARTS] = {[FAMILY_BERT] = bert, [FAMILY_ROBERTA] = roberta}
    ROW(TENSOR_POOLER, POOLER "dense", "classifier.dense"),
    ROW(TENSOR_CLASSIFIER, "classifier", "classifier.out_proj"),
    ROW(TENSOR_MASKED_DENSE, "cls.predictions.transform.dense", "lm_head.dense"),
    ROW(TENSOR_MASKED_NORM, "cls.predictions.transform.LayerNorm", "lm_head.layer_norm"),
    ROW(TENSOR_MASKED, "cls.predictions", "lm_head"),
#undef ROW
};

static bool begins_with(const char *name, const char *part) { return !strncmp(name, part, strlen(part)); }

static bool of_layer(model_tensor part) { return part >= TENSOR_QUERY && part <= TENSOR_OUTPUT_NORM; }

tensor_name model_tensor_name(model_family family, model_tensor part, int64_t layer, const char *end) {
    tensor_name name;
    char number[32] = "";
    if (of_layer(part)) snprintf(number, sizeof number, LAYER "%lld.", (long long)layer);
    const char *plain =
        part < TENSOR_ENCODER_PARTS ? encoder_names[part] : head_names[part - TENSOR_ENCODER_PARTS][family];
    snprintf(name.text, sizeof name.text, "%s%s.%s", number, plain, end);
    return name;
}

const char *model_saf_tensor(void) { return LAYER "0." ATTENTION_NORM ".weight"; }

bool model_name_in_layer(const char *name, int64_t layer) {
    char start[32];
    snprintf(start, sizeof start, LAYER "%lld.", (long long)layer);
    return begins_with(name, start);
}

size_t model_name_head(const char *name) {
    return begins_with(name, EMBEDDINGS) || begins_with(name, ENCODER) ? 0 : strcspn(name, ".");
}

bool model_name_of_head(const char *name) {
    size_t n = model_name_head(name);
    for (size_t i = 0; n && i < sizeof head_names / sizeof *head_names; i++)
        for (int family = 0; family < MODEL_FAMILIES; family++) {
            const char *known = head_names[i][family];
            if (strcspn(known, ".") == n && name[n] == '.' && !strncmp(name, known, n)) return true;
        }
    return false;
}

const char *model_name_prefix(model_family family, const char *name) {
    return model_name_head(name) == 0 || begins_with(name, POOLER) ? prefixes[family] : "";
}

const char *model_name_plain(const char *theirs) {
    for (int family = 0; family < MODEL_FAMILIES; family++)
        if (begins_with(theirs, prefixes[family])) return theirs + strlen(prefixes[family]);
    return theirs;
}
