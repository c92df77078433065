#include "parallel/exchange.h"

#include <string.h>

// ---- the kind that needs nothing

int64_t exchange_buffer_floats(const exchange *e) {
    return (int64_t)(arena_footprint((size_t)(e->max_tokens * e->hidden), sizeof(float)) / sizeof(float));
}

void exchange_allocate_private(exchange *e) {
    size_t floats = (size_t)exchange_buffer_floats(e);
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) e->partials[i] = memory_allocate_aligned(floats, sizeof(float));
    for (int s = 0; s < e->n_slots; s++) e->slots[s] = memory_allocate_aligned(floats, sizeof(float));
}

void exchange_free_private(exchange *e) {
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) memory_free(e->partials[i]);
    for (int s = 0; s < e->n_slots; s++) memory_free(e->slots[s]);
}

static bool local_open(exchange *e, error *err) {
    if (comm_size(e->team) > 1)
        return error_set(err, ERROR_INPUT,
                         "parallel.exchange=local is for a team of one rank, this one has %d; use auto, shared or mpi",
                         comm_size(e->team));
    exchange_allocate_private(e);
    return true;
}

static void local_reduce(exchange *e, const exchange_item *partials, int n) {
    for (int k = 0; k < n; k++) {
        int i = partials[k].index;
        e->n_parts[i] = partials[k].ranks[0];
        e->parts[i][0] = e->partials[i];
    }
}

static void local_gather(exchange *e, const exchange_item *slots, int n) { (void)e, (void)slots, (void)n; }

const exchange_operations exchange_local = {EXCHANGE_LOCAL, local_open, exchange_free_private, local_reduce,
                                            local_gather};

// ---- the interface

exchange_kind exchange_choose(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots) {
    if (kind != EXCHANGE_AUTO) return kind;
    if (t->team == 1) return EXCHANGE_LOCAL;
    const exchange wanted = {.team = t->team_comm, .max_tokens = max_tokens, .hidden = hidden, .n_slots = slots};
    error err = {0};
    if (exchange_shared_possible(&wanted, &err)) return EXCHANGE_SHARED;
    log_info("exchange: %s; using mpi", err.text);
    return EXCHANGE_MPI;
}

static bool open_kind(exchange *e, exchange_kind kind, error *err) {
    const exchange_operations *const kinds[] = {
        [EXCHANGE_LOCAL] = &exchange_local, [EXCHANGE_SHARED] = &exchange_shared, [EXCHANGE_MPI] = &exchange_mpi};
    e->operations = kinds[kind];
    return e->operations->open(e, err);
}

exchange *exchange_create(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots,
                          error *err) {
    exchange *e = memory_allocate(1, sizeof *e);
    size_t team = (size_t)comm_size(t->team_comm);
    *e = (exchange){.team = t->team_comm, .max_tokens = max_tokens, .hidden = hidden, .n_slots = slots};
    e->slices = memory_allocate(team, sizeof *e->slices);
    e->slots = memory_allocate((size_t)slots, sizeof *e->slots);
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) e->parts[i] = memory_allocate(team, sizeof *e->parts[i]);
    if (open_kind(e, exchange_choose(t, kind, max_tokens, hidden, slots), err)) return e;
    e->operations = NULL;
    exchange_destroy(e);
    return NULL;
}

int64_t exchange_need(const topology *t, exchange_kind kind, int64_t max_tokens, int64_t hidden, int slots) {
    int64_t buffer = (int64_t)arena_footprint((size_t)(max_tokens * hidden), sizeof(float));
    bool messages = kind == EXCHANGE_MPI;
    if (t->team == 1 || messages) return buffer * (EXCHANGE_PARTIALS * (1 + messages) + slots);
    return buffer * ((int64_t)t->team * EXCHANGE_PARTIALS + slots) / t->team;
}

void exchange_destroy(exchange *e) {
    if (!e) return;
    if (e->operations) e->operations->close(e);
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) memory_free(e->parts[i]);
    memory_free(e->slots);
    memory_free(e->slices);
    memory_free(e);
}

const char *exchange_kind_name(const exchange *e) { return exchange_words[e->operations->kind]; }

void exchange_begin(exchange *e, const placement *p, int64_t tokens) {
    REQUIRE(tokens <= e->max_tokens && p->team == comm_size(e->team));
    for (int r = 0; r < p->team; r++) e->slices[r] = placement_tokens(p, r, tokens);
}

void exchange_begin_rows(exchange *e, const range *slices) {
    int team = comm_size(e->team);
    REQUIRE(slices[team - 1].first + slices[team - 1].count <= e->max_tokens);
    memcpy(e->slices, slices, (size_t)team * sizeof *slices);
}

range exchange_slice(const exchange *e) { return e->slices[comm_rank(e->team)]; }
float *exchange_partial(exchange *e, int partial) { return e->partials[partial]; }
float *exchange_slot(exchange *e, int slot) { return e->slots[slot]; }

const float *const *exchange_parts(const exchange *e, int partial, int *count) {
    *count = e->n_parts[partial];
    return e->parts[partial];
}

static void with_span(void (*operation)(exchange *, const exchange_item *, int), exchange *e,
                      const exchange_item *items, int n) {
    span before = time_span(SPAN_EXCHANGE);
    operation(e, items, n);
    time_span(before);
}

void exchange_reduce(exchange *e, const exchange_item *partials, int n) {
    with_span(e->operations->reduce, e, partials, n);
}

void exchange_gather(exchange *e, const exchange_item *slots, int n) { with_span(e->operations->gather, e, slots, n); }

void exchange_collect(exchange *e, const void *mine, void *all, size_t size) {
    span before = time_span(SPAN_EXCHANGE);
    comm_gather(e->team, mine, all, size);
    time_span(before);
}
