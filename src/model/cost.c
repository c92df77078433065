// What a model takes: FLOP, and what heads and neurons cost a rank.
#include "model/model.h"

double model_attention_work(const model_config *c, double sequence_length) {
    double h = (double)c->hidden;
    return 8 * h * h + 4 * sequence_length * h;
}

double model_ffn_work(const model_config *c) { return 4 * (double)c->hidden * (double)c->intermediate; }

// Measured by `launch/mpi 2 build/paf bench kernels` for configs/models/{small,minilm-l6,bert-large-uncased}.json and
// bench.length 13 to 512: attention's inner products, with their softmax, take 1.4 times as long as the rate of large
// products says, and each row of a head the time of 4000 FLOP more; a value that is passed from one kernel to the next
// takes that of 40. Such are a neuron's, and five times H in attention (query, key, value, context, and once more for
// turning between rows and heads). Having any of a block costs a rank 2 H of them: its result and the gradient at its
// input, which it writes and all read.
static const double inner_product_factor = 1.4, head_row_cost = 4000, element_cost = 40;

placement_cost model_cost(const model_config *c, double sequence_length) {
    double h = (double)c->hidden, heads = (double)c->heads;
    double attention = 8 * h * h + inner_product_factor * 4 * sequence_length * h + 5 * element_cost * h;
    return (placement_cost){.attention = 2 * element_cost * h,
                            .head = attention / heads + head_row_cost,
                            .ffn = 2 * element_cost * h,
                            .neuron = 4 * h + element_cost};
}

placement_request model_placement_request(const model_config *c, const topology *t, bool balance,
                                          double sequence_length) {
    return (placement_request){
        .attention = t->attention,
        .ffn = t->ffn,
        .groups = c->design == DESIGN_PAF,
        .balance = balance,
        .heads = c->heads,
        .neurons = c->intermediate,
        .vocabulary = c->vocabulary,
        .head_work = model_attention_work(c, sequence_length) / (double)c->heads,
        .neuron_work = model_ffn_work(c) / (double)c->intermediate,
        .cost = model_cost(c, sequence_length),
    };
}

double model_step_work(const model_config *c, double tokens, double sequence_length) {
    return 3 * tokens * (double)c->layers * (model_attention_work(c, sequence_length) + model_ffn_work(c));
}

double model_classifier_work(const model_config *c) { return 2 * (double)c->hidden * (double)c->hidden; }

double model_masked_work(const model_config *c) {
    return 2 * (double)c->hidden * (double)c->hidden + 2 * (double)c->hidden * (double)c->vocabulary;
}
