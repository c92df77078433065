#include "analysis/internal.h"

#include <string.h>

double variant_need(const variant *v) {
    if (!v->inside) return 0;
    model_memory m = model_need(&v->m, &v->topo);
    return (double)(m.parameters + m.gradients + m.moments + m.activations + m.exchange);
}

// Does what the ranks of a node will need together fit into what it has left?
static bool fits(const variant *v, error *err) {
    const double gib = 1 << 30;
    double need = variant_need(v), have;
    return comm_node_fits(&need, &have) ||
           error_set(err, ERROR_INPUT,
                     "\"%s\" needs %.1f GiB of a node, but it has %.1f GiB free; take fewer layers (--bench.layers), "
                     "or fewer tokens at a time (--bench.tokens, for a step --bench.micro_tokens)",
                     v->name, need / gib, have / gib);
}

bool variant_open(variant *v, const bench *b, double length, model_request request, error *err) {
    model_config config = b->config;
    config.design = v->design;
    topology_create_partial(&v->topo, v->team ? b->attention : 0, v->team ? b->ffn : 0);
    v->inside = comm_rank(v->topo.world) < (v->team && bench_has_team(b) ? b->attention + b->ffn : 1);
    placement_request wanted = model_placement_request(&config, &v->topo, v->balance, length);
    wanted.cost = bench_cost(b, length);
    wanted.tiles = v->tiles;
    if (v->inside && placement_create(&v->place, &wanted, err)) {
        request.exchange = v->topo.team > 1 ? request.exchange : EXCHANGE_LOCAL;
        model_plan(&v->m, &config, &request, &v->topo, &v->place);
    }
    if (!comm_agree(v->topo.world, err)) return false;
    fits(v, err);
    if (!comm_agree(v->topo.world, err)) return false;
    if (v->inside && model_allocate(&v->m, &v->topo, err)) {
        parameter_initialise(&v->m.table, 1, config.initializer_range);
        v->times = series_create(b->settings->repeats);
    }
    return comm_agree(v->topo.world, err);
}

void variant_close(variant *v) {
    series_destroy(&v->times);
    if (v->m.mine) model_destroy(&v->m);
    placement_destroy(&v->place);
    topology_destroy(&v->topo);
}

// ---- its times

void variant_time(variant *v, void (*work)(variant *v, void *context), void *context) {
    comm_barrier_asleep(v->topo.world);
    if (v->inside) {
        double spans[SPAN_COUNT];
        comm_barrier(v->topo.team_comm);
        time_span_collect(spans);
        traffic sent = comm_traffic();
        double before = time_now();
        work(v, context);
        comm_barrier(v->topo.team_comm);
        series_add(&v->times, time_now() - before);
        v->messages += (double)(comm_traffic().messages - sent.messages);
        v->bytes += (double)(comm_traffic().bytes - sent.bytes);
        variant_collect(v, spans);
    }
    comm_barrier_asleep(v->topo.world);
}

void variant_collect(variant *v, double spans[SPAN_COUNT]) {
    time_span_collect(spans);
    for (int i = 0; i < SPAN_COUNT; i++) v->spans[i] += spans[i];
}

void variant_sum_spans(variant *v) {
    comm_sum_doubles(comm_world(), v->spans, SPAN_COUNT);
    comm_sum_doubles(comm_world(), &v->messages, 1);
    comm_sum_doubles(comm_world(), &v->bytes, 1);
}

double variant_share(const variant *v, span what) {
    double all = 0;
    for (int i = 0; i < SPAN_COUNT; i++) all += v->spans[i];
    return all > 0 ? v->spans[what] / all : 0;
}

void variant_set_shares(const variant *v, json_t *row) {
    for (int i = 0; i < SPAN_COUNT; i++) json_object_set_new(row, span_names[i], json_real(variant_share(v, (span)i)));
}
