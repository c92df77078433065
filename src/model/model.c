// The state of a model: planned, allocated, destroyed.
#include "model/internal.h"

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
    model_build_table(m, t->team_rank == 0);
    share_update(m, t);
    parameter_measure(&m->table);
    m->kept = memory_allocate((size_t)m->flights, sizeof *m->kept);
    for (int f = 0; f < m->flights; f++)
        m->kept[f].layers = memory_allocate((size_t)m->stack.count, sizeof *m->kept[f].layers);
    model_take_flight(m, 0);
    m->activation_size = model_measure_activations(m);
    m->exchange_kind = exchange_choose(t, request->exchange, m->max_tokens, config->hidden, slots_needed(m));
}

model_memory model_need(const model *m, const topology *t) {
    int64_t parameters = m->table.total * (int64_t)sizeof(float), copies = m->training;
    int64_t products = model_has_tiles(m) && m->mine->neurons.count
                           ? grid_product_need(m->max_tokens, m->config.hidden, m->config.intermediate)
                           : 0;
    return (model_memory){
        .parameters = parameters,
        .gradients = copies * parameters,
        .moments = 2 * copies * m->table.owned * (int64_t)sizeof(float),
        .activations = (int64_t)m->activation_size + products,
        .exchange = exchange_need(t, m->exchange_kind, m->max_tokens, m->config.hidden, slots_needed(m)) +
                    pipeline_need(t, model_slice_max(m) * m->config.hidden) + copies * reduction_need(t->replicas),
    };
}

bool model_allocate(model *m, const topology *t, error *err) {
    m->ex = exchange_create(t, m->exchange_kind, m->max_tokens, m->config.hidden, slots_needed(m), err);
    if (!m->ex) return false;
    m->stages = pipeline_create(t, model_slice_max(m) * m->config.hidden);
    if (m->training) m->replicas = reduction_create(t->replicas_comm);
    if (model_has_tiles(m)) m->grid = grid_create(t, m->place);
    parameter_allocate(&m->table, m->training, m->training);
    model_find_parameters(m);
    model_take_activations(m);
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
