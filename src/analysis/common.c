#include "analysis/internal.h"

#include "storage/storage.h"
#include "train/train.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

#define PEAK_SECONDS 0.05 // a round; it takes the best of windows of about a millisecond

// A team's sums: never local.
static const char *const bench_exchange_words[] = {"auto", "shared", "mpi", NULL};

#define ROW(key, type, field, ...)                                                                                     \
    { key, type, offsetof(bench_settings, field), __VA_ARGS__ }
const option bench_options[] = {
    ROW("bench.config", OPTION_STRING, config, "configs/models/bert-large-uncased.json",
        .help = "the model's shape: a config.json"),
    ROW("bench.tokens", OPTION_INT, tokens, "1024", .low = 1, .high = 1 << 24, .help = "tokens of the batch"),
    ROW("bench.length", OPTION_INT, length, "128", .low = 1, .high = 1 << 20, .help = "tokens of a sequence"),
    ROW("bench.repeats", OPTION_INT, repeats, "11", .low = 1, .high = 10000,
        .help = "rounds; each times every variant once"),
    ROW("json", OPTION_STRING, json, "", .help = "also write the figures there"),
    {0},
};

const option bench_team_options[] = {
    ROW("bench.team", OPTION_STRING, team, "auto", .help = "A+F, or auto"),
    ROW("bench.exchange", OPTION_CHOICE, exchange, "auto", .words = bench_exchange_words,
        .help = "how partial sums travel"),
    ROW("bench.profile", OPTION_STRING, profile, "",
        .help = "balance by times that `paf bench kernels --write-profile=FILE` has measured"),
    {0},
};

// ---- begin and end

// A long run should not end with a file that cannot be written. What is there stays until then.
bool bench_check_file(const char *option_name, const char *path, error *err) {
    if (!*path) return true;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? memory_format("%.*s", (int)(slash - path) + 1, path) : memory_string(".");
    bool ok = true;
    if (file_is_folder(path))
        ok = error_set(err, ERROR_INPUT, "%s=%s is a folder; name a file", option_name, path);
    else if (!file_is_folder(folder))
        ok = error_set(err, ERROR_INPUT, "%s=%s: there is no folder %s; make it first", option_name, path, folder);
    else if (access(folder, W_OK))
        ok = error_set(err, ERROR_INPUT, "%s=%s: nothing can be written into %s", option_name, path, folder);
    memory_free(folder);
    return ok;
}

// Seconds of the update, a parameter and token; 0 where none is timed.
static double update_seconds(const bench *b) {
    if (!b->optimizer || b->step_tokens <= 0) return 0;
    return (*b->optimizer == OPTIM_LAMB ? b->profile.lamb : b->profile.adamw) / b->step_tokens;
}

placement_cost bench_cost(const bench *b, double length) {
    return *b->settings->profile ? model_profile_cost(&b->profile, length, update_seconds(b))
                                 : model_cost(&b->config, length);
}

static void settle_team(bench *b, error *err) {
    placement_cost cost = bench_cost(b, (double)b->settings->length);
    topology_parse_team(&b->attention, &b->ffn, "bench.team", b->settings->team, comm_size(comm_world()),
                        placement_rank_cost(&cost, b->config.heads, 0),
                        placement_rank_cost(&cost, 0, b->config.intermediate), b->config.heads, err);
}

bool bench_open(bench *b, const char *name, const bench_settings *settings, model_design design, int64_t layers,
                error *err) {
    comm *world = comm_world();
    *b = (bench){.name = name, .settings = settings};
    for (int team = 0; team < 2; team++) b->peaks[team] = series_create(settings->repeats);
    if (model_config_read(&b->config, settings->config, design, err) && layers) b->config.layers = layers;
    if (err->kind == ERROR_NONE && comm_rank(world) == 0) bench_check_file("json", settings->json, err);
    if (!comm_agree(world, err)) return false;
    if (*settings->profile && !train_read_profile(&b->profile, settings->profile, &b->config, err)) return false;
    settle_team(b, err);
    return comm_agree(world, err);
}

void bench_close(bench *b) {
    for (int team = 0; team < 2; team++) series_destroy(&b->peaks[team]);
}

bool bench_has_team(const bench *b) { return b->attention + b->ffn > 0; }

bool bench_finish(const bench *b, json_t *whole, error *err) {
    if (whole && *b->settings->json) json_write(b->settings->json, whole, err);
    json_decref(whole);
    return comm_agree(comm_world(), err);
}

// ---- what the machine can do

// Ranks beyond the first take part in the team's figure alone.
void bench_measure_peak(bench *b) {
    if (b->begun == 0) b->begun = time_now();
    comm *world = comm_world();
    comm_barrier_asleep(world);
    series_add(&b->peaks[0], comm_rank(world) == 0 ? peak_measure(PEAK_SECONDS) : 0);
    comm_barrier_asleep(world);
    series_add(&b->peaks[1], peak_measure(PEAK_SECONDS));
    comm_barrier_asleep(world);
}

void bench_log_progress(const bench *b, int64_t done, int64_t rounds) {
    char left[TIME_TEXT_SIZE];
    time_format(left, (time_now() - b->begun) / (double)done * (double)(rounds - done));
    log_progress("round %lld/%lld | eta %s", (long long)done, (long long)rounds, left);
}

// Threads that take turns on a core measure all of it each, and have it once.
static double cores_a_thread(int ranks) { return fmin((double)comm_node_cores() / (ranks * omp_get_max_threads()), 1); }

void bench_settle(bench *b) {
    double share[] = {cores_a_thread(1), cores_a_thread(comm_node_ranks())};
    for (int team = 0; team < 2; team++) {
        for (int64_t i = 0; i < b->peaks[team].n; i++) b->peaks[team].seconds[i] *= share[team];
        comm_sum_doubles(comm_world(), b->peaks[team].seconds, (int)b->peaks[team].n);
        series_sort(&b->peaks[team]);
        b->peak[team] = series_median(&b->peaks[team]);
    }
}

double bench_bound(const bench *b, double attention_work, double ffn_work) {
    if (!bench_has_team(b)) return 1;
    return (attention_work + ffn_work) / fmax(attention_work / b->attention, ffn_work / b->ffn);
}

// ---- the first lines

void bench_print_head(const bench *b, const char *what) {
    const bench_settings *s = b->settings;
    char team[32];
    topology_team_text(team, b->attention, b->ffn);
    printf("%s: %s, %lld rounds\n", s->config, what, (long long)s->repeats);
    printf("FMA peak, measured in this run: %.0f GFLOP/s on one rank", b->peak[0]);
    if (bench_has_team(b)) printf(", %.0f on team %s", b->peak[1], team);
    printf("\n\n");
}

json_t *bench_json_head(const bench *b) {
    const bench_settings *s = b->settings;
    char team[32];
    topology_team_text(team, b->attention, b->ffn);
    return json_pack("{s:s, s:s, s:I, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:[f, f]}", "bench", b->name, "version",
                     PAF_VERSION, "cores", (json_int_t)comm_node_cores(), "ranks", comm_size(comm_world()), "team",
                     team, "config", s->config, "layers", (json_int_t)b->config.layers, "tokens", (json_int_t)s->tokens,
                     "length", (json_int_t)s->length, "repeats", (json_int_t)s->repeats, "peak_gflops", b->peak[0],
                     b->peak[1]);
}

// ---- what is computed

dataset synthetic_dataset(int64_t tokens, int64_t length, int64_t vocabulary) {
    int64_t n = (tokens + length - 1) / length;
    dataset d = {.n = n, .longest = smaller(length, tokens)};
    d.starts = memory_allocate((size_t)n + 1, sizeof *d.starts);
    d.ids = memory_allocate((size_t)tokens, sizeof *d.ids);
    d.second = memory_allocate((size_t)n, sizeof *d.second);
    d.labels = memory_allocate((size_t)n, sizeof *d.labels);
    for (int64_t i = 0; i < n; i++) {
        d.starts[i + 1] = smaller((i + 1) * length, tokens);
        d.second[i] = (int32_t)dataset_length(&d, i);
        d.labels[i] = (int32_t)(i % 2);
    }
    // As far apart as the words of a text.
    for (int64_t i = 0; i < tokens; i++) d.ids[i] = (int32_t)(i * 7919 % vocabulary);
    return d;
}

micro_batch synthetic_batch(int64_t tokens, int64_t length, int64_t vocabulary) {
    dataset d = synthetic_dataset(tokens, length, vocabulary);
    batch all = {0};
    micro_batch m = micro_batch_create(tokens, d.n);
    batch_range(&all, &d, 0, d.n);
    micro_batch_pack(&m, &d, &all, 0, d.n);
    batch_destroy(&all);
    dataset_destroy(&d);
    return m;
}
