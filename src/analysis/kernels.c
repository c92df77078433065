#include "analysis/kernels.h"

#include "data/data.h"
#include "optim/optim.h"

#include <math.h>
#include <string.h>

// ---- the bench

static masked_tokens mask_some(const micro_batch *b) {
    masked_tokens masked = masked_tokens_create((b->tokens * 15 + 99) / 100);
    masked.n = masked.capacity;
    for (int64_t i = 0; i < masked.n; i++) {
        masked.rows[i] = (int32_t)(i * b->tokens / masked.n);
        masked.labels[i] = b->ids[masked.rows[i]];
    }
    return masked;
}

static const model_pass training = {.train = true, .seed = 1};

static void run_step(workbench *w) {
    int64_t correct;
    model_masked_forward(&w->m, &w->batch, &w->masked, training, &correct);
    model_masked_backward(&w->m, &w->batch, &w->masked, training, 1 / (float)w->masked.n);
}

bool workbench_open(workbench *w, const model_config *config, const workbench_request *request, error *err) {
    *w = (workbench){.config = *config};
    model_config part = *config;
    part.design = w->config.design = DESIGN_PAF;
    part.layers = request->layers;
    topology_create_partial(&w->topo, 0, 0);
    const placement_request whole = model_placement_request(&part, &w->topo, false, (double)request->length);
    int64_t longest = request->longest < request->tokens ? request->longest : request->tokens;
    w->batch = synthetic_batch(request->tokens, request->length, config->vocabulary);
    w->masked = mask_some(&w->batch);
    if (placement_create(&w->place, &whole, err)) {
        w->place.shares[0].heads.count = request->heads;
        w->place.shares[0].neurons.count = request->neurons;
        const model_request wanted = {.head = HEAD_MASKED_LM,
                                      .max_tokens = request->tokens,
                                      .max_sequences = request->tokens,
                                      .longest = longest,
                                      .max_masked = w->masked.n,
                                      .training = true,
                                      .exchange = EXCHANGE_LOCAL};
        model_create(&w->m, &part, &wanted, &w->topo, &w->place, err);
    }
    if (!comm_agree(w->topo.world, err)) return false;
    parameter_initialise(&w->m.table, 1, part.initializer_range);
    run_step(w);
    return true;
}

void workbench_set_length(workbench *w, int64_t length) {
    int64_t tokens = w->batch.tokens;
    micro_batch_destroy(&w->batch);
    w->batch = synthetic_batch(tokens, length, w->config.vocabulary);
}

void workbench_close(workbench *w) {
    if (w->m.mine) model_destroy(&w->m);
    micro_batch_destroy(&w->batch);
    masked_tokens_destroy(&w->masked);
    placement_destroy(&w->place);
    topology_destroy(&w->topo);
}

// ---- arrays: x is a layer's input, y its output; da and df are the gradients that go into its branches

static float *x(workbench *w) { return exchange_slot(w->m.ex, 0); }
static float *y(workbench *w) { return exchange_slot(w->m.ex, 1); }
static float *da(workbench *w) { return exchange_slot(w->m.ex, 2); }
static float *df(workbench *w) { return exchange_slot(w->m.ex, 3); }
static float *partial(workbench *w, int i) { return exchange_partial(w->m.ex, i); }

static linear projection(const workbench *w, int i) {
    const layer_parameters *l = &w->m.layers[0];
    return i == 0 ? l->query : i == 1 ? l->key : l->value;
}

static dropout mask(double p, random_purpose purpose) {
    return (dropout){.p = (float)p, .stream = random_stream_create(1, purpose, 0, 0)};
}

static int64_t head_size(const workbench *w) { return w->config.hidden / w->config.heads; }
static float *part_of(const workbench *w, float *qkv, int i) { return qkv + i * w->batch.tokens * w->config.hidden; }

// ---- attention

static void project_forward(workbench *w) {
    int64_t h = w->config.hidden;
    for (int i = 0; i < 3; i++)
        linear_forward(w->m.scratch, x(w), projection(w, i).weight->value, NULL, w->batch.tokens, h, h);
}

static void project_input(workbench *w) {
    int64_t h = w->config.hidden;
    for (int i = 0; i < 3; i++)
        linear_backward_input(partial(w, 0), w->m.scratch, projection(w, i).weight->value, w->batch.tokens, h, h,
                              i > 0);
}

static void project_weight(workbench *w) {
    int64_t h = w->config.hidden;
    for (int i = 0; i < 3; i++)
        linear_backward_weight(projection(w, i).weight->gradient, projection(w, i).bias->gradient, w->m.scratch, x(w),
                               w->batch.tokens, h, h);
}

static void split_heads(workbench *w) {
    for (int i = 0; i < 3; i++)
        attention_split_heads(part_of(w, w->m.caches[0].qkv, i), w->m.scratch, projection(w, i).bias->value,
                              w->batch.tokens, w->config.heads, head_size(w));
}

static void merge_heads(workbench *w) {
    for (int i = 0; i < 3; i++)
        attention_merge_heads(w->m.scratch, part_of(w, w->m.dqkv, i), w->batch.tokens, w->config.heads, head_size(w));
}

static void attend_forward(workbench *w) {
    const layer_cache *c = &w->m.caches[0];
    attention_forward(c->context, c->lse, c->qkv, w->batch.starts, w->batch.sequences, w->batch.numbers,
                      w->config.heads, 0, head_size(w), mask(w->config.attention_dropout, RANDOM_DROPOUT_PROBABILITIES),
                      w->m.attention_scratch);
}

static void attend_backward(workbench *w) {
    const layer_cache *c = &w->m.caches[0];
    attention_backward(w->m.dqkv, w->m.scratch, c->qkv, c->context, c->lse, w->batch.starts, w->batch.sequences,
                       w->batch.numbers, w->config.heads, 0, head_size(w),
                       mask(w->config.attention_dropout, RANDOM_DROPOUT_PROBABILITIES), w->m.attention_scratch);
}

static void output_forward(workbench *w) {
    int64_t h = w->config.hidden;
    linear_forward(partial(w, 0), w->m.caches[0].context, w->m.layers[0].attention_output.weight->value, NULL,
                   w->batch.tokens, h, h);
}

static void output_input(workbench *w) {
    int64_t h = w->config.hidden;
    linear_backward_input(w->m.scratch, da(w), w->m.layers[0].attention_output.weight->value, w->batch.tokens, h, h,
                          false);
}

static void output_weight(workbench *w) {
    int64_t h = w->config.hidden;
    linear_backward_weight(w->m.layers[0].attention_output.weight->gradient, NULL, da(w), w->m.caches[0].context,
                           w->batch.tokens, h, h);
}

// ---- FFN

static void up_forward(workbench *w) {
    linear_forward(w->m.caches[0].act, x(w), w->m.layers[0].intermediate.weight->value, NULL, w->batch.tokens,
                   w->config.hidden, w->config.intermediate);
}

static void up_input(workbench *w) {
    linear_backward_input(partial(w, 0), w->m.scratch, w->m.layers[0].intermediate.weight->value, w->batch.tokens,
                          w->config.hidden, w->config.intermediate, true);
}

static void up_weight(workbench *w) {
    linear_backward_weight(w->m.layers[0].intermediate.weight->gradient, NULL, w->m.scratch, x(w), w->batch.tokens,
                           w->config.hidden, w->config.intermediate);
}

static void gelu_forward(workbench *w) {
    const layer_cache *c = &w->m.caches[0];
    bias_gelu_forward(c->act, c->slope, c->act, w->m.layers[0].intermediate.bias->value, w->batch.tokens,
                      w->config.intermediate);
}

static void gelu_backward(workbench *w) {
    bias_gelu_backward(w->m.scratch, w->m.layers[0].intermediate.bias->gradient, w->m.scratch, w->m.caches[0].slope,
                       w->batch.tokens, w->config.intermediate);
}

static void down_forward(workbench *w) {
    linear_forward(partial(w, 1), w->m.caches[0].act, w->m.layers[0].output.weight->value, NULL, w->batch.tokens,
                   w->config.intermediate, w->config.hidden);
}

static void down_input(workbench *w) {
    linear_backward_input(w->m.scratch, df(w), w->m.layers[0].output.weight->value, w->batch.tokens,
                          w->config.intermediate, w->config.hidden, false);
}

static void down_weight(workbench *w) {
    linear_backward_weight(w->m.layers[0].output.weight->gradient, NULL, df(w), w->m.caches[0].act, w->batch.tokens,
                           w->config.intermediate, w->config.hidden);
}

// ---- between the blocks

static void norm_forward(workbench *w) {
    const layer_cache *c = &w->m.caches[0];
    const layer_parameters *l = &w->m.layers[0];
    const float *attention = partial(w, 0), *ffn = partial(w, 1);
    const layernorm_branch branches[] = {
        {&attention, 1, l->attention_output.bias->value, mask(w->config.hidden_dropout, RANDOM_DROPOUT_ATTENTION)},
        {&ffn, 1, l->output.bias->value, mask(w->config.hidden_dropout, RANDOM_DROPOUT_FFN)},
    };
    sum_layernorm_forward(y(w), c->normalised[1], c->rstd[1], x(w), branches, 2, w->batch.numbers,
                          l->output_norm.weight->value, l->output_norm.bias->value, (float)w->config.norm_epsilon,
                          w->batch.tokens, w->config.hidden);
}

static void norm_backward(workbench *w) {
    const layer_cache *c = &w->m.caches[0];
    const layer_parameters *l = &w->m.layers[0];
    const float *gradient = partial(w, 0);
    const layernorm_branch_gradient branches[] = {
        {da(w), l->attention_output.bias->gradient, mask(w->config.hidden_dropout, RANDOM_DROPOUT_ATTENTION)},
        {df(w), l->output.bias->gradient, mask(w->config.hidden_dropout, RANDOM_DROPOUT_FFN)},
    };
    sum_layernorm_backward(w->m.dresidual, l->output_norm.weight->gradient, l->output_norm.bias->gradient, branches, 2,
                           w->m.dresidual, &gradient, 1, c->normalised[1], c->rstd[1], l->output_norm.weight->value,
                           w->batch.numbers, w->batch.tokens, w->config.hidden);
}

// ---- embedding and head

static void embed_forward(workbench *w) {
    const model *m = &w->m;
    int64_t t = w->batch.tokens, h = w->config.hidden;
    const float *words = partial(w, 0);
    const layernorm_branch branch = {.parts = &words, .count = 1};
    word_embedding_forward(partial(w, 0), w->batch.ids, m->word.weight->value, 0, w->config.vocabulary, t, h);
    place_embedding_forward(m->row_buffer, w->batch.positions, w->batch.types, m->position.weight->value,
                            m->type.weight->value, t, h);
    sum_layernorm_forward(x(w), m->kept[0].embedding_normalised, m->kept[0].embedding_rstd, m->row_buffer, &branch, 1,
                          w->batch.numbers, m->embedding_norm.weight->value, m->embedding_norm.bias->value,
                          (float)w->config.norm_epsilon, t, h);
    dropout_apply(x(w), x(w), w->batch.numbers, t, h, mask(w->config.hidden_dropout, RANDOM_DROPOUT_EMBEDDING));
}

static void embed_backward(workbench *w) {
    const model *m = &w->m;
    int64_t t = w->batch.tokens, h = w->config.hidden;
    const float *gradient = partial(w, 0);
    sum_parts(m->dresidual, m->dresidual, &gradient, 1, t, h);
    dropout_apply(m->dresidual, m->dresidual, w->batch.numbers, t, h,
                  mask(w->config.hidden_dropout, RANDOM_DROPOUT_EMBEDDING));
    sum_layernorm_backward(da(w), m->embedding_norm.weight->gradient, m->embedding_norm.bias->gradient, NULL, 0,
                           m->dresidual, NULL, 0, m->kept[0].embedding_normalised, m->kept[0].embedding_rstd,
                           m->embedding_norm.weight->value, w->batch.numbers, t, h);
    place_embedding_backward(m->position.weight->gradient, m->type.weight->gradient, w->batch.positions, w->batch.types,
                             da(w), t, h);
    word_embedding_backward(m->word.weight->gradient, w->batch.ids, da(w), 0, w->config.vocabulary, t, h);
}

// The first masked.n rows of y stand for the transformed ones.
static void words_forward(workbench *w) {
    linear_forward(w->m.masked.logits, y(w), w->m.word.weight->value, w->m.masked.bias->value, w->masked.n,
                   w->config.hidden, w->config.vocabulary);
}

static void words_loss(workbench *w) {
    masked_head *k = &w->m.masked;
    int64_t correct;
    vocabulary_statistics_compute(k->mine, k->logits, w->masked.labels, w->masked.n, 0, w->config.vocabulary);
    vocabulary_statistics_join(k->lse, &correct, k->mine, 1, w->masked.labels, w->masked.n);
    vocabulary_cross_entropy_backward(k->logits, k->lse, w->masked.labels, w->masked.n, 0, w->config.vocabulary,
                                      1 / (float)w->masked.n);
}

static void words_weight(workbench *w) {
    linear_backward_weight(w->m.word.weight->gradient, w->m.masked.bias->gradient, w->m.masked.logits, y(w),
                           w->masked.n, w->config.hidden, w->config.vocabulary);
}

static void words_input(workbench *w) {
    linear_backward_input(partial(w, 0), w->m.masked.logits, w->m.word.weight->value, w->masked.n, w->config.hidden,
                          w->config.vocabulary, false);
}

// ---- once a step

// A rate that moves nothing: only the time counts, and weights stay where kernels meet them in training.
static const optim_settings update_rule = {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
static const double rate = 1e-9;

static void take_norm(workbench *w) { optim_gradient_norm(&w->m.table, w->topo.team_comm); }
static void step_adamw(workbench *w) { optim_adamw(&w->m.table, &update_rule, rate, 1, 1); }
static void step_lamb(workbench *w) { optim_lamb(&w->m.table, &update_rule, rate, 1, 1, w->topo.team_comm); }
static void zero_gradients(workbench *w) { parameter_zero_gradients(&w->m.table); }

// ---- the table

// Parameters of a model with all its layers, over those of the one on the bench.
static double table_parts(const workbench *w, double *parameters) {
    double layer = 0, all = 0;
    for (size_t i = 0; i < w->m.table.n; i++) {
        double n = (double)parameter_count(&w->m.table.rows[i]);
        all += n;
        if (model_name_in_layer(w->m.table.rows[i].name, 0)) layer += n;
    }
    *parameters = all;
    return (all + layer * (double)(w->config.layers - w->m.config.layers)) / all;
}

int kernels_list(kernel out[KERNELS_MOST], const workbench *w) {
    const model_config *c = &w->config;
    double t = (double)w->batch.tokens, h = (double)c->hidden, i = (double)c->intermediate, v = (double)c->vocabulary;
    double n = (double)w->masked.n, layers = (double)c->layers, pairs = 0, p, tables = table_parts(w, &p);
    for (int64_t s = 0; s < w->batch.sequences; s++) pairs += pow(w->batch.starts[s + 1] - w->batch.starts[s], 2);
    double lse = t * (double)c->heads, th = t * h, ti = t * i, hh = h * h, hi = h * i, vh = v * h;
    const struct {
        const char *name;
        kernel_part part;
        void (*run)(workbench *w);
        double count, flop, floats; // of each array once, whether read or written; one that is added to counts twice
    } rows[] = {
        {"embedding, forward", PART_EMBEDDING, embed_forward, 1, 0, 8 * th},
        {"query, key, value: products", PART_ATTENTION, project_forward, layers, 6 * t * hh, 3 * (th + hh + th)},
        {"split heads, add biases", PART_ATTENTION, split_heads, layers, 0, 3 * 2 * th},
        {"attention, forward", PART_ATTENTION, attend_forward, layers, 4 * pairs * h, 4 * th + lse},
        {"attention output: product", PART_ATTENTION, output_forward, layers, 2 * t * hh, 2 * th + hh},
        {"FFN up: product", PART_FFN, up_forward, layers, 2 * t * hi, th + hi + ti},
        {"bias + GELU, forward", PART_FFN, gelu_forward, layers, 0, 3 * ti},
        {"FFN down: product", PART_FFN, down_forward, layers, 2 * t * hi, th + hi + ti},
        {"sum + LayerNorm, forward", PART_BETWEEN, norm_forward, layers, 0, 5 * th},
        {"vocabulary: product", PART_WORDS, words_forward, 1, 2 * n * vh, n * h + vh + n * v},
        {"vocabulary: loss", PART_WORDS, words_loss, 1, 0, 2 * n * v},
        {"vocabulary: weight gradient", PART_WORDS, words_weight, 1, 2 * n * vh, n * h + 2 * vh + n * v},
        {"vocabulary: input gradient", PART_WORDS, words_input, 1, 2 * n * vh, n * h + vh + n * v},
        {"LayerNorm, dropout, backward", PART_BETWEEN, norm_backward, layers, 0, 6 * th},
        {"attention output: weight gr.", PART_ATTENTION, output_weight, layers, 2 * t * hh, 2 * th + 2 * hh},
        {"attention output: input gr.", PART_ATTENTION, output_input, layers, 2 * t * hh, 2 * th + hh},
        {"attention, backward", PART_ATTENTION, attend_backward, layers, 8 * pairs * h, 8 * th + lse},
        {"merge heads", PART_ATTENTION, merge_heads, layers, 0, 3 * 2 * th},
        {"query, key, value: weight gr.", PART_ATTENTION, project_weight, layers, 6 * t * hh, 3 * (2 * th + 2 * hh)},
        {"query, key, value: input gr.", PART_ATTENTION, project_input, layers, 6 * t * hh, 3 * (2 * th + hh) + 2 * th},
        {"FFN down: weight gradient", PART_FFN, down_weight, layers, 2 * t * hi, th + 2 * hi + ti},
        {"FFN down: input gradient", PART_FFN, down_input, layers, 2 * t * hi, th + hi + ti},
        {"bias + GELU, backward", PART_FFN, gelu_backward, layers, 0, 3 * ti},
        {"FFN up: weight gradient", PART_FFN, up_weight, layers, 2 * t * hi, th + 2 * hi + ti},
        {"FFN up: input gradient", PART_FFN, up_input, layers, 2 * t * hi, 2 * th + hi + ti},
        {"embedding, backward", PART_EMBEDDING, embed_backward, 1, 0, 11 * th},
        {"gradient norm", PART_UPDATE, take_norm, tables, 0, p},
        {"AdamW", PART_ADAMW, step_adamw, tables, 0, 7 * p},
        {"LAMB (in AdamW's place)", PART_LAMB, step_lamb, 0, 0, 7 * p},
        {"zeroing gradients", PART_UPDATE, zero_gradients, tables, 0, p},
    };
    int rows_n = (int)(sizeof rows / sizeof *rows);
    REQUIRE(rows_n <= KERNELS_MOST);
    for (int k = 0; k < rows_n; k++)
        out[k] = (kernel){rows[k].name,  rows[k].part, rows[k].run,
                          rows[k].count, rows[k].flop, rows[k].floats * sizeof(float)};
    return rows_n;
}
