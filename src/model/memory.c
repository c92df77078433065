// Activations: what a micro-batch takes, measured first and then handed out of one arena.
#include "model/internal.h"

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
    if (!model_has_tiles(m)) return m->max_tokens * m->mine->neurons.count;
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
int64_t model_slice_max(const model *m) { return m->max_tokens / m->place->team + 1; }

static void take_activations(allocator *a, model *m) {
    int64_t t = m->max_tokens, h = m->config.hidden, slice = model_slice_max(m);
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

size_t model_measure_activations(model *m) {
    allocator measure = {0};
    take_activations(&measure, m);
    return measure.measured;
}

void model_take_activations(model *m) {
    m->activations = arena_create("activation", m->activation_size);
    take_activations(&(allocator){.memory = &m->activations}, m);
}
