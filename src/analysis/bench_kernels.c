// A roofline of the training step: how far each kernel is from what the machine's arithmetic, or its memory, allows.
// Every rank runs the same kernel at the same time, so that they share the memory as the ranks of a real step do.
#include "analysis/kernels.h"

#include "storage/storage.h"

#include <math.h>

const option bench_kernels_options[] = {
    {"write-profile", OPTION_STRING, offsetof(bench_settings, write_profile), "",
     .help = "also write a profile there, for parallel.profile"},
    {0},
};

typedef struct {
    const bench_settings *settings;
    workbench w;
    kernel kernels[KERNELS_MOST];
    series times[KERNELS_MOST]; // of each round, the mean over ranks
    int n;
    double peak, bandwidth; // FLOP/s and bytes/s of a rank while all are busy, the mean over ranks
} roofline;

static void measure_machine(roofline *r) {
    comm *world = comm_world();
    double figures[2];
    comm_barrier(world);
    figures[0] = peak_measure(0.3);
    comm_barrier(world);
    figures[1] = bandwidth_measure(0.5);
    comm_sum_doubles(world, figures, 2);
    r->peak = figures[0] * 1e9 / comm_size(world);
    r->bandwidth = figures[1] * 1e9 / comm_size(world);
}

// Every kernel once, in the order of a step, so that each finds in the caches what it would find there.
static void run_round(roofline *r) {
    comm *world = comm_world();
    double seconds[KERNELS_MOST];
    for (int k = 0; k < r->n; k++) {
        comm_barrier(world);
        double before = time_now();
        r->kernels[k].run(&r->w);
        seconds[k] = time_now() - before;
    }
    comm_sum_doubles(world, seconds, r->n);
    for (int k = 0; k < r->n; k++) series_add(&r->times[k], seconds[k] / comm_size(world));
}

// ---- what came out

static double bound(const roofline *r, const kernel *k) { return fmax(k->flop / r->peak, k->bytes / r->bandwidth); }

static bool bound_by_peak(const roofline *r, const kernel *k) { return k->flop / r->peak > k->bytes / r->bandwidth; }

static json_t *report_kernel(const roofline *r, int i, double step) {
    const kernel *k = &r->kernels[i];
    double median = series_median(&r->times[i]), limit = bound(r, k), share = k->count * median / step;
    char rate[16] = "";
    if (k->flop > 0) snprintf(rate, sizeof rate, "%.1f", k->flop / median / 1e9);
    printf("%-30s %9.3f %9.1f %9.1f %9s %8.1f %9.3f %-6s %5.0f %% %7.4g %6.1f %%\n", k->name, 1e3 * median,
           k->flop / 1e6, k->bytes / 1e6, rate, k->bytes / median / 1e9, 1e3 * limit,
           bound_by_peak(r, k) ? "FMA" : "memory", 100 * limit / median, k->count, 100 * share);
    json_t *row = json_pack("{s:s, s:f, s:f, s:f, s:f, s:s, s:f, s:f, s:f, s:f}", "kernel", k->name, "flop", k->flop,
                            "bytes", k->bytes, "gflops", k->flop / median / 1e9, "gbytes_per_s",
                            k->bytes / median / 1e9, "bound", bound_by_peak(r, k) ? "peak" : "bandwidth", "bound_s",
                            limit, "share_of_bound", limit / median, "count", k->count, "share_of_step", share);
    series_to_json(&r->times[i], row);
    return row;
}

// Seconds of all kernels of each part, once each.
static void sum_parts_of_step(const roofline *r, double seconds[KERNEL_PARTS]) {
    for (int part = 0; part < KERNEL_PARTS; part++) seconds[part] = 0;
    for (int i = 0; i < r->n; i++) seconds[r->kernels[i].part] += series_median(&r->times[i]);
}

static bool report(roofline *r, error *err) {
    const bench_settings *s = r->settings;
    double step = 0, flop = 0, best = 0;
    for (int i = 0; i < r->n; i++) {
        step += r->kernels[i].count * series_median(&r->times[i]);
        flop += r->kernels[i].count * r->kernels[i].flop;
        best += r->kernels[i].count * bound(r, &r->kernels[i]);
    }
    printf("%s: a PAF layer's kernels, %lld tokens in sequences of %lld, %lld of them masked, %lld rounds\n", s->config,
           (long long)s->tokens, (long long)s->length, (long long)r->w.masked.n, (long long)s->repeats);
    printf("of each of %d ranks, all busy, measured in this run: FMA peak %.1f GFLOP/s, memory %.1f GB/s\n\n",
           comm_size(comm_world()), r->peak / 1e9, r->bandwidth / 1e9);
    printf("%-30s %9s %9s %9s %9s %8s %16s %7s %7s %8s\n", "", "ms", "MFLOP", "MB", "GFLOP/s", "GB/s", "bound, ms",
           "reached", "count", "of step");
    json_t *rows = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(rows, report_kernel(r, i, step));
    printf("\none step on one rank: %.1f ms, %.0f %% of the bounds' sum, %.0f %% of peak\n", 1e3 * step,
           100 * best / step, 100 * flop / r->peak / step);
    printf("Arrays that are still in a cache are faster than memory: such kernels can pass their bound.\n");
    json_t *whole = json_pack(
        "{s:s, s:s, s:i, s:s, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "bench", "kernels", "version",
        PAF_VERSION, "cores", comm_node_cores(), "config", s->config, "ranks", comm_size(comm_world()), "tokens",
        (json_int_t)s->tokens, "length", (json_int_t)s->length, "masked", (json_int_t)r->w.masked.n, "repeats",
        (json_int_t)s->repeats, "peak_gflops", r->peak / 1e9, "bandwidth_gbytes_per_s", r->bandwidth / 1e9, "step_s",
        step, "bound_s", best, "share_of_peak", flop / r->peak / step, "kernels", rows);
    bool ok = !*s->json || json_write(s->json, whole, err);
    json_decref(whole);
    return ok;
}

bool bench_kernels(const bench_settings *settings, error *err) {
    comm *world = comm_world();
    roofline r = {.settings = settings};
    model_config config;
    if (model_config_read(&config, settings->config, DESIGN_PAF, err) && model_longest(&config) < settings->length)
        config.positions = settings->length + model_first_position(&config);
    if (err->kind == ERROR_NONE && comm_rank(world) == 0 && bench_check_file("json", settings->json, err))
        bench_check_file("write-profile", settings->write_profile, err);
    if (!comm_agree(world, err)) return false;
    const workbench_request request = {.layers = 1,
                                       .heads = config.heads,
                                       .neurons = config.intermediate,
                                       .tokens = settings->tokens,
                                       .length = settings->length,
                                       .longest = settings->length};
    bool ok = workbench_open(&r.w, &config, &request, err);
    if (ok) {
        r.n = kernels_list(r.kernels, &r.w);
        for (int k = 0; k < r.n; k++) r.times[k] = series_create(settings->repeats);
        measure_machine(&r);
        for (int64_t round = 0; round < settings->repeats; round++) {
            run_round(&r);
            log_progress("round %lld/%lld", (long long)round + 1, (long long)settings->repeats);
        }
        for (int k = 0; k < r.n; k++) series_sort(&r.times[k]);
        if (comm_rank(world) == 0) report(&r, err);
        double seconds[KERNEL_PARTS];
        sum_parts_of_step(&r, seconds);
        ok = comm_agree(world, err) && (!*settings->write_profile ||
                                        profile_write(settings->write_profile, &r.w, seconds, settings->repeats, err));
    }
    for (int k = 0; k < r.n; k++) series_destroy(&r.times[k]);
    workbench_close(&r.w);
    return ok;
}
