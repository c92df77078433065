// model: a BERT encoder in either design, wired from the kernels, its sums done by the exchange.
//
// The model never sees a communicator. Every rank of a team calls the same functions in the same order; forward and
// backward are collective over the team.
//
// Data of one micro-batch, T packed tokens, on every rank of a team:
//
//     ids -> embeddings -> x0 [T, H] -> layer 0 -> x1 -> ... -> xL -> head -> logits
//
//     classifier    pooler and classifier on the first tokens
//     masked LM     transform and the tied word embeddings on the masked tokens
//
// x lies in the exchange's slots, whole on every rank; what LayerNorm keeps for the backward pass, and the head, is
// shared out by token slices; the logits over the vocabulary by its rows.
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

// What a layer keeps for its backward pass, by who owns it. Where it is recomputed all layers share everything but the
// last two lines.
typedef struct {
    float *qkv;           // [3, heads, T, head_size]   ranks with heads
    float *context;       // [T, heads * head_size]     ranks with heads
    float *lse;           // [heads, T]                 ranks with heads
    float *pre, *act;     // [T, neurons] each          ranks with neurons
    float *normalised[2]; // [slice, H] before gain and shift; SAF has two LayerNorms, PAF one (the second)
    float *rstd[2];       // [slice]
} layer_cache;

typedef enum { HEAD_CLASSIFIER, HEAD_MASKED_LM } model_head;

// Of the masked rows of a micro-batch, n of them, each rank's slice is those that lie in its token slice. The
// transformed h [n, H], whole on every rank with words, and the gradient at it lie in the exchange's buffers.
typedef struct {
    linear dense, norm, bias; // cls.predictions; bias: of the vocabulary's pieces, this rank's part, as bias.bias
    int64_t capacity;         // masked rows of a micro-batch, at most
    range *slices;            // [team] masked rows, by who has their tokens
    float *input, *pre, *act; // [slice, H] each
    float *normalised, *rstd; // [slice, H], [slice]
    float *logits;            // [n, vocabulary rows of this rank]; after the backward pass their gradient
    double *lse;              // [n]
    vocabulary_statistics *mine, *all; // [n], [team, n]
} masked_head;

typedef struct {
    model_config config;
    model_head head;
    int64_t classes; // of the classifier; 1: regression
    const placement_share *mine;
    const placement *place;                                          // borrowed
    exchange *ex;                                                    // owned
    bool training;                                                   // has gradients and caches for a backward pass
    bool recompute;                                                  // layers are computed again in the backward pass
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
    masked_head masked;
} model;

// One pass: which masks, or none.
typedef struct {
    bool train; // dropout on
    uint64_t seed, step;
} model_pass;

typedef struct {
    model_head head;
    int64_t classes; // HEAD_CLASSIFIER
    int64_t max_tokens, max_sequences, longest;
    int64_t max_masked; // HEAD_MASKED_LM
    bool training, recompute;
    const char *exchange; // parallel.exchange
} model_request;

// Lays out the parameter table (values undefined until parameter_initialise or a checkpoint fills them) and all memory.
// place is borrowed. Collective over the team.
bool model_create(model *m, const model_config *config, const model_request *request, const topology *t,
                  const placement *place, error *err);
void model_destroy(model *m);
// Encoder and classifier. Afterwards m->logits [m->head_n, classes] belong to the sequences m->head_sequences of this
// micro-batch, the others are on other ranks of the team. Collective over the team.
void model_forward(model *m, const micro_batch *batch, model_pass pass);
// From m->dlogits, set by the caller for the same sequences: accumulates all gradients of this rank. Those of
// replicated parameters are this rank's part until model_reduce_gradients. Collective over the team.
void model_backward(model *m, const micro_batch *batch, model_pass pass);
// Encoder and masked-LM head: returns the sum of the masked tokens' losses and sets *correct to how many of them were
// guessed right; the same bits on every rank of the team. Collective over the team.
double model_masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                            int64_t *correct);
// The gradients of scale times that sum, accumulated as by model_backward. Collective over the team.
void model_masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                           float scale);
// The layers alone, between exchange_begin and whatever the first slot holds, for benchmarks: what model_forward and
// model_backward do between embedding and head. Backward begins from m->dresidual.
void model_layers_forward(model *m, const micro_batch *batch, model_pass pass);
void model_layers_backward(model *m, const micro_batch *batch, model_pass pass);
// Sums the gradients of replicated parameters over the team; once a step. Collective over the team.
void model_reduce_gradients(model *m, comm *team);

#endif
