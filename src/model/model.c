#include "model/internal.h"

#include <string.h>

// ---- slots and masks

// The x (and u) of a micro-batch.
static int slots_a_flight(const model *m) {
    return (int)(m->config.design == DESIGN_PAF ? m->stack.count : 2 * m->stack.count) + 1;
}

static int slots_needed(const model *m) {
    if (m->training) return slot_of_gradient(m, 1) + 1;
    return m->head == HEAD_MASKED_LM ? slot_of_head(m) + 1 : 2;
}

static int slot(const model *m, int64_t i) {
    return m->training ? m->flight * slots_a_flight(m) + (int)i : (int)(i % 2);
}

int slot_of_input(const model *m, int64_t layer) { return slot(m, m->config.design == DESIGN_PAF ? layer : 2 * layer); }

int slot_of_middle(const model *m, int64_t layer) { return slot(m, 2 * layer + 1); }

int slot_of_gradient(const model *m, int branch) { return m->flights * slots_a_flight(m) + branch; }

int slot_of_head(const model *m) { return m->training ? slot_of_gradient(m, 0) : 2; }

dropout model_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p) {
    (void)m;
    return (dropout){.p = pass.train ? (float)p : 0,
                     .stream = random_stream_create(pass.seed, purpose, pass.step, (uint32_t)layer)};
}

dropout layer_dropout(const model *m, model_pass pass, random_purpose purpose, int64_t layer, double p) {
    return model_dropout(m, pass, purpose, m->stack.first + layer, p);
}

// ---- the parameter table

static bool has_tiles(const model *m) { return m->place->grid.rows > 0; }

tile model_tile(const model *m, int64_t rows, int64_t columns) {
    return placement_tile(m->place, (int)(m->mine - m->place->shares), rows, columns);
}

typedef struct {
    model *m;
    bool first_rank;
} builder;

static void add(builder *b, tensor_name name, int dimensions, int64_t rows, int64_t columns, parameter_split split,
                range own, parameter_initial initial) {
    bool decay = dimensions == 2;
    if (split == SPLIT_TILES) {
        tile t = model_tile(b->m, rows, columns);
        parameter_add_tile(&b->m->table, name.text, rows, columns, (int64_t[]){t.rows.first, t.columns.first},
                           (int64_t[]){t.rows.count, t.columns.count}, decay, initial);
        return;
    }
    bool writer = split == SPLIT_NONE ? b->first_rank : own.count > 0;
    parameter_add(&b->m->table, name.text, dimensions, rows, columns, split, own.first, own.count, writer, decay,
                  initial);
}

static tensor_name name_of(const builder *b, model_tensor part, int64_t layer, const char *end) {
    return model_tensor_name(b->m->config.family, part, layer, end);
}

// Adds a linear layer's two tensors; which dimension of the weight is split decides whether the bias is.
static void add_linear(builder *b, model_tensor part, int64_t layer, int64_t out, int64_t in, parameter_split split,
                       range own) {
    add(b, name_of(b, part, layer, "weight"), 2, out, in, split, own, INITIAL_NORMAL);
    add(b, name_of(b, part, layer, "bias"), 1, out, 1, split == SPLIT_ROWS ? SPLIT_ROWS : SPLIT_NONE, own,
        INITIAL_ZERO);
}

static void add_norm(builder *b, model_tensor part, int64_t layer, int64_t hidden) {
    add(b, name_of(b, part, layer, "weight"), 1, hidden, 1, SPLIT_NONE, (range){0, 0}, INITIAL_ONE);
    add(b, name_of(b, part, layer, "bias"), 1, hidden, 1, SPLIT_NONE, (range){0, 0}, INITIAL_ZERO);
}

static void add_layer(builder *b, int64_t layer) {
    const model_config *c = &b->m->config;
    int64_t h = c->hidden, head_size = h / c->heads;
    range heads = {b->m->mine->heads.first * head_size, b->m->mine->heads.count * head_size};
    range neurons = b->m->mine->neurons;
    bool tiles = has_tiles(b->m);
    const struct {
        model_tensor part;
        int64_t out, in;
        parameter_split split;
        range own;
    } linears[] = {
        {TENSOR_QUERY, h, h, SPLIT_ROWS, heads},
        {TENSOR_KEY, h, h, SPLIT_ROWS, heads},
        {TENSOR_VALUE, h, h, SPLIT_ROWS, heads},
        {TENSOR_ATTENTION_OUTPUT, h, h, SPLIT_COLUMNS, heads},
        {TENSOR_INTERMEDIATE, c->intermediate, h, tiles ? SPLIT_TILES : SPLIT_ROWS, neurons},
        {TENSOR_OUTPUT, h, c->intermediate, tiles ? SPLIT_TILES : SPLIT_COLUMNS, neurons},
    };
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
        add_linear(b, linears[i].part, layer, linears[i].out, linears[i].in, linears[i].split, linears[i].own);
    if (c->design == DESIGN_SAF) add_norm(b, TENSOR_ATTENTION_NORM, layer, h);
    add_norm(b, TENSOR_OUTPUT_NORM, layer, h);
}

static void build_table(model *m, bool first_rank) {
    const model_config *c = &m->config;
    builder b = {m, first_rank};
    range none = {0, 0};
    if (m->has_embeddings || (m->has_head && m->head == HEAD_MASKED_LM)) { // tied
        add(&b, name_of(&b, TENSOR_WORDS, 0, "weight"), 2, c->vocabulary, c->hidden, SPLIT_ROWS, m->mine->vocabulary,
            INITIAL_NORMAL);
        m->table.rows[0].tied = !m->has_embeddings;
    }
    if (m->has_embeddings) {
        add(&b, name_of(&b, TENSOR_POSITIONS, 0, "weight"), 2, c->positions, c->hidden, SPLIT_NONE, none,
            INITIAL_NORMAL);
        add(&b, name_of(&b, TENSOR_TYPES, 0, "weight"), 2, c->types, c->hidden, SPLIT_NONE, none, INITIAL_NORMAL);
        add_norm(&b, TENSOR_EMBEDDING_NORM, 0, c->hidden);
    }
    for (int64_t l = 0; l < m->stack.count; l++) add_layer(&b, m->stack.first + l);
    if (!m->has_head) return;
    if (m->head == HEAD_CLASSIFIER) {
        add_linear(&b, TENSOR_POOLER, 0, c->hidden, c->hidden, SPLIT_NONE, none);
        add_linear(&b, TENSOR_CLASSIFIER, 0, m->classes, c->hidden, SPLIT_NONE, none);
    } else {
        add_linear(&b, TENSOR_MASKED_DENSE, 0, c->hidden, c->hidden, SPLIT_NONE, none);
        add_norm(&b, TENSOR_MASKED_NORM, 0, c->hidden);
        add(&b, name_of(&b, TENSOR_MASKED, 0, "bias"), 1, c->vocabulary, 1, SPLIT_ROWS, m->mine->vocabulary,
            INITIAL_ZERO);
    }
}

static parameter *find_one(const model *m, model_tensor part, int64_t layer, const char *end) {
    return parameter_find(&m->table, model_tensor_name(m->config.family, part, layer, end).text);
}

static linear find_in_layer(const model *m, int64_t layer, model_tensor part) {
    int64_t l = m->stack.first + layer;
    return (linear){find_one(m, part, l, "weight"), find_one(m, part, l, "bias")};
}

static linear find(const model *m, model_tensor part) { return find_in_layer(m, 0, part); }

static void find_parameters(model *m) {
    m->word = find(m, TENSOR_WORDS);
    m->position = find(m, TENSOR_POSITIONS);
    m->type = find(m, TENSOR_TYPES);
    m->embedding_norm = find(m, TENSOR_EMBEDDING_NORM);
    m->pooler = find(m, TENSOR_POOLER);
    m->classifier = find(m, TENSOR_CLASSIFIER);
    m->masked.dense = find(m, TENSOR_MASKED_DENSE);
    m->masked.norm = find(m, TENSOR_MASKED_NORM);
    m->masked.bias = find(m, TENSOR_MASKED).bias;
    m->layers = memory_allocate((size_t)m->stack.count, sizeof *m->layers);
    for (int64_t l = 0; l < m->stack.count; l++)
        m->layers[l] = (layer_parameters){
            .query = find_in_layer(m, l, TENSOR_QUERY),
            .key = find_in_layer(m, l, TENSOR_KEY),
            .value = find_in_layer(m, l, TENSOR_VALUE),
            .attention_output = find_in_layer(m, l, TENSOR_ATTENTION_OUTPUT),
            .attention_norm = find_in_layer(m, l, TENSOR_ATTENTION_NORM),
            .intermediate = find_in_layer(m, l, TENSOR_INTERMEDIATE),
            .output = find_in_layer(m, l, TENSOR_OUTPUT),
            .output_norm = find_in_layer(m, l, TENSOR_OUTPUT_NORM),
        };
}

// ---- activations

// Walks all activations: with measure it only counts bytes, without it hands out the memory.
typedef struct {
    arena *memory;
    size_t measured;
} allocator;

static void *take(allocator *a, int64_t count, size_t size) {
    if (a->memory) return arena_allocate(a->memory, (size_t)count, size);
    a->measured += arena_footprint((size_t)count, size);
    return NULL;
}

static float *take_floats(allocator *a, int64_t count) { return take(a, count, sizeof(float)); }

// Of the FFN's [T, I], what this rank holds; of fewer tokens than max_tokens it may have more rows than of all.
static int64_t intermediate_floats(const model *m) {
    if (!has_tiles(m)) return m->max_tokens * m->mine->neurons.count;
    return placement_tile_size(m->max_tokens, m->place->grid.rows) *
           model_tile(m, m->place->grid.rows, m->config.intermediate).columns.count;
}

static void take_cache(allocator *a, const model *m, layer_cache *cache) {
    int64_t t = m->max_tokens, h = m->config.hidden, heads = m->mine->heads.count;
    int64_t local = heads * (h / m->config.heads);
    cache->qkv = take_floats(a, 3 * t * local);
    cache->context = take_floats(a, t * local);
    cache->lse = take_floats(a, heads * t);
    if (m->training) cache->slope = take_floats(a, intermediate_floats(m));
    cache->act = take_floats(a, intermediate_floats(m));
}

static void take_norms(allocator *a, const model *m, layer_cache *cache, int64_t slice) {
    for (int norm = m->config.design == DESIGN_SAF ? 0 : 1; norm < 2; norm++) {
        cache->normalised[norm] = take_floats(a, slice * m->config.hidden);
        cache->rstd[norm] = take_floats(a, slice);
    }
}

static void take_flight(allocator *a, model *m, flight_cache *kept, int64_t slice) {
    for (int64_t l = 0; l < m->stack.count; l++) {
        layer_cache *cache = &kept->layers[l];
        if (l == 0 || (m->training && !m->recompute))
            take_cache(a, m, cache);
        else
            *cache = kept->layers[0];
        if (m->training) take_norms(a, m, cache, slice);
    }
    if (!m->training || !m->has_embeddings) return;
    kept->embedding_normalised = take_floats(a, slice * m->config.hidden);
    kept->embedding_rstd = take_floats(a, slice);
}

static void take_classifier(allocator *a, model *m) {
    int64_t n = m->max_sequences, h = m->config.hidden;
    m->head_rows = take(a, n, sizeof *m->head_rows);
    m->head_sequences = take(a, n, sizeof *m->head_sequences);
    m->head_numbers = take(a, n, sizeof *m->head_numbers);
    m->first = take_floats(a, n * h);
    m->pooled = take_floats(a, n * h);
    m->dropped = take_floats(a, n * h);
    m->logits = take_floats(a, n * m->classes);
    m->dlogits = take_floats(a, n * m->classes);
    if (m->training) m->dpooled = take_floats(a, n * h);
}

static void take_masked_head(allocator *a, model *m, int64_t slice) {
    masked_head *k = &m->masked;
    int64_t n = k->capacity, rows = slice < n ? slice : n, h = m->config.hidden;
    k->slices = take(a, m->place->team, sizeof *k->slices);
    k->input = take_floats(a, rows * h);
    k->act = take_floats(a, rows * h);
    if (m->training) {
        k->slope = take_floats(a, rows * h);
        k->normalised = take_floats(a, rows * h);
        k->rstd = take_floats(a, rows);
    }
    k->logits = take_floats(a, n * m->mine->vocabulary.count);
    k->lse = take(a, n, sizeof *k->lse);
    k->mine = take(a, n, sizeof *k->mine);
    k->all = take(a, m->place->team * n, sizeof *k->all);
}

// Tokens of a rank's slice, at most.
static int64_t slice_most(const model *m) { return m->max_tokens / m->place->team + 1; }

static void take_activations(allocator *a, model *m) {
    int64_t t = m->max_tokens, h = m->config.hidden, slice = slice_most(m);
    int64_t local = m->mine->heads.count * (h / m->config.heads), neurons = intermediate_floats(m);
    for (int f = 0; f < m->flights; f++) take_flight(a, m, &m->kept[f], slice);
    m->scratch = take_floats(a, t * local > neurons ? t * local : neurons);
    m->attention_scratch = take_floats(a, attention_scratch_size(m->longest));
    m->row_buffer = take_floats(a, slice * h);
    if (m->has_head && m->head == HEAD_CLASSIFIER) take_classifier(a, m);
    if (m->has_head && m->head == HEAD_MASKED_LM) take_masked_head(a, m, slice);
    if (!m->training) return;
    m->dqkv = take_floats(a, 3 * t * local);
    m->dresidual = take_floats(a, slice * h);
}

// ---- the whole

// Which rows this rank updates and saves.
static void share_update(model *m, const topology *t) {
    m->table.duplicate = t->replica > 0 && !m->zero;
    for (size_t i = 0; m->zero && i < m->table.n; i++) {
        range own = reduction_share(m->table.rows[i].size[0], t->replica, t->replicas);
        parameter_own(&m->table.rows[i], own.first, own.count);
    }
}

void model_take_flight(model *m, int flight) {
    REQUIRE(flight < m->flights);
    m->flight = flight;
    m->caches = m->kept[flight].layers;
}

void model_plan(model *m, const model_config *config, const model_request *request, const topology *t,
                const placement *place) {
    *m = (model){.config = *config,
                 .head = request->head,
                 .masked.capacity = request->max_masked,
                 .classes = request->classes,
                 .stack = request->layers.count ? request->layers : (range){0, config->layers},
                 .reduced = request->layers.count ? request->layers.count : config->layers,
                 .has_embeddings = t->stage == 0,
                 .has_head = t->stage == t->stages - 1,
                 .zero = t->zero && request->training,
                 .flights = request->training ? schedule_flights(t->stage, t->stages) : 1,
                 .mine = &place->shares[t->team_rank],
                 .place = place,
                 .training = request->training,
                 .recompute = request->recompute,
                 .max_tokens = request->max_tokens,
                 .max_sequences = request->max_sequences,
                 .longest = request->longest};
    REQUIRE(m->max_tokens >= m->longest);
    build_table(m, t->team_rank == 0);
    share_update(m, t);
    parameter_measure(&m->table);
    m->kept = memory_allocate((size_t)m->flights, sizeof *m->kept);
    for (int f = 0; f < m->flights; f++)
        m->kept[f].layers = memory_allocate((size_t)m->stack.count, sizeof *m->kept[f].layers);
    model_take_flight(m, 0);
    allocator measure = {0};
    take_activations(&measure, m);
    m->activation_size = measure.measured;
    m->exchange_kind = exchange_choose(t, request->exchange, m->max_tokens, config->hidden, slots_needed(m));
}

model_memory model_need(const model *m, const topology *t) {
    int64_t parameters = m->table.total * (int64_t)sizeof(float), copies = m->training;
    int64_t products = has_tiles(m) && m->mine->neurons.count
                           ? grid_product_need(m->max_tokens, m->config.hidden, m->config.intermediate)
                           : 0;
    return (model_memory){
        .parameters = parameters,
        .gradients = copies * parameters,
        .moments = 2 * copies * m->table.owned * (int64_t)sizeof(float),
        .activations = (int64_t)m->activation_size + products,
        .exchange = exchange_need(t, m->exchange_kind, m->max_tokens, m->config.hidden, slots_needed(m)) +
                    pipeline_need(t, slice_most(m) * m->config.hidden) + copies * reduction_need(t->replicas),
    };
}

bool model_allocate(model *m, const topology *t, error *err) {
    m->ex = exchange_create(t, m->exchange_kind, m->max_tokens, m->config.hidden, slots_needed(m), err);
    if (!m->ex) return false;
    m->stages = pipeline_create(t, slice_most(m) * m->config.hidden);
    if (m->training) m->replicas = reduction_create(t->replicas_comm);
    if (has_tiles(m)) m->grid = grid_create(t, m->place);
    parameter_allocate(&m->table, m->training, m->training);
    find_parameters(m);
    m->activations = arena_create("activation", m->activation_size);
    take_activations(&(allocator){.memory = &m->activations}, m);
    return true;
}

bool model_create(model *m, const model_config *config, const model_request *request, const topology *t,
                  const placement *place, error *err) {
    model_plan(m, config, request, t, place);
    return model_allocate(m, t, err);
}

void model_destroy(model *m) {
    exchange_destroy(m->ex);
    pipeline_destroy(m->stages);
    reduction_destroy(m->replicas);
    grid_destroy(m->grid);
    parameter_destroy(&m->table);
    arena_destroy(&m->activations);
    memory_free(m->layers);
    for (int f = 0; f < m->flights; f++) memory_free(m->kept[f].layers);
    memory_free(m->kept);
    *m = (model){0};
}

void model_layers_forward(model *m, const micro_batch *batch, model_pass pass) {
    for (int64_t l = 0; l < m->stack.count; l++) layer_forward(m, l, batch, pass);
}

void model_layers_backward(model *m, const micro_batch *batch, model_pass pass) {
    for (int64_t l = m->stack.count - 1; l >= 0; l--) {
        layer_backward(m, l, l == m->stack.count - 1, batch, pass);
        if (pass.final && m->replicas) replicas_reduce_layer(m, l);
    }
}

static void encode(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(batch->tokens <= m->max_tokens && batch->sequences <= m->max_sequences);
    exchange_begin(m->ex, m->place, batch->tokens);
    if (m->has_embeddings)
        embedding_forward(m, batch, pass);
    else
        stage_receive_forward(m);
    model_layers_forward(m, batch, pass);
    if (!m->has_head) stage_send_forward(m);
}

// From m->dresidual, which the head has set, or the stage behind.
static void encode_backward(model *m, const micro_batch *batch, model_pass pass) {
    model_layers_backward(m, batch, pass);
    if (m->has_embeddings)
        embedding_backward(m, batch, pass);
    else
        stage_send_backward(m);
}

void model_forward(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(m->head == HEAD_CLASSIFIER);
    encode(m, batch, pass);
    m->head_n = 0;
    if (m->has_head) head_forward(m, batch, pass);
}

void model_backward(model *m, const micro_batch *batch, model_pass pass) {
    REQUIRE(m->training);
    exchange_begin(m->ex, m->place, batch->tokens);
    if (m->has_head)
        head_backward(m, batch, pass);
    else
        stage_receive_backward(m);
    encode_backward(m, batch, pass);
}

double model_masked_forward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                            int64_t *correct) {
    REQUIRE(m->head == HEAD_MASKED_LM && masked->n <= m->masked.capacity);
    encode(m, batch, pass);
    *correct = 0;
    return m->has_head ? masked_forward(m, batch, masked, pass, correct) : 0;
}

void model_masked_backward(model *m, const micro_batch *batch, const masked_tokens *masked, model_pass pass,
                           float scale) {
    REQUIRE(m->training);
    if (m->has_head) {
        masked_backward(m, batch, masked, scale);
    } else {
        exchange_begin(m->ex, m->place, batch->tokens);
        stage_receive_backward(m);
    }
    encode_backward(m, batch, pass);
}
