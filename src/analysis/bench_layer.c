#include "analysis/internal.h"

#include <math.h>
#include <string.h>

const option bench_layer_options[] = {
    {"bench.layers", OPTION_INT, offsetof(bench_settings, layers), "2", .low = 1, .high = 1000,
     .help = "layers in the stack"},
    {0},
};

enum { SAF_ONE, PAF_ONE, SAF_TEAM, PAF_OFF, PAF_PBLAS, PAF_ON, VARIANTS };
enum { ATTENTION, FFN, BLOCKS };
enum { FORWARD, BACKWARD, PASSES };

static const char *const block_names[BLOCKS] = {"attention", "ffn"};

typedef struct {
    bench b;
    micro_batch batch;
    double length;                 // tokens of a sequence
    double work;                   // FLOP of a forward and a backward pass
    series blocks[BLOCKS][PASSES]; // seconds of a layer on one rank, on the root
    variant variants[VARIANTS];
    double need[VARIANTS]; // bytes of the rank with neurons that takes most
} layer_bench;

// ---- a round

static void keep_blocks(layer_bench *l, variant *v, int pass) {
    double spans[SPAN_COUNT], layers = (double)l->b.config.layers;
    variant_collect(v, spans);
    if (v != &l->variants[PAF_ONE]) return;
    series_add(&l->blocks[ATTENTION][pass], spans[SPAN_ATTENTION] / layers);
    series_add(&l->blocks[FFN][pass], spans[SPAN_FFN] / layers);
}

static void work(variant *v, void *context) {
    layer_bench *l = context;
    exchange_begin(v->m.ex, &v->place, l->batch.tokens);
    model_layers_forward(&v->m, &l->batch, (model_pass){.train = true});
    keep_blocks(l, v, FORWARD);
    model_layers_backward(&v->m, &l->batch, (model_pass){.train = true});
    keep_blocks(l, v, BACKWARD);
}

// Fills the first slot and the gradient that backward begins from, and touches all memory.
static void warm_up(variant *v, const micro_batch *batch) {
    model_forward(&v->m, batch, (model_pass){.train = true});
    for (int64_t i = 0; i < v->m.head_n; i++) v->m.dlogits[i] = 1;
    model_backward(&v->m, batch, (model_pass){.train = true});
}

// ---- what came out

static json_t *report_variant(const layer_bench *l, const variant *v, double speedup) {
    double seconds = series_median(&v->times), gflops = l->work / seconds / 1e9;
    double share = gflops / l->b.peak[v->team];
    printf("%-18s %8.2f %8.2f to %-8.2f %9.2f %9.1f %7.0f %% %6.0f %5.0f %5.1f %5.1f\n", v->name, 1e3 * seconds,
           1e3 * series_quantile(&v->times, 0.25), 1e3 * series_quantile(&v->times, 0.75), speedup, gflops, 100 * share,
           100 * variant_share(v, SPAN_ATTENTION), 100 * variant_share(v, SPAN_FFN),
           100 * variant_share(v, SPAN_EXCHANGE), 100 * variant_share(v, SPAN_IDLE));
    json_t *row = json_pack("{s:s, s:f, s:f, s:f}", "variant", v->name, "speedup", speedup, "gflops", gflops,
                            "share_of_peak", share);
    variant_set_shares(v, row);
    series_to_json(&v->times, row);
    return row;
}

static json_t *report_block(const layer_bench *l, int block, double flop) {
    const double times[] = {1, 2}; // a backward pass has twice the work
    json_t *row = json_object();
    printf("%-18s", block_names[block]);
    for (int p = 0; p < PASSES; p++) {
        const series *s = &l->blocks[block][p];
        double gflops = times[p] * flop / series_median(s) / 1e9;
        json_t *figures = json_pack("{s:f}", "gflops", gflops);
        series_to_json(s, figures);
        json_object_set_new(row, p ? "backward" : "forward", figures);
        printf(" %8.2f %8.2f to %-8.2f %9.1f", 1e3 * series_median(s), 1e3 * series_quantile(s, 0.25),
               1e3 * series_quantile(s, 0.75), gflops);
    }
    printf("\n");
    return row;
}

// The blocks of a layer on one rank, and what pure groups can make of them: by their FLOP, and by their times.
static json_t *report_blocks(const layer_bench *l) {
    double flop[BLOCKS] = {model_attention_work(&l->b.config, l->length), model_ffn_work(&l->b.config)};
    double seconds[BLOCKS], ratio = flop[ATTENTION] / flop[FFN];
    json_t *blocks = json_object();
    printf("\n%-18s %8s %20s %9s %8s %20s %9s\n", "one layer, one rank", "fwd ms", "quartiles", "GFLOP/s", "bwd ms",
           "quartiles", "GFLOP/s");
    for (int k = 0; k < BLOCKS; k++) {
        json_object_set_new(blocks, block_names[k], report_block(l, k, flop[k] * (double)l->b.settings->tokens));
        seconds[k] = series_median(&l->blocks[k][FORWARD]) + series_median(&l->blocks[k][BACKWARD]);
    }
    double measured = seconds[ATTENTION] / seconds[FFN];
    double in_theory = bench_bound(&l->b, flop[ATTENTION], flop[FFN]);
    double in_practice = bench_bound(&l->b, seconds[ATTENTION], seconds[FFN]);
    printf("attention : FFN    %.3f by FLOP, %.3f by time\n", ratio, measured);
    if (bench_has_team(&l->b)) printf("bound, pure groups %.3f by FLOP, %.3f by time\n", in_theory, in_practice);
    json_t *figures = json_pack("{s:f, s:f, s:f, s:f}", "flop_ratio", ratio, "time_ratio", measured, "bound_by_flop",
                                in_theory, "bound_by_time", in_practice);
    json_object_update(blocks, figures);
    json_decref(figures);
    return blocks;
}

// Of variants that alternate, round by round.
static const struct {
    const char *key, *text;
    int over, under;
} ratios[] = {
    {"speedup", "PAF, balance on, against one rank", PAF_ONE, PAF_ON},
    {"speedup_off", "PAF, balance off, against one rank", PAF_ONE, PAF_OFF},
    {"split_over_pblas", "FFN by PBLAS against balance off", PAF_OFF, PAF_PBLAS},
    {"paf_over_saf", "PAF, balance on, against SAF, team", SAF_TEAM, PAF_ON},
};

#define RATIOS (sizeof ratios / sizeof *ratios)

static void report_ratios(series *found, json_t *whole) {
    printf("\n");
    for (size_t i = 0; i < RATIOS; i++) {
        printf("%-36s %.3f, quartiles %.3f to %.3f\n", ratios[i].text, series_median(&found[i]),
               series_quantile(&found[i], 0.25), series_quantile(&found[i], 0.75));
        series_set_json(&found[i], whole, ratios[i].key);
        series_destroy(&found[i]);
    }
}

// The FFN group's two ways, for one layer forward and backward: neurons of its own for each rank, and tiles. The times
// of its ranks, waiting for each other within PBLAS included, are means; messages are all that the team sends.
static json_t *report_ffn(const layer_bench *l) {
    static const struct {
        const char *key, *text;
        int variant;
    } ways[] = {{"split", "split", PAF_OFF}, {"pblas", "PBLAS", PAF_PBLAS}};
    double passes = (double)(l->b.settings->layers * l->b.settings->repeats);
    json_t *both = json_object();
    printf("\n%-18s %8s %9s %9s %12s\n", "one layer, FFN", "ms", "messages", "MB sent", "MiB a rank");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const variant *v = &l->variants[ways[i].variant];
        double seconds = v->spans[SPAN_FFN] / passes / l->b.ffn, need = l->need[ways[i].variant];
        double messages = v->messages / passes, bytes = v->bytes / passes;
        printf("%-18s %8.2f %9.0f %9.2f %12.0f\n", ways[i].text, 1e3 * seconds, messages, bytes / 1e6,
               need / (1 << 20));
        json_object_set_new(both, ways[i].key,
                            json_pack("{s:f, s:f, s:f, s:f}", "seconds", seconds, "messages", messages, "bytes", bytes,
                                      "memory_bytes", need));
    }
    return both;
}

static void sort_times(layer_bench *l, int used) {
    for (int i = 0; i < used; i++) series_sort(&l->variants[i].times);
    for (int k = 0; k < BLOCKS; k++)
        for (int p = 0; p < PASSES; p++) series_sort(&l->blocks[k][p]);
}

// On the root. The caller's.
static json_t *report(layer_bench *l, int used) {
    const bench_settings *s = l->b.settings;
    json_t *whole = bench_json_head(&l->b), *rows = json_array();
    char what[128];
    snprintf(what, sizeof what, "%lld layers, %lld tokens in sequences of %lld, forward and backward, dropout on",
             (long long)s->layers, (long long)s->tokens, (long long)s->length);
    bench_print_head(&l->b, what);
    series found[RATIOS], speedups[VARIANTS]; // all by round
    for (int i = 0; i < used; i++)
        speedups[i] = series_ratio(&l->variants[l->variants[i].design == DESIGN_PAF ? PAF_ONE : SAF_ONE].times,
                                   &l->variants[i].times);
    for (size_t i = 0; used == VARIANTS && i < RATIOS; i++)
        found[i] = series_ratio(&l->variants[ratios[i].over].times, &l->variants[ratios[i].under].times);
    sort_times(l, used);
    printf("%-18s %8s %20s %9s %9s %9s %6s %5s %5s %5s\n", "", "ms", "quartiles", "speed-up", "GFLOP/s", "of peak",
           "attn", "ffn", "exch", "idle");
    for (int i = 0; i < used; i++) {
        json_array_append_new(rows, report_variant(l, &l->variants[i], series_median(&speedups[i])));
        series_destroy(&speedups[i]);
    }
    json_object_set_new(whole, "variants", rows);
    if (used == VARIANTS) report_ratios(found, whole);
    if (used == VARIANTS) json_object_set_new(whole, "ffn_group", report_ffn(l));
    json_object_set_new(whole, "blocks", report_blocks(l));
    json_object_set_new(
        whole, "bound_off",
        json_real(bench_bound(&l->b, model_attention_work(&l->b.config, l->length), model_ffn_work(&l->b.config))));
    return whole;
}

// ---- the run

// The batch, and shapes that suit it: of the embeddings only the first layer's input is wanted.
static void make_batch(layer_bench *l) {
    const bench_settings *s = l->b.settings;
    l->b.config.vocabulary = 64;
    if (l->b.config.positions < s->length + 2) l->b.config.positions = s->length + 2; // RoBERTa's count from 2
    l->batch = synthetic_batch(s->tokens, s->length, l->b.config.vocabulary);
    l->length = micro_batch_squares(&l->batch) / (double)l->batch.tokens;
    l->work = model_step_work(&l->b.config, (double)s->tokens, l->length);
    for (int k = 0; k < BLOCKS; k++)
        for (int p = 0; p < PASSES; p++) l->blocks[k][p] = series_create(s->repeats);
}

static bool open_variants(layer_bench *l, int used, error *err) {
    const model_request request = {.classes = 1,
                                   .max_tokens = l->batch.tokens,
                                   .max_sequences = l->batch.sequences,
                                   .longest = l->batch.longest,
                                   .training = true,
                                   .exchange = l->b.settings->exchange};
    for (int i = 0; i < used; i++) {
        variant *v = &l->variants[i];
        if (!variant_open(v, &l->b, l->length, request, err)) return false;
        if (v->inside) warm_up(v, &l->batch);
    }
    return true;
}

static void measure(layer_bench *l, int used) {
    int64_t rounds = l->b.settings->repeats;
    for (int64_t r = 0; r < rounds; r++) {
        bench_measure_peak(&l->b);
        for (int i = 0; i < used; i++) variant_time(&l->variants[i], work, l);
        bench_log_progress(&l->b, r + 1, rounds);
    }
    bench_settle(&l->b);
    for (int i = 0; i < used; i++) {
        const variant *v = &l->variants[i];
        variant_sum_spans(&l->variants[i]);
        l->need[i] = v->inside && v->m.mine->neurons.count ? variant_need(v) : 0;
    }
    comm_max_doubles(comm_world(), l->need, used);
}

bool bench_layer(const bench_settings *settings, error *err) {
    layer_bench l = {.variants = {[SAF_ONE] = {.name = "SAF, one rank", .design = DESIGN_SAF},
                                  [PAF_ONE] = {.name = "PAF, one rank", .design = DESIGN_PAF},
                                  [SAF_TEAM] = {.name = "SAF, team", .design = DESIGN_SAF, .team = true},
                                  [PAF_OFF] = {.name = "PAF, balance off", .design = DESIGN_PAF, .team = true},
                                  [PAF_PBLAS] = {.name = "PAF, FFN by PBLAS", .design = DESIGN_PAF, .team = true},
                                  [PAF_ON] = {.name = "PAF, balance on", .design = DESIGN_PAF, .team = true}}};
    l.variants[PAF_ON].balance = true;
    l.variants[PAF_PBLAS].tiles = true;
    bool ok = bench_open(&l.b, "layer", settings, DESIGN_AUTO, settings->layers, err);
    int used = bench_has_team(&l.b) ? VARIANTS : SAF_TEAM; // one rank has no team
    if (ok) {
        make_batch(&l);
        ok = open_variants(&l, used, err);
    }
    if (ok) {
        measure(&l, used);
        ok = bench_finish(&l.b, comm_rank(comm_world()) == 0 ? report(&l, used) : NULL, err);
    }
    for (int i = 0; i < used; i++) variant_close(&l.variants[i]);
    for (int k = 0; k < BLOCKS; k++)
        for (int p = 0; p < PASSES; p++) series_destroy(&l.blocks[k][p]);
    micro_batch_destroy(&l.batch);
    bench_close(&l.b);
    return ok;
}
