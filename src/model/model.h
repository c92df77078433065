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
// With several stages each rank has the layers of one, the first stage the embeddings, the last the head; x goes from
// stage to stage, the gradient at it back. Several micro-batches may be between their two passes then: each has a
// flight, its own set of what is kept for the backward pass.
//
// x lies in the exchange's slots, whole on every rank; what LayerNorm keeps for the backward pass, and the head, is
// shared out by token slices; the logits over the vocabulary by its rows.
#ifndef PAF_MODEL_H
#define PAF_MODEL_H

#include "batch/batch.h"
#include "parallel/parallel.h"
#include "tensor/tensor.h"

#include <jansson.h>

// ---- config (config.c) --------------------------------------------------------------------------------------------

typedef enum { DESIGN_SAF, DESIGN_PAF, DESIGN_AUTO } model_design; // auto, of settings only: what the config says

// What differs: positions count from 0 or from 2; heads have other names; RoBERTa's classifier drops its input, too.
typedef enum { FAMILY_BERT, FAMILY_ROBERTA } model_family;

// The number of families; they count from 0.
enum { MODEL_FAMILIES = 2 };

// What becomes of a SAF layer's first LayerNorm in a PAF model, and which layers are computed again.
typedef enum { CONVERSION_DROP, CONVERSION_FOLD } model_conversion;
typedef enum { RECOMPUTE_OFF, RECOMPUTE_LAYER } model_recompute;
typedef enum { HEAD_CLASSIFIER, HEAD_MASKED_LM } model_head;

// The words of each, NULL behind the last.
extern const char *const model_design_words[], *const model_conversion_words[], *const model_recompute_words[],
                                                                                    *const model_head_words[];

typedef struct {
    char config[OPTION_STRING_SIZE]; // model.config: a Hugging Face config.json
    model_design design;             // model.design
    char init[OPTION_STRING_SIZE];   // model.init: a checkpoint or run folder to start from
    model_conversion conversion;     // model.conversion
} model_settings;

extern const option model_options[];

typedef struct {
    model_design design;
    model_family family;
    int64_t vocabulary, positions, types; // rows of the three tables of embeddings
    int64_t layers, hidden, heads, intermediate;
    double norm_epsilon, initializer_range;
    double hidden_dropout, attention_dropout, classifier_dropout;
} model_config;

// From a config.json; design auto takes the file's layer_design, saf without one. What paf cannot do is refused by
// name. False and err on failure.
bool model_config_read(model_config *config, const char *path, model_design design, error *err);
bool model_config_from_json(model_config *config, const json_t *json, model_design design, const char *where,
                            error *err);
json_t *model_config_to_json(const model_config *config);
const char *model_design_name(model_design design);
int64_t model_first_position(const model_config *config); // the row of a sequence's first token
int64_t model_longest(const model_config *config);        // tokens of a sequence that there are positions for

// ---- cost (cost.c): local to the rank -------------------------------------------------------------------------------

// FLOP a token of a forward layer (2 a multiply-add): attention 8 H^2 + 4 S H, FFN 4 H I; S is the mean of S^2 over the
// mean of S.
double model_attention_work(const model_config *config, double sequence_length);
double model_ffn_work(const model_config *config);
// What heads and neurons take of a rank's time where no profile says so: FLOP a token of a forward layer, and for what
// runs slower than large products as many FLOP as those would do in that time.
placement_cost model_cost(const model_config *config, double sequence_length);
// What there is to share out over the ranks of a team, and what each piece costs by model_cost.
placement_request model_placement_request(const model_config *config, const topology *t, bool balance,
                                          double sequence_length);
// FLOP of a whole training step of the layers (three forward passes' worth) for packed sequences of mean-square length
// S, recomputation not counted; and of one forward pass of a head, for one sequence or one masked token.
double model_step_work(const model_config *config, double tokens, double sequence_length);
double model_classifier_work(const model_config *config);
double model_masked_work(const model_config *config);

// ---- profile (profile.c): seconds measured on this machine, for one model's shape ----------------------------------

#define PROFILE_LENGTHS 8

// Forward and backward of a layer on one rank of many that are as busy. A block takes its base and so much for each
// head or neuron that a rank owns.
typedef struct {
    int64_t hidden, heads, intermediate, vocabulary;
    int64_t tokens; // of the micro-batch that was timed
    int lengths;
    struct {
        double length, base, head; // seconds a token, in sequences of this length
    } attention[PROFILE_LENGTHS];  // [lengths] longer and longer
    double ffn, neuron;            // seconds a token
    double adamw, lamb;            // seconds a parameter and step, with gradient norm and zeroing
    // Dealt out evenly whatever the balance, by tokens and by vocabulary rows; for the record.
    double embedding; // seconds a token
    double word;      // of the masked-LM head, seconds a masked token and vocabulary row
} model_profile;

// Refuses a profile of another shape than this model's, and numbers that no machine can have measured.
bool model_profile_from_json(model_profile *profile, const json_t *json, const model_config *config, const char *where,
                             error *err);
json_t *model_profile_to_json(const model_profile *profile);
// Seconds a token of a layer, in sequences of this mean-square length: between the lengths that were measured by a
// straight line, outside as at the nearest. update is the seconds of an
// optimizer's update a parameter and token, 0 without training; it counts for what belongs to heads and neurons.
placement_cost model_profile_cost(const model_profile *profile, double sequence_length, double update);

// ---- the model (model.c, passes.c)
// ------------------------------------------------------------------------------------------

typedef struct {
    parameter *weight, *bias; // rows of the table; this rank's part
} linear;

typedef struct {
    linear query, key, value, attention_output, attention_norm, intermediate, output, output_norm;
} layer_parameters;

// What a layer keeps for its backward pass, by who owns it. Where it is recomputed all layers share everything but the
// last two lines. slope (of GELU), normalised and rstd exist only in training; where not, they are NULL.
typedef struct {
    float *qkv;           // [3, heads, T, head_size]   ranks with heads
    float *context;       // [T, heads * head_size]     ranks with heads
    float *lse;           // [heads, T]                 ranks with heads
    float *slope, *act;   // [T, neurons] each          ranks with neurons; in tiles, this rank's of [T, I]
    float *normalised[2]; // [slice, H] before gain and shift; SAF has two LayerNorms, PAF one (the second)
    float *rstd[2];       // [slice]
} layer_cache;

// What is kept of a micro-batch between its two passes.
typedef struct {
    layer_cache *layers;                          // [stack.count]; all the same when there is no training
    float *embedding_normalised, *embedding_rstd; // [slice, H], [slice], on the first stage
} flight_cache;

// Of the masked rows of a micro-batch, n of them, each rank's slice is those that lie in its token slice. The
// transformed h [n, H], whole on every rank with words, and the gradient at it lie in the exchange's buffers. slope,
// normalised and rstd exist only in training; where not, they are NULL.
typedef struct {
    linear dense, norm;                // the transform
    parameter *bias;                   // of the vocabulary's pieces: this rank's part
    int64_t capacity;                  // masked rows of a micro-batch, at most
    range *slices;                     // [team] masked rows, by who has their tokens
    float *input, *slope, *act;        // [slice, H] each
    float *normalised, *rstd;          // [slice, H], [slice]
    float *logits;                     // [n, vocabulary rows of this rank]; after the backward pass their gradient
    double *lse;                       // [n]
    vocabulary_statistics *mine, *all; // [n], [team, n]
} masked_head;

typedef struct {
    model_config config;
    model_head head;
    int64_t classes;               // of the classifier; 1: regression
    range stack;                   // the layers of this stage; arrays of layers begin with its first
    bool has_embeddings, has_head; // those are on the first and the last stage
    const placement_share *mine;
    const placement *place;                                          // borrowed
    exchange *ex;                                                    // owned
    grid *grid;                                                      // owned; NULL without tiles, or none of them here
    exchange_kind exchange_kind;                                     // borrowed: what was asked for, or auto's choice
    pipeline *stages;                                                // owned; NULL with one stage
    reduction *replicas;                                             // owned; NULL with one replica
    int64_t reduced;                                                 // whose layers' gradients are on their way: from
                                                                     // this one on
    bool zero;                                                       // replicas share the update
    bool training;                                                   // has gradients and caches for a backward pass
    bool recompute;                                                  // layers are computed again in the backward pass
    parameter_table table;                                           // owned
    layer_parameters *layers;                                        // [stack.count]
    linear word, position, type, embedding_norm, pooler, classifier; // bias NULL where there is none

    // Activations, in one arena sized for max_tokens.
    int64_t max_tokens, max_sequences, longest;
    size_t activation_size; // of the arena
    arena activations;
    int flights, flight; // how many, and which one is in use
    flight_cache *kept;  // [flights]
    layer_cache *caches; // [stack.count] of this flight
    float *scratch;      // [T, widest local matrix]
    float *dqkv;         // [3, heads, T, head_size]
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
    bool train; // dropout on, and what a backward pass needs is kept; without it none may follow
    uint64_t seed, step;
    bool final; // of a backward pass: no gradients are added any more, their sums over replicas may begin
} model_pass;

typedef struct {
    model_head head;
    int64_t classes; // HEAD_CLASSIFIER
    int64_t max_tokens, max_sequences, longest;
    int64_t max_masked; // HEAD_MASKED_LM
    range layers;       // of this rank's stage; {0, 0}: all
    bool training, recompute;
    exchange_kind exchange;
} model_request;

// Bytes of a rank; activations with what products of tiles take.
typedef struct {
    int64_t parameters, gradients, moments, activations, exchange;
} model_memory;

// In two steps, so that one can look at what the model will need: model_plan lays out the parameter table and measures,
// model_allocate gets the memory and the exchange (values are undefined until parameter_initialise or a checkpoint
// fills them). place is borrowed. Both are collective over the team.
void model_plan(model *m, const model_config *config, const model_request *request, const topology *t,
                const placement *place);
model_memory model_need(const model *m, const topology *t);
bool model_allocate(model *m, const topology *t, error *err);
// Both at once. Collective over the team.
bool model_create(model *m, const model_config *config, const model_request *request, const topology *t,
                  const placement *place, error *err);
void model_destroy(model *m);

// Micro-batches take turns: what follows keeps, or finds, what belongs to this one. Local.
void model_take_flight(model *m, int flight);
// Encoder and classifier; of several stages, this one's part. Afterwards m->logits [m->head_n, classes] belong to the
// sequences m->head_sequences of this micro-batch, the others are on other ranks of the team; none before the last
// stage. Collective over the team.
void model_forward(model *m, const micro_batch *batch, model_pass pass);
// From m->dlogits, set by the caller for the same sequences: accumulates all gradients of this rank. Those of
// replicated parameters are this rank's part until model_reduce_gradients. Collective over the team.
void model_backward(model *m, const micro_batch *batch, model_pass pass);
// Encoder and masked-LM head: returns the sum of the masked tokens' losses and sets *correct to how many of them were
// guessed right; the same bits on every rank of the team, 0 before the last stage. Collective over the team.
double model_masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                            int64_t *correct);
// The gradients of scale times that sum, accumulated as by model_backward. Collective over the team.
void model_masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                           float scale);
// The layers alone, between exchange_begin and whatever the first slot holds, for benchmarks: what model_forward and
// model_backward do between embedding and head. Backward begins from m->dresidual.
void model_layers_forward(model *m, const micro_batch *batch, model_pass pass);
void model_layers_backward(model *m, const micro_batch *batch, model_pass pass);
// Once a step, after its last micro-batch: sums the gradients of replicated parameters over the team, of tied ones over
// their stages, and all of them over the replicas; with zero this rank then has those of the rows that it updates.
// Collective over the ranks of the topology.
void model_reduce_gradients(model *m, const topology *t);
// With zero, after the update: every replica gets what the others have updated. Collective over the replicas.
void model_gather_parameters(model *m);

// ---- names of tensors (names.c) ------------------------------------------------------------------------------------
//
// Hugging Face's names without the family's prefix, as paf's parameter tables and checkpoints have them. All local.

// The parts of a model that have a weight, a bias, or both.
typedef enum {
    TENSOR_WORDS,
    TENSOR_POSITIONS,
    TENSOR_TYPES,
    TENSOR_EMBEDDING_NORM,
    TENSOR_QUERY, // of a layer, from here
    TENSOR_KEY,
    TENSOR_VALUE,
    TENSOR_ATTENTION_OUTPUT,
    TENSOR_ATTENTION_NORM, // SAF alone has it
    TENSOR_INTERMEDIATE,
    TENSOR_OUTPUT,
    TENSOR_OUTPUT_NORM,   // to here
    TENSOR_ENCODER_PARTS, // those above are the encoder's, those below the heads'
    TENSOR_POOLER = TENSOR_ENCODER_PARTS,
    TENSOR_CLASSIFIER,
    TENSOR_MASKED_DENSE,
    TENSOR_MASKED_NORM,
    TENSOR_MASKED, // the bias over the vocabulary
    TENSOR_PARTS
} model_tensor;

typedef struct {
    char text[128];
} tensor_name;

// The name with this end, "weight" or "bias"; layer matters only to the parts of a layer.
tensor_name model_tensor_name(model_family family, model_tensor part, int64_t layer, const char *end);
// The name of a tensor that SAF has and PAF has not.
const char *model_saf_tensor(void);
// Does the tensor belong to this layer?
bool model_name_in_layer(const char *name, int64_t layer);
// The length of the name's first part, which says what head the tensor belongs to; 0 if it belongs to the encoder.
size_t model_name_head(const char *name);
// Does the tensor belong to a head that a family of paf's has?
bool model_name_of_head(const char *name);
// What transformers put before the name: the family's prefix, or "" if it belongs to a head. They count the pooler to
// the encoder.
const char *model_name_prefix(model_family family, const char *name);
// The name without the prefix of any family; points into theirs.
const char *model_name_plain(const char *theirs);

// ---- SAF's weights as a start for PAF (convert.c): local to the rank ------------------------------------------------

// Gain and shift [H] of the LayerNorms before and behind the attention of every SAF layer, whole on every rank. The
// caller fills them from where SAF's weights lie, and frees them with parameter_destroy.
void model_norms_create(parameter_table *norms, const model_config *config);
// Folds those behind, for which PAF has no place, into what surrounds them, so that PAF computes nearly what SAF did.
// table has SAF's weights in a PAF model's rows, this rank's part of any layout; the same bits whatever the layout.
void model_fold_norms(parameter_table *table, const parameter_table *norms, const model_config *config);

#endif
