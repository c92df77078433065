// Which tensors this rank's part of the model has: rows of the parameter table.
#include "model/internal.h"

bool model_has_tiles(const model *m) { return m->place->grid.rows > 0; }

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
    bool tiles = model_has_tiles(b->m);
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

void model_build_table(model *m, bool first_rank) {
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

void model_find_parameters(model *m) {
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
