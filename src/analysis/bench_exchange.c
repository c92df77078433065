#include "analysis/internal.h"

#include <string.h>

const option bench_exchange_options[] = {
    {"bench.balance", OPTION_BOOL, offsetof(bench_settings, balance), "on",
     .help = "share out both blocks, as training does; off: the groups hand in one partial each"},
    {0},
};

enum { LAYERS = 4, MOST_COUNTS = 5, MOST_KINDS = 2, MOST_WAYS = MOST_KINDS + 1, BARRIERS = 100 };
enum { FORWARD, BACKWARD, PASSES };

static const char *const pass_names[PASSES] = {"forward", "backward"};

// What an all-reduce needs on every rank: whole activations, where the exchange has a slice.
typedef struct {
    float *partials[2]; // [T, H] of either branch
    float *x, *y;       // [T, H]
    float *normalised;  // [T, H]
    float *rstd;        // [T]
    float *dx;          // [T, H] the gradient's partial
    float *ds, *d[2];   // [T, H] the gradient at the LayerNorm's input, and at either branch's output
} whole_rows;

typedef struct exchange_bench exchange_bench;
typedef void (*pass_function)(exchange_bench *x, variant *v);

// One way to do it, on the ranks of a variant.
typedef struct {
    const char *name;
    variant *v;
    pass_function passes[PASSES];
    series times[PASSES]; // seconds of a layer, for the current number of tokens
} way;

struct exchange_bench {
    bench b;
    int kinds;
    variant variants[MOST_KINDS]; // one a kind of exchange
    int n_ways;
    way ways[MOST_WAYS];
    int n_counts;
    int64_t counts[MOST_COUNTS]; // of tokens
    whole_rows rows;             // in memory; empty on one rank
    arena memory;
    micro_batch batch; // of the current number of tokens
    series barriers;   // seconds
};

// ---- a layer without its blocks

// The model's own layers, of ranks whose share says that they own nothing: what is left is what surrounds the blocks.
// Who hands in partials is a matter of the placement, which stays as it is.
static const placement_share nothing;

static void kind_forward(exchange_bench *x, variant *v) {
    model_layers_forward(&v->m, &x->batch, (model_pass){.train = true});
}

static void kind_backward(exchange_bench *x, variant *v) {
    model_layers_backward(&v->m, &x->batch, (model_pass){.train = true});
}

static dropout branch_dropout(const exchange_bench *x, int branch, int64_t layer) {
    static const random_purpose purposes[] = {RANDOM_DROPOUT_ATTENTION, RANDOM_DROPOUT_FFN};
    return (dropout){.p = (float)x->b.config.hidden_dropout,
                     .stream = random_stream_create(0, purposes[branch], 0, (uint32_t)layer)};
}

// The same without slices: the partials of both branches are all-reduced, and every rank does the whole LayerNorm.
static void all_reduce_forward(exchange_bench *x, variant *v) {
    whole_rows *r = &x->rows;
    int64_t tokens = x->batch.tokens, h = v->m.config.hidden;
    for (int64_t l = 0; l < LAYERS; l++) {
        const layer_parameters *layer = &v->m.layers[l];
        const linear outputs[] = {layer->attention_output, layer->output}, norm = layer->output_norm;
        layernorm_branch branches[2];
        for (int i = 0; i < 2; i++) {
            comm_sum_floats(v->topo.team_comm, r->partials[i], tokens * h);
            branches[i] = (layernorm_branch){(const float *const *)&r->partials[i], 1, outputs[i].bias->value,
                                             branch_dropout(x, i, l)};
        }
        sum_layernorm_forward(r->y, r->normalised, r->rstd, r->x, branches, 2, x->batch.numbers, norm.weight->value,
                              norm.bias->value, (float)v->m.config.norm_epsilon, tokens, h);
    }
}

static void all_reduce_backward(exchange_bench *x, variant *v) {
    whole_rows *r = &x->rows;
    int64_t tokens = x->batch.tokens, h = v->m.config.hidden;
    for (int64_t l = LAYERS - 1; l >= 0; l--) {
        const layer_parameters *layer = &v->m.layers[l];
        const linear outputs[] = {layer->attention_output, layer->output}, norm = layer->output_norm;
        layernorm_branch_gradient branches[2];
        for (int i = 0; i < 2; i++)
            branches[i] = (layernorm_branch_gradient){r->d[i], outputs[i].bias->gradient, branch_dropout(x, i, l)};
        sum_layernorm_backward(r->ds, norm.weight->gradient, norm.bias->gradient, branches, 2, r->ds,
                               (const float *const *)&r->dx, l < LAYERS - 1, r->normalised, r->rstd, norm.weight->value,
                               x->batch.numbers, tokens, h);
        comm_sum_floats(v->topo.team_comm, r->dx, tokens * h);
    }
}

// Bytes that a layer of any kind has to read or write somewhere on the team, whoever does it: forward the owners'
// partials, x, y, and what LayerNorm keeps; backward the gradient (in and out), what LayerNorm kept, the gradients of
// both branches, and every rank's partial, in all layers but the last.
static double bytes_to_move(const exchange_bench *x, int pass) {
    const placement *p = &x->variants[0].place;
    int owners = 0;
    for (int r = 0; r < p->team; r++) owners += p->owns_heads[r] + p->owns_neurons[r];
    double buffers = pass == FORWARD ? owners + 3 : 5 + p->team * (LAYERS - 1.0) / LAYERS;
    return buffers * (double)(x->batch.tokens * x->b.config.hidden) * sizeof(float);
}

// ---- times

// So many layers that a clock can tell.
static int64_t iterations(int64_t tokens) { return tokens <= 32 ? 64 : tokens <= 2048 ? 2048 / tokens : 1; }

static void time_way(exchange_bench *x, way *w) {
    comm *team = w->v->topo.team_comm;
    int64_t n = iterations(x->batch.tokens);
    for (int p = 0; p < PASSES; p++) {
        comm_barrier(team);
        double before = time_now();
        for (int64_t i = 0; i < n; i++) w->passes[p](x, w->v);
        comm_barrier(team);
        series_add(&w->times[p], (time_now() - before) / (double)(n * LAYERS));
    }
}

static void time_barriers(exchange_bench *x) {
    double before = time_now();
    for (int i = 0; i < BARRIERS; i++) comm_barrier(comm_world());
    series_add(&x->barriers, (time_now() - before) / BARRIERS);
}

static void fill(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)(i % 17) - 8;
}

// x and the gradient have something to normalise. Partials are zero and stay so, however often they are summed.
static void prepare(exchange_bench *x, int64_t tokens) {
    int64_t h = x->b.config.hidden;
    x->batch = synthetic_batch(tokens, x->b.settings->length, x->b.config.vocabulary);
    for (int k = 0; k < x->kinds; k++) {
        variant *v = &x->variants[k];
        exchange_begin(v->m.ex, &v->place, tokens);
        range mine = exchange_slice(v->m.ex);
        fill(exchange_slot(v->m.ex, 0) + mine.first * h, mine.count * h);
        fill(v->m.dresidual, mine.count * h);
    }
    if (!bench_has_team(&x->b)) return;
    fill(x->rows.x, tokens * h);
    fill(x->rows.ds, tokens * h);
}

static void measure(exchange_bench *x, int64_t done, int64_t all) {
    int64_t rounds = x->b.settings->repeats;
    for (int i = 0; i < x->n_ways; i++) // touches all memory
        for (int p = 0; p < PASSES; p++) {
            x->ways[i].passes[p](x, x->ways[i].v);
            x->ways[i].times[p].n = 0;
        }
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < x->n_ways; i++) time_way(x, &x->ways[i]);
        bench_log_progress(&x->b, done + r + 1, all);
    }
}

// ---- what came out

static json_t *report_way(const exchange_bench *x, way *w) {
    json_t *row = json_pack("{s:I, s:s}", "tokens", (json_int_t)x->batch.tokens, "kind", w->name);
    printf("%8lld  %-12s", (long long)x->batch.tokens, w->name);
    for (int p = 0; p < PASSES; p++) {
        series *s = &w->times[p];
        series_sort(s);
        double rate = bytes_to_move(x, p) / series_median(s) / 1e9;
        printf(" %9.1f %9.1f to %-9.1f %6.1f", 1e6 * series_median(s), 1e6 * series_quantile(s, 0.25),
               1e6 * series_quantile(s, 0.75), rate);
        json_t *figures = json_pack("{s:f, s:f}", "bytes", bytes_to_move(x, p), "gb_per_s", rate);
        series_to_json(s, figures);
        json_object_set_new(row, pass_names[p], figures);
    }
    printf("\n");
    return row;
}

static void report_head(const exchange_bench *x) {
    char what[256];
    snprintf(what, sizeof what, "the exchange of one PAF layer of hidden size %lld, balance %s, dropout on",
             (long long)x->b.config.hidden, x->b.settings->balance ? "on" : "off");
    bench_print_head(&x->b, what);
    if (bench_has_team(&x->b))
        printf("a barrier between the ranks, by messages: %.1f us, quartiles %.1f to %.1f\n"
               "all-reduce: slices all to all, summed in rank order, gathered; then every rank does the whole "
               "LayerNorm\n\n",
               1e6 * series_median(&x->barriers), 1e6 * series_quantile(&x->barriers, 0.25),
               1e6 * series_quantile(&x->barriers, 0.75));
    printf("%8s  %-12s %9s %22s %6s %9s %22s %6s\n", "tokens", "kind", "fwd us", "quartiles", "GB/s", "bwd us",
           "quartiles", "GB/s");
}

static json_t *report_common(exchange_bench *x) {
    json_t *whole = bench_json_head(&x->b), *barrier = json_object();
    series_to_json(&x->barriers, barrier);
    json_object_set_new(whole, "barrier", barrier);
    json_object_set_new(whole, "balance", json_boolean(x->b.settings->balance));
    json_object_set_new(whole, "exchanges", json_array());
    return whole;
}

// All counts, each told when it is done. The JSON on the root, the caller's; NULL elsewhere.
static json_t *measure_and_report(exchange_bench *x) {
    bool root = comm_rank(comm_world()) == 0;
    int64_t rounds = x->b.settings->repeats;
    bench_measure_peak(&x->b);
    bench_settle(&x->b);
    for (int64_t r = 0; r < rounds; r++) time_barriers(x);
    series_sort(&x->barriers);
    json_t *whole = root ? report_common(x) : NULL;
    if (root) report_head(x);
    for (int c = 0; c < x->n_counts; c++) {
        prepare(x, x->counts[c]);
        measure(x, c * rounds, x->n_counts * rounds);
        for (int i = 0; root && i < x->n_ways; i++)
            json_array_append_new(json_object_get(whole, "exchanges"), report_way(x, &x->ways[i]));
        micro_batch_destroy(&x->batch);
    }
    return whole;
}

// ---- the run

static void choose_counts(exchange_bench *x) {
    static const int64_t usual[MOST_COUNTS] = {1, 16, 128, 1024, 4096};
    int64_t asked = x->b.settings->tokens;
    if (option_is_set("bench.tokens")) {
        x->counts[x->n_counts++] = 1; // the latency
        if (asked > 1) x->counts[x->n_counts++] = asked;
    } else
        for (; x->n_counts < MOST_COUNTS; x->n_counts++) x->counts[x->n_counts] = usual[x->n_counts];
}

static void add_way(exchange_bench *x, const char *name, variant *v, pass_function forward, pass_function backward) {
    way *w = &x->ways[x->n_ways++];
    *w = (way){.name = name, .v = v, .passes = {forward, backward}};
    for (int p = 0; p < PASSES; p++) w->times[p] = series_create(x->b.settings->repeats);
}

// A kind that cannot be had here is left out, unless it was asked for by name.
static bool open_kind(exchange_bench *x, exchange_kind kind, bool asked, error *err) {
    int64_t most = x->counts[x->n_counts - 1];
    const model_request request = {.classes = 1,
                                   .max_tokens = most,
                                   .max_sequences = (most + x->b.settings->length - 1) / x->b.settings->length,
                                   .longest = smaller(most, x->b.settings->length),
                                   .training = true,
                                   .exchange = kind};
    variant *v = &x->variants[x->kinds];
    *v = (variant){.name = exchange_words[kind], .design = DESIGN_PAF, .team = true, .balance = x->b.settings->balance};
    if (!variant_open(v, &x->b, (double)request.longest, request, err)) {
        variant_close(v);
        if (asked) return false;
        log_info("%s is left out: %s", exchange_words[kind], err->text);
        error_clear(err);
        return true;
    }
    v->m.mine = &nothing;
    x->kinds++;
    add_way(x, exchange_kind_name(v->m.ex), v, kind_forward, kind_backward);
    return true;
}

static bool open_kinds(exchange_bench *x, error *err) {
    exchange_kind asked = x->b.settings->exchange;
    if (!bench_has_team(&x->b)) return open_kind(x, EXCHANGE_LOCAL, true, err);
    if (asked != EXCHANGE_AUTO) return open_kind(x, asked, true, err);
    return open_kind(x, EXCHANGE_SHARED, false, err) && open_kind(x, EXCHANGE_MPI, true, err);
}

static void open_all_reduce(exchange_bench *x) {
    if (!bench_has_team(&x->b)) return;
    whole_rows *r = &x->rows;
    float **const buffers[] = {&r->partials[0], &r->partials[1], &r->x,  &r->y,    &r->normalised,
                               &r->rstd,        &r->dx,          &r->ds, &r->d[0], &r->d[1]};
    const size_t n = sizeof buffers / sizeof *buffers;
    size_t floats = (size_t)(x->counts[x->n_counts - 1] * x->b.config.hidden);
    x->memory = arena_create("all-reduce", n * arena_footprint(floats, sizeof(float)));
    for (size_t i = 0; i < n; i++) *buffers[i] = arena_allocate(&x->memory, floats, sizeof(float));
    add_way(x, "all-reduce", &x->variants[0], all_reduce_forward, all_reduce_backward);
}

static void close_all(exchange_bench *x) {
    arena_destroy(&x->memory);
    for (int i = 0; i < x->n_ways; i++)
        for (int p = 0; p < PASSES; p++) series_destroy(&x->ways[i].times[p]);
    for (int k = 0; k < x->kinds; k++) variant_close(&x->variants[k]);
    series_destroy(&x->barriers);
    bench_close(&x->b);
}

bool bench_exchange(const bench_settings *settings, error *err) {
    exchange_bench x = {0};
    bool ok = bench_open(&x.b, "exchange", settings, DESIGN_PAF, LAYERS, err);
    x.b.config.vocabulary = 64; // no embedding is looked at
    x.barriers = series_create(settings->repeats);
    choose_counts(&x);
    ok = ok && open_kinds(&x, err);
    if (ok) {
        open_all_reduce(&x);
        ok = bench_finish(&x.b, measure_and_report(&x), err);
    }
    close_all(&x);
    return ok;
}
