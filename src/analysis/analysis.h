// analysis: what the program measures about itself.
#ifndef PAF_ANALYSIS_H
#define PAF_ANALYSIS_H

#include "base/base.h"

typedef struct {
    char config[OPTION_STRING_SIZE];        // bench.config: the layer's shape
    char team[OPTION_STRING_SIZE];          // bench.team
    char exchange[OPTION_STRING_SIZE];      // bench.exchange
    int64_t tokens, length;                 // bench.tokens, packed in sequences of bench.length
    int64_t layers;                         // bench.layers
    int64_t repeats;                        // bench.repeats
    char json[OPTION_STRING_SIZE];          // json
    char profile[OPTION_STRING_SIZE];       // bench.profile, of the layer's placement
    char write_profile[OPTION_STRING_SIZE]; // write-profile
} bench_settings;

extern const option bench_options[];

// Forward and backward of a stack of layers, training mode: one rank and the whole team, SAF, PAF with pure groups
// (balance off) and PAF with even work (on), alternating in one run; medians, and the share of the cores' FMA peak,
// measured in the same run. A table to standard output, JSON where asked. Collective over the world.
bool bench_layer(const bench_settings *settings, error *err);
// The kernels of a PAF layer, and of what comes before and after the layers, one by one on every rank at the same time:
// time, FLOP, bytes, and how near that is to what FMA peak and memory bandwidth, measured in the same run, allow. A
// table to standard output, JSON and a profile for parallel.profile where asked. Collective over the world.
bool bench_kernels(const bench_settings *settings, error *err);

#endif
