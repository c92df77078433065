// A profile for parallel.profile: what the blocks of a layer take of a rank, all ranks being busy with the same.
#include "analysis/kernels.h"

#include "storage/storage.h"

#include <math.h>

enum { WHOLE, HALF, SIZES };

// Two sizes of a layer, one with all heads and neurons, one with half of them; all lengths take turns.
typedef struct {
    workbench benches[SIZES];
    int64_t heads[SIZES], neurons[SIZES];
    int lengths;
    int64_t length[PROFILE_LENGTHS];
    series attention[PROFILE_LENGTHS][SIZES]; // of each round, the mean over ranks
    series ffn[SIZES];
} profiler;

// 16, 32, ... 512, as far as the model has positions and the micro-batch tokens; the last is what there is.
static void choose_lengths(profiler *p, const model_config *c, int64_t tokens) {
    int64_t most = model_longest(c) < tokens ? model_longest(c) : tokens;
    for (int64_t length = 16; p->lengths == 0 || (length <= 512 && p->length[p->lengths - 1] < most); length *= 2)
        p->length[p->lengths++] = length < most ? length : most;
}

static bool open_benches(profiler *p, const workbench *w, error *err) {
    model_config c = w->config;
    c.vocabulary = 64; // a layer knows no words
    p->heads[WHOLE] = c.heads;
    p->heads[HALF] = c.heads > 1 ? c.heads / 2 : 1;
    p->neurons[WHOLE] = c.intermediate;
    p->neurons[HALF] = c.intermediate > 1 ? c.intermediate / 2 : 1;
    for (int i = 0; i < SIZES; i++) {
        const workbench_request request = {.layers = 1,
                                           .heads = p->heads[i],
                                           .neurons = p->neurons[i],
                                           .tokens = w->batch.tokens,
                                           .length = p->length[0],
                                           .longest = p->length[p->lengths - 1]};
        if (!workbench_open(&p->benches[i], &c, &request, err)) return false;
    }
    return true;
}

// One layer, forward and backward: seconds of its blocks, the mean over ranks.
static void time_layer(profiler *p, int length, int size) {
    comm *world = comm_world();
    workbench *w = &p->benches[size];
    double spans[SPAN_COUNT];
    workbench_set_length(w, p->length[length]);
    comm_barrier(world);
    time_span_collect(spans);
    exchange_begin(w->m.ex, &w->place, w->batch.tokens);
    model_layers_forward(&w->m, &w->batch, (model_pass){.train = true, .seed = 1});
    model_layers_backward(&w->m, &w->batch, (model_pass){.train = true, .seed = 1});
    time_span_collect(spans);
    comm_sum_doubles(world, spans, SPAN_COUNT);
    series_add(&p->attention[length][size], spans[SPAN_ATTENTION] / comm_size(world));
    series_add(&p->ffn[size], spans[SPAN_FFN] / comm_size(world));
}

static void take_times(profiler *p, int64_t repeats) {
    for (int size = 0; size < SIZES; size++) {
        p->ffn[size] = series_create(repeats * p->lengths);
        for (int l = 0; l < p->lengths; l++) p->attention[l][size] = series_create(repeats);
    }
    for (int64_t round = 0; round < repeats; round++) {
        for (int l = 0; l < p->lengths; l++)
            for (int size = 0; size < SIZES; size++) time_layer(p, l, size);
        log_progress("profile, round %lld/%lld", (long long)round + 1, (long long)repeats);
    }
}

// The line through two sizes; through one where there is no other, or where noise would have it that half takes as
// long as the whole, or that a block of nothing takes less than no time.
static void fit(double *base, double *piece, series times[SIZES], const int64_t pieces[SIZES], double tokens) {
    for (int size = 0; size < SIZES; size++) series_sort(&times[size]);
    double whole = series_median(&times[WHOLE]) / tokens, half = series_median(&times[HALF]) / tokens;
    double all = (double)pieces[WHOLE], more = (double)(pieces[WHOLE] - pieces[HALF]);
    *piece = more > 0 ? (whole - half) / more : 0;
    if (*piece <= 0 || *piece * all > whole) *piece = whole / all;
    *base = fmax(whole - *piece * all, 0);
}

static model_profile conclude(profiler *p, const workbench *w, const double seconds[KERNEL_PARTS]) {
    const model_config *c = &w->config;
    double tokens = (double)w->batch.tokens, parameters = 0;
    for (size_t i = 0; i < w->m.table.n; i++) parameters += (double)parameter_count(&w->m.table.rows[i]);
    model_profile out = {
        .hidden = c->hidden,
        .heads = c->heads,
        .intermediate = c->intermediate,
        .vocabulary = c->vocabulary,
        .tokens = w->batch.tokens,
        .lengths = p->lengths,
        .adamw = (seconds[PART_UPDATE] + seconds[PART_ADAMW]) / parameters,
        .lamb = (seconds[PART_UPDATE] + seconds[PART_LAMB]) / parameters,
        .embedding = seconds[PART_EMBEDDING] / tokens,
        .word = seconds[PART_WORDS] / ((double)w->masked.n * (double)c->vocabulary),
    };
    fit(&out.ffn, &out.neuron, p->ffn, p->neurons, tokens);
    for (int l = 0; l < p->lengths; l++) {
        out.attention[l].length = (double)p->length[l];
        fit(&out.attention[l].base, &out.attention[l].head, p->attention[l], p->heads, tokens);
    }
    return out;
}

bool profile_write(const char *path, const workbench *w, const double seconds[KERNEL_PARTS], int64_t repeats,
                   error *err) {
    comm *world = comm_world();
    profiler p = {0};
    choose_lengths(&p, &w->config, w->batch.tokens);
    bool ok = open_benches(&p, w, err);
    if (ok) {
        take_times(&p, repeats);
        model_profile profile = conclude(&p, w, seconds);
        json_t *json = model_profile_to_json(&profile);
        if (comm_rank(world) == 0 && json_write(path, json, err)) printf("profile written: %s\n", path);
        json_decref(json);
        ok = comm_agree(world, err);
    }
    for (int size = 0; size < SIZES; size++) {
        series_destroy(&p.ffn[size]);
        for (int l = 0; l < p.lengths; l++) series_destroy(&p.attention[l][size]);
        if (p.benches[size].topo.team_comm) workbench_close(&p.benches[size]);
    }
    return ok;
}
