#include "analysis/internal.h"

#include "data/data.h"
#include "model/model.h"
#include "storage/storage.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ROW(key, type, field, ...)                                                                                     \
    { key, type, offsetof(bench_settings, field), __VA_ARGS__ }
const option bench_options[] = {
    ROW("bench.config", OPTION_STRING, config, "configs/models/bert-large-uncased.json", 0, 0, NULL,
        "the layer's shape"),
    ROW("bench.team", OPTION_STRING, team, "auto", 0, 0, NULL, "A+F, or auto"),
    ROW("bench.exchange", OPTION_CHOICE, exchange, "auto", 0, 0, "auto shared mpi", "how partial sums travel"),
    ROW("bench.tokens", OPTION_INT, tokens, "1024", 1, 1 << 24, NULL, "tokens of the micro-batch"),
    ROW("bench.length", OPTION_INT, length, "128", 1, 1 << 20, NULL, "tokens of a sequence"),
    ROW("bench.layers", OPTION_INT, layers, "2", 1, 1000, NULL, "layers in the stack"),
    ROW("bench.repeats", OPTION_INT, repeats, "11", 1, 10000, NULL, "rounds; each times every variant once"),
    ROW("bench.profile", OPTION_STRING, profile, "", 0, 0, NULL, "layer: balance by this profile, as parallel.profile"),
    ROW("write-profile", OPTION_STRING, write_profile, "", 0, 0, NULL,
        "kernels: also write a profile for parallel.profile there"),
    ROW("json", OPTION_STRING, json, "", 0, 0, NULL, "also write the figures there"),
    {0},
};

// One way to compute the layers, its model on this rank, and its times.
typedef struct {
    const char *name;
    model_design design;
    bool team, balance;
    topology topo;
    placement place;
    model m;
    series times;
    double spans[SPAN_COUNT]; // summed over repeats and the team's ranks
} variant;

enum { SAF_ONE, PAF_ONE, SAF_TEAM, PAF_OFF, PAF_ON, VARIANTS };

typedef struct {
    const bench_settings *settings;
    model_config config;
    int attention, ffn;
    model_profile profile; // where the settings name one
    micro_batch batch;
    double work;    // FLOP of a forward and a backward pass
    double peak[2]; // GFLOP/s of one rank while the others sleep, and of the team together
    variant variants[VARIANTS];
} bench;

static bool in_team(const variant *v) { return comm_rank(v->topo.world) < (v->team ? v->place.team : 1); }

// tokens in sequences of the wanted length, the last one shorter; ids do not matter to a layer.
static micro_batch make_batch(int64_t tokens, int64_t length) {
    int64_t sequences = (tokens + length - 1) / length;
    micro_batch b = micro_batch_create(tokens, sequences);
    b.tokens = tokens;
    b.sequences = sequences;
    b.longest = length < tokens ? length : tokens;
    for (int64_t i = 0; i < tokens; i++) {
        b.numbers[i] = i;
        b.positions[i] = (int32_t)(i % length);
    }
    for (int64_t s = 0; s <= sequences; s++) b.starts[s] = (int32_t)(s * length < tokens ? s * length : tokens);
    return b;
}

static bool open_variant(bench *b, variant *v, error *err) {
    const bench_settings *s = b->settings;
    model_config config = b->config;
    config.design = v->design;
    topology_create_partial(&v->topo, v->team ? b->attention : 0, v->team ? b->ffn : 0);
    placement_request wanted = model_placement_request(&config, &v->topo, v->balance, (double)s->length);
    if (*s->profile) wanted.cost = model_profile_cost(&b->profile, (double)s->length, NULL, 0);
    if (!placement_create(&v->place, &wanted, err)) return false;
    if (!in_team(v)) return true;
    const model_request request = {.classes = 1,
                                   .max_tokens = s->tokens,
                                   .max_sequences = b->batch.sequences,
                                   .longest = b->batch.longest,
                                   .training = true,
                                   .exchange = v->team ? s->exchange : "local"};
    if (!model_create(&v->m, &config, &request, &v->topo, &v->place, err)) return false;
    parameter_initialise(&v->m.table, 1, config.initializer_range);
    v->times = series_create(s->repeats);
    model_forward(&v->m, &b->batch, (model_pass){.train = true}); // fills the first slot, and touches all memory
    memset(v->m.dlogits, 0, (size_t)b->batch.sequences * sizeof *v->m.dlogits);
    model_backward(&v->m, &b->batch, (model_pass){.train = true});
    return true;
}

static bool read_profile(bench *b, error *err) {
    const char *path = b->settings->profile;
    if (!*path) return true;
    json_t *json = json_read(path, err);
    bool ok = json && model_profile_from_json(&b->profile, json, &b->config, path, err);
    json_decref(json);
    return ok;
}

static void time_variant(bench *b, variant *v) {
    comm_barrier_asleep(v->topo.world);
    if (in_team(v)) {
        double spans[SPAN_COUNT];
        comm_barrier(v->topo.team_comm);
        time_span_collect(spans);
        double before = time_now();
        exchange_begin(v->m.ex, &v->place, b->batch.tokens);
        model_layers_forward(&v->m, &b->batch, (model_pass){.train = true});
        model_layers_backward(&v->m, &b->batch, (model_pass){.train = true});
        comm_barrier(v->topo.team_comm);
        series_add(&v->times, time_now() - before);
        time_span_collect(spans);
        for (int i = 0; i < SPAN_COUNT; i++) v->spans[i] += spans[i];
    }
    comm_barrier_asleep(v->topo.world);
}

static void measure_peaks(bench *b) {
    comm *world = comm_world();
    comm_barrier_asleep(world);
    if (comm_rank(world) == 0) b->peak[0] = peak_measure(0.3);
    comm_barrier_asleep(world);
    if (comm_rank(world) < b->attention + b->ffn || comm_rank(world) == 0) b->peak[1] = peak_measure(0.3);
    comm_sum_doubles(world, b->peak, 2);
}

// ---- what came out

static json_t *report_variant(bench *b, variant *v, double one_rank) {
    double median = series_median(&v->times), all = 0;
    double gflops = b->work / median / 1e9, peak = b->peak[v->team], share = 100 * gflops / peak;
    for (int i = 0; i < SPAN_COUNT; i++) all += v->spans[i] / 100;
    printf("%-18s %8.2f %8.2f to %-8.2f %9.2f %9.1f %7.0f %% %6.0f %5.0f %5.1f %5.1f\n", v->name, 1e3 * median,
           1e3 * series_quantile(&v->times, 0.25), 1e3 * series_quantile(&v->times, 0.75), one_rank / median, gflops,
           share, v->spans[SPAN_ATTENTION] / all, v->spans[SPAN_FFN] / all, v->spans[SPAN_EXCHANGE] / all,
           v->spans[SPAN_IDLE] / all);
    json_t *row = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "variant", v->name, "speedup",
                            one_rank / median, "gflops", gflops, "share_of_peak", share / 100, "attention",
                            v->spans[SPAN_ATTENTION] / all / 100, "ffn", v->spans[SPAN_FFN] / all / 100, "exchange",
                            v->spans[SPAN_EXCHANGE] / all / 100, "idle", v->spans[SPAN_IDLE] / all / 100);
    series_to_json(&v->times, row);
    return row;
}

static double median_of(const bench *b, int which) { return series_median(&b->variants[which].times); }

// The bound of two pure groups: all the work over that of the busier one.
static double bound_off(const bench *b) {
    double attention = model_attention_work(&b->config, (double)b->settings->length), ffn = model_ffn_work(&b->config);
    return b->attention ? (attention + ffn) / fmax(attention / b->attention, ffn / b->ffn) : 1;
}

static bool report(bench *b, error *err) {
    const bench_settings *s = b->settings;
    char team[32];
    topology_team_text(team, b->attention, b->ffn);
    for (int i = 0; i < VARIANTS; i++) series_sort(&b->variants[i].times);
    printf("%s: %lld layers, %lld tokens in sequences of %lld, forward and backward, dropout on, %lld rounds\n",
           s->config, (long long)s->layers, (long long)s->tokens, (long long)s->length, (long long)s->repeats);
    printf("FMA peak, measured in this run: %.0f GFLOP/s on one rank", b->peak[0]);
    if (b->ffn) printf(", %.0f on team %s; bound of pure groups %.2f", b->peak[1], team, bound_off(b));
    printf("\n\n");
    printf("%-18s %8s %20s %9s %9s %9s %6s %5s %5s %5s\n", "", "ms", "quartiles", "speed-up", "GFLOP/s", "of peak",
           "attn", "ffn", "exch", "idle");
    json_t *rows = json_array();
    for (int i = 0; i < VARIANTS; i++) {
        variant *v = &b->variants[i];
        int base = v->design == DESIGN_PAF ? PAF_ONE : SAF_ONE;
        if (v->times.n) json_array_append_new(rows, report_variant(b, v, median_of(b, base)));
    }
    json_t *whole = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:[f,f], s:f, s:o}", "config", s->config, "team", team,
                              "layers", (json_int_t)s->layers, "tokens", (json_int_t)s->tokens, "length",
                              (json_int_t)s->length, "repeats", (json_int_t)s->repeats, "peak_gflops", b->peak[0],
                              b->peak[1], "bound_off", bound_off(b), "variants", rows);
    if (b->ffn) {
        json_object_set_new(whole, "speedup", json_real(median_of(b, PAF_ONE) / median_of(b, PAF_ON)));
        json_object_set_new(whole, "speedup_off", json_real(median_of(b, PAF_ONE) / median_of(b, PAF_OFF)));
        json_object_set_new(whole, "paf_over_saf", json_real(median_of(b, SAF_TEAM) / median_of(b, PAF_ON)));
    }
    bool ok = !*s->json || json_write(s->json, whole, err);
    json_decref(whole);
    return ok;
}

// Spans of a team are looked at together.
static void sum_spans(bench *b) {
    for (int i = 0; i < VARIANTS; i++) comm_sum_doubles(comm_world(), b->variants[i].spans, SPAN_COUNT);
}

bool bench_layer(const bench_settings *settings, error *err) {
    comm *world = comm_world();
    bench b = {
        .settings = settings,
        .variants = {[SAF_ONE] = {.name = "SAF, one rank", .design = DESIGN_SAF, .team = false, .balance = false},
                     [PAF_ONE] = {.name = "PAF, one rank", .design = DESIGN_PAF, .team = false, .balance = false},
                     [SAF_TEAM] = {.name = "SAF, team", .design = DESIGN_SAF, .team = true, .balance = false},
                     [PAF_OFF] = {.name = "PAF, balance off", .design = DESIGN_PAF, .team = true, .balance = false},
                     [PAF_ON] = {.name = "PAF, balance on", .design = DESIGN_PAF, .team = true, .balance = true}}};
    int used = comm_size(world) > 1 ? VARIANTS : SAF_TEAM; // one rank has no team
    if (model_config_read(&b.config, settings->config, "auto", err) && read_profile(&b, err)) {
        b.config.layers = settings->layers;
        b.config.vocabulary = 64;
        if (b.config.positions < settings->length) b.config.positions = settings->length;
        topology_parse_team(&b.attention, &b.ffn, settings->team, comm_size(world),
                            model_attention_work(&b.config, (double)settings->length), model_ffn_work(&b.config),
                            b.config.heads, err);
    }
    if (!comm_agree(world, err)) return false;
    b.batch = make_batch(settings->tokens, settings->length);
    double length = (double)(settings->length < settings->tokens ? settings->length : settings->tokens);
    b.work = model_step_work(&b.config, (double)settings->tokens, length);
    for (int i = 0; i < used && err->kind == ERROR_NONE; i++) {
        open_variant(&b, &b.variants[i], err);
        comm_agree(world, err);
    }
    bool ok = err->kind == ERROR_NONE;
    if (ok) {
        measure_peaks(&b);
        for (int64_t r = 0; r < settings->repeats; r++) {
            for (int i = 0; i < used; i++) time_variant(&b, &b.variants[i]);
            log_progress("round %lld/%lld", (long long)r + 1, (long long)settings->repeats);
        }
        sum_spans(&b);
        if (comm_rank(world) == 0) report(&b, err);
        ok = comm_agree(world, err);
    }
    for (int i = 0; i < used; i++) {
        variant *v = &b.variants[i];
        series_destroy(&v->times);
        if (v->m.mine) model_destroy(&v->m);
        placement_destroy(&v->place);
        topology_destroy(&v->topo);
    }
    micro_batch_destroy(&b.batch);
    return ok;
}
