// model: a BERT encoder in either design, wired from the kernels, its sums done by the exchange.
//
// The model never sees a communicator. Every rank of a team calls the same functions in the same order; forward and
// backward are collective over the team.
//
// Data of one micro-batch, T packed tokens, on every rank of a team:
//
//     ids -> embeddings -> x0 [T, H] -> layer 0 -> x1 -> ... -> xL -> pooler and classifier on the first tokens ->
//     logits
//
// x lies in the exchange's slots, whole on every rank; what LayerNorm keeps for the backward pass, and the head, is
// shared out by token slices.
#ifndef PAF_MODEL_H
#define PAF_MODEL_H

#include "parallel/parallel.h"
#include "tensor/tensor.h"

#include <jansson.h>

// ---- config (config.c) --------------------------------------------------------------------------------------------

typedef enum { DESIGN_SAF, DESIGN_PAF } model_design;

typedef struct {
    char config[OPTION_STRING_SIZE]; // model.config: a Hugging Face config.json
    char design[OPTION_STRING_SIZE]; // model.design: auto saf paf
    char init[OPTION_STRING_SIZE];   // model.init: a checkpoint or run folder to start from
} model_settings;

extern const option model_options[];

typedef struct {
    model_design design;
    int64_t vocabulary, positions, types;
    int64_t layers, hidden, heads, intermediate;
    double norm_epsilon, initializer_range;
    double hidden_dropout, attention_dropout, classifier_dropout;
} model_config;

// From a config.json; design_text auto takes the file's layer_design, saf without one. What paf cannot do is refused by
// name. False and err on failure.
bool model_config_read(model_config *config, const char *path, const char *design_text, error *err);
bool model_config_from_json(model_config *config, const json_t *json, const char *design_text, const char *where,
                            error *err);
json_t *model_config_to_json(const model_config *config);
const char *model_design_name(model_design design);
// FLOP a token of a forward layer (2 a multiply-add): attention 8 H^2 + 4 S H, FFN 4 H I; S is the mean of S^2 over the
// mean of S.
double model_attention_work(const model_config *config, double sequence_length);
double model_ffn_work(const model_config *config);
// What there is to share out over the ranks of a team, and what each piece costs.
placement_request model_placement_request(const model_config *config, const topology *t, bool balance,
                                          double sequence_length);
// FLOP of a whole training step (three forward passes' worth) for packed sequences, recomputation not counted: the
// layers for `tokens` tokens of mean-square length S, the pooler for `sequences`.
double model_step_work(const model_config *config, double tokens, double sequence_length, double sequences);

// ---- the model (model.c) ------------------------------------------------------------------------------------------

typedef struct {
    parameter *weight, *bias; // rows of the table; this rank's part
} linear;

typedef struct {
    linear query, key, value, attention_output, attention_norm, intermediate, output, output_norm;
} layer_parameters;

// What a layer keeps for its backward pass, by who owns it.
typedef struct {
    float *qkv;           // [3, heads, T, head_size]   ranks with heads
    float *context;       // [T, heads * head_size]     ranks with heads
    float *lse;           // [heads, T]                 ranks with heads
    float *pre, *act;     // [T, neurons] each          ranks with neurons
    float *normalised[2]; // [slice, H] before gain and shift; SAF has two LayerNorms, PAF one (the second)
    float *rstd[2];       // [slice]
} layer_cache;

typedef struct {
    model_config config;
    int64_t classes; // 1: regression
    const placement_share *mine;
    const placement *place;                                          // borrowed
    exchange *ex;                                                    // owned
    bool training;                                                   // has gradients and caches for a backward pass
    parameter_table table;                                           // owned
    layer_parameters *layers;                                        // [config.layers]
    linear word, position, type, embedding_norm, pooler, classifier; // bias NULL where there is none

    // Activations, in one arena sized for max_tokens.
    int64_t max_tokens, max_sequences;
    arena activations;
    layer_cache *caches;                          // [config.layers]; all the same when there is no training
    float *embedding_normalised, *embedding_rstd; // [slice, H], [slice]
    float *scratch;                               // [T, widest local matrix]
    float *dqkv;                                  // [3, heads, T, head_size]
    float *attention_scratch;
    float *dresidual;                          // [slice, H] gradient that goes around the branches
    float *row_buffer;                         // [slice, H]
    int32_t *head_rows;                        // [max_sequences] rows of this slice's first tokens
    int64_t *head_sequences;                   // [max_sequences] their sequences
    int64_t *head_numbers;                     // [max_sequences]
    float *first, *pooled, *dropped, *dpooled; // [max_sequences, H]
    float *logits, *dlogits;                   // [max_sequences, classes]
    int64_t head_n; // sequences of the current micro-batch whose first token lies in this slice
} model;

// One pass: which masks, or none.
typedef struct {
    bool train; // dropout on
    uint64_t seed, step;
} model_pass;

typedef struct {
    int64_t classes;
    int64_t max_tokens, max_sequences, longest;
    bool training;
    const char *exchange; // parallel.exchange
} model_request;

// Lays out the parameter table (values undefined until parameter_initialise or a checkpoint fills them) and all memory.
// place is borrowed. Collective over the team.
bool model_create(model *m, const model_config *config, const model_request *request, const topology *t,
                  const placement *place, error *err);
void model_destroy(model *m);
// The exchange slots that a model needs.
int model_slots(const model_config *config, bool training);

// Encoder and head. Afterwards m->logits [m->head_n, classes] belong to the sequences m->head_sequences of this
// micro-batch, the others are on other ranks of the team. Collective over the team.
void model_forward(model *m, const micro_batch *batch, model_pass pass);
// From m->dlogits, set by the caller for the same sequences: accumulates all gradients of this rank. Those of
// replicated parameters are this rank's part until model_reduce_gradients. Collective over the team.
void model_backward(model *m, const micro_batch *batch, model_pass pass);
// The layers alone, between exchange_begin and whatever the first slot holds, for benchmarks: what model_forward and
// model_backward do between embedding and head. Backward begins from m->dresidual.
void model_layers_forward(model *m, const micro_batch *batch, model_pass pass);
void model_layers_backward(model *m, const micro_batch *batch, model_pass pass);
// Sums the gradients of replicated parameters over the team; once a step. Collective over the team.
void model_reduce_gradients(model *m, comm *team);

#endif
