// What the benchmarks share. Private to this room.
#ifndef PAF_ANALYSIS_INTERNAL_H
#define PAF_ANALYSIS_INTERNAL_H

#include "analysis/analysis.h"
#include "data/data.h"
#include "model/model.h"

#include <jansson.h>

// ---- series.c: the times of one thing, measured again and again -----------------------------------------------------

typedef struct {
    double *seconds; // [capacity]; sorted by series_sort
    int64_t n, capacity;
} series;

series series_create(int64_t capacity);
void series_add(series *s, double seconds);
void series_sort(series *s);                       // before any quantile is asked for
double series_quantile(const series *s, double q); // between the two nearest; 0 without any time
double series_median(const series *s);             // the 0.5 quantile
// Round by round a over b, before either is sorted; sorted, the caller's. Where variants alternate, what slows the
// machine for a while slows both, so that the ratio spreads less than the times do.
series series_ratio(const series *a, const series *b);
void series_to_json(const series *s, json_t *object); // sets median_s, quarter_s, three_quarters_s
// Sets NAME, the median, and NAME_quartiles: [quarter, three quarters].
void series_set_json(const series *s, json_t *object, const char *name);
void series_destroy(series *s);

// ---- common.c: what a benchmark of a team begins and ends with ------------------------------------------------------

typedef struct {
    const char *name; // "layer"
    const bench_settings *settings;
    model_config config;
    model_profile profile;       // where the settings name one
    const optim_kind *optimizer; // NULL: none is timed; and the tokens of a step of it
    double step_tokens;
    int attention, ffn; // sizes of the team's groups; 0, 0: it is one rank
    double begun;       // when the first round did; 0 before
    series peaks[2];    // GFLOP/s of this rank: alone while the others sleep, and with the team
    double peak[2];     // by bench_settle: of one rank, and of the team together
} bench;

// Reads the config, with so many layers (0: its own), settles the team for sequences of bench.length, and sees that
// the JSON file can be written. Collective over the world; the same error on every rank. bench_close in any case.
bool bench_open(bench *b, const char *name, const bench_settings *settings, model_design design, int64_t layers,
                error *err);
void bench_close(bench *b);
// Once a round. Collective over the world.
void bench_measure_peak(bench *b);
// So many rounds are done: on a terminal, how long the others will take.
void bench_log_progress(const bench *b, int64_t done, int64_t rounds);
// After the last round. Collective over the world.
void bench_settle(bench *b);
bool bench_has_team(const bench *b);
// What heads and neurons cost in sequences of this length, by bench.profile or by model_cost.
placement_cost bench_cost(const bench *b, double length);
// A file that is written when the work is done: can it be? Said by the option's name. Local.
bool bench_check_file(const char *option_name, const char *path, error *err);
// The bound of pure groups with so much work in either block: all of it over that of the busier group's ranks.
double bench_bound(const bench *b, double attention_work, double ffn_work);
// What is measured, and where: the first lines of the table, ending with an empty one. what is "2 layers, ...".
void bench_print_head(const bench *b, const char *what);
// The common head of the JSON: which benchmark, version, machine, team, settings, peak. The caller's.
json_t *bench_json_head(const bench *b);
// Writes what the root has to tell, on the root, and takes the reference, NULL elsewhere. Collective over the world.
bool bench_finish(const bench *b, json_t *whole, error *err);

// `tokens` tokens in sequences of `length`, the last one shorter: ids below `vocabulary`, classes 0 and 1 in turn.
dataset synthetic_dataset(int64_t tokens, int64_t length, int64_t vocabulary);
// All of it in one micro-batch.
micro_batch synthetic_batch(int64_t tokens, int64_t length, int64_t vocabulary);

// ---- variant.c: one way to compute, its ranks and model, and its times ----------------------------------------------

typedef struct {
    const char *name;
    model_design design;
    bool team, balance; // the whole team, or one rank
    bool tiles;         // the FFN by PBLAS
    bool inside;        // is this rank one of them
    topology topo;
    placement place;
    model m;                  // where inside
    series times;             // where inside
    double spans[SPAN_COUNT]; // summed over repeats, and by variant_sum_spans over ranks
    double messages, bytes;   // sent, likewise
} variant;

// Ranks, placement for sequences of this length, model; weights are initialised. request.exchange is settled here.
// Refuses what memory cannot hold. Collective over the world; the same error on every rank. variant_close in any case.
bool variant_open(variant *v, const bench *b, double length, model_request request, error *err);
void variant_close(variant *v);
double variant_need(const variant *v); // bytes of this rank, 0 where not inside
// One round: work on this variant's ranks, while the others sleep. Collective over the world.
void variant_time(variant *v, void (*work)(variant *v, void *context), void *context);
// Where this rank's time went since the last call: into spans, and added to v->spans. Between parts of a round.
void variant_collect(variant *v, double spans[SPAN_COUNT]);
void variant_sum_spans(variant *v);                     // collective over the world
double variant_share(const variant *v, span what);      // of the ranks' time
void variant_set_shares(const variant *v, json_t *row); // a member a span: its share

#endif
