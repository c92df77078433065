// analysis: what the program measures about itself.
#ifndef PAF_ANALYSIS_H
#define PAF_ANALYSIS_H

#include "model/model.h"
#include "optim/optim.h"

// Of all benchmarks; each has the tables that it takes, and leaves the other fields alone.
typedef struct {
    char config[OPTION_STRING_SIZE];        // bench.config: the model's shape
    int64_t tokens, length;                 // bench.tokens, packed in sequences of bench.length
    int64_t repeats;                        // bench.repeats
    char json[OPTION_STRING_SIZE];          // json
    char team[OPTION_STRING_SIZE];          // bench.team
    exchange_kind exchange;                 // bench.exchange
    int64_t layers;                         // bench.layers; step: 0 is the config's
    model_design design;                    // bench.design
    bool balance;                           // bench.balance
    model_head head;                        // bench.head
    optim_kind optimizer;                   // bench.optimizer
    int64_t micro_tokens;                   // bench.micro_tokens
    model_recompute recompute;              // bench.recompute
    bool one;                               // bench.one: one rank, too
    char task[OPTION_STRING_SIZE];          // bench.task: the lengths of its training set; "": bench.length
    char data_dir[OPTION_STRING_SIZE];      // data.dir
    char vocab[OPTION_STRING_SIZE];         // data.vocab
    bool lower_case;                        // data.lower_case
    char profile[OPTION_STRING_SIZE];       // bench.profile: what balance goes by; "": model_cost
    char write_profile[OPTION_STRING_SIZE]; // write-profile
} bench_settings;

extern const option bench_options[];      // every benchmark's
extern const option bench_team_options[]; // of those that measure a team
extern const option bench_kernels_options[];
extern const option bench_layer_options[]; // bench layer's own
extern const option bench_exchange_options[];
extern const option bench_step_options[];

// Forward and backward of a stack of layers, training mode: one rank and the whole team, SAF, PAF with pure groups
// (balance off), the same with the FFN by PBLAS, and PAF with even work (on), alternating in one run; medians and
// spread, and the share of the cores' FMA peak, measured in the same run; what either way of the FFN takes of time,
// messages and memory; the two blocks of a layer on one rank, beside what their FLOP make one expect. A table to
// standard output, JSON where asked. Collective over the world; the same error on every rank.
bool bench_layer(const bench_settings *settings, error *err);
// The kernels of a PAF layer, and of what comes before and after the layers, one by one on every rank at the same time:
// time, FLOP, bytes, and how near that is to what FMA peak and memory bandwidth, measured in the same run, allow. A
// table to standard output, JSON and a profile for parallel.profile where asked. Collective over the world.
bool bench_kernels(const bench_settings *settings, error *err);

// What surrounds the blocks of a PAF layer, forward (sum, residual, dropout, LayerNorm, hand round) and backward, by
// every kind of exchange that can be had, beside an all-reduce after which each rank normalises all rows; for several
// numbers of tokens, or 1 and bench.tokens where that is set. Collective over the world; the same error on every rank.
bool bench_exchange(const bench_settings *settings, error *err);

// A training step as training does it, optimizer included: on the team, and with bench.one on one rank, alternating.
// Tokens a second, share of the FMA peak measured in the same run, where the time went, memory; table and JSON as
// above. Collective over the world; the same error on every rank.
bool bench_step(const bench_settings *settings, error *err);

#endif
