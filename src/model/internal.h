// The parts of a model. Private to this room; forward and backward of each part stand side by side in its file.
#ifndef PAF_MODEL_INTERNAL_H
#define PAF_MODEL_INTERNAL_H

#include "model/model.h"

// Partials and slots of the exchange. In the backward pass a rank hands in one partial, the gradient of a block's
// input.
enum { PARTIAL_ATTENTION = 0, PARTIAL_FFN = 1, PARTIAL_WORDS = 0, PARTIAL_GRADIENT = 0 };

// Slots: the x of every layer (and SAF's u between its blocks), then the two gradients that go into the branches.
// Without a backward pass two slots take turns for all x and u. The masked-LM head's h takes the first gradient's.
int slot_of_input(const model *m, int64_t layer);  // x
int slot_of_middle(const model *m, int64_t layer); // SAF's u
int slot_of_gradient(const model *m, int branch);  // 0 attention, 1 FFN
int slot_of_head(const model *m);

dropout model_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p);
// Layers are counted from the stage's first.
dropout layer_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p);

// slots.c: how many slots the exchange must have.
int slots_needed(const model *m);

// table.c: the rows of the parameter table, of which the first rank of the team saves what all have; and, once these
// have memory, the model's pointers to them.
void model_build_table(model *m, bool first_rank);
void model_find_parameters(model *m);
bool model_has_tiles(const model *m); // do the FFN's matrices lie in tiles?

// memory.c: bytes of the activations; their arena, all of it handed out.
size_t model_measure_activations(model *m);
void model_take_activations(model *m);
int64_t model_slice_max(const model *m); // tokens of a rank's slice, at most

// stage.c: from stage to stage, this rank's slice of the tokens. Forward into the slot of layer 0's input, out of that
// of the last layer's output; backward into m->dresidual, out of it and the reduced parts.
void stage_receive_forward(model *m);
void stage_send_forward(model *m);
void stage_receive_backward(model *m);
void stage_send_backward(model *m);

// replicas.c: the gradients of one of this stage's layers, which are whole, begin their way over the replicas; in the
// backward pass from layer to layer.
void replicas_reduce_layer(model *m, int64_t layer);

// This rank's part of a matrix of the FFN, where these lie in tiles.
tile model_tile(const model *m, int64_t rows, int64_t columns);

// embedding.c: ids -> slot of layer 0's input; backward from the gradient at it (m->dresidual plus the reduced parts).
void embedding_forward(model *m, const micro_batch *batch, model_pass pass);
void embedding_backward(model *m, const micro_batch *batch, model_pass pass);

// attention.c and ffn.c: a block in two parts. The first fills the layer's cache from x, the second makes the partial
// result of it, so that recomputing does no more than it needs. GELU's slope is for the backward pass only.
void attention_block_begin(model *m, int64_t layer, const float *x, const micro_batch *batch, model_pass pass);
void ffn_block_begin(model *m, int64_t layer, const float *x, int64_t tokens, bool keep_slope);

// attention.c: partial [T, H] = this rank's heads' part of Attn(x), without the output bias.
void attention_block_forward(model *m, int64_t layer, float *partial, const float *x, const micro_batch *batch,
                             model_pass pass);
// dx [T, H] is set. d [T, H] is the gradient at the branch's output.
void attention_block_backward(model *m, int64_t layer, float *dx, const float *d, const float *x,
                              const micro_batch *batch, model_pass pass);

// ffn.c: partial [T, H] = this rank's neurons' part of FFN(x), without the output bias; where the matrices lie in
// tiles, this rank's tile of FFN(x), zero elsewhere, and then all three are collective over the grid.
void ffn_block_forward(model *m, int64_t layer, float *partial, const float *x, int64_t tokens, model_pass pass);
// dx is set, or added to where accumulate.
void ffn_block_backward(model *m, int64_t layer, float *dx, const float *d, const float *x, int64_t tokens,
                        bool accumulate);

// layer.c: the wiring of either design.
void layer_forward(model *m, int64_t layer, const micro_batch *batch, model_pass pass);
// From m->dresidual (this slice's gradient at the layer's output) plus, except in the last layer, the reduced parts of
// the layer above. Leaves the same for the layer below.
void layer_backward(model *m, int64_t layer, bool last, const micro_batch *batch, model_pass pass);

// head.c: pooler and classifier on the first tokens that lie in this rank's slice.
void head_forward(model *m, const micro_batch *batch, model_pass pass);
void head_backward(model *m, const micro_batch *batch, model_pass pass); // sets m->dresidual

// masked.c: the masked-LM head.
double masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                      int64_t *correct);
void masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, float scale); // as above

#endif
