// The kernels of a training step, each to be run alone on what a PAF layer of one rank gives it. Private to this room.
#ifndef PAF_ANALYSIS_KERNELS_H
#define PAF_ANALYSIS_KERNELS_H

#include "analysis/internal.h"
#include "model/model.h"

// A model of a few layers on this rank alone, with a micro-batch for it; kernels take their arrays from it.
typedef struct {
    model_config config; // of the whole model
    topology topo;       // a team of this rank
    placement place;     // heads and neurons may be some of the model's
    micro_batch batch;
    masked_tokens masked; // 15 % of the tokens
    model m;
} workbench;

typedef struct {
    int64_t layers, heads, neurons; // of the model on the bench
    int64_t tokens, length;         // of the micro-batch: sequences of that length, the last one shorter
    int64_t longest;                // of later micro-batches
} workbench_request;

// The arrays hold what a whole step has left in them. Collective over the world; the same error on every rank.
// workbench_close in any case.
bool workbench_open(workbench *w, const model_config *config, const workbench_request *request, error *err);
void workbench_close(workbench *w);
// Other sequences from now on, as many tokens; no longer than was asked for.
void workbench_set_length(workbench *w, int64_t length);

typedef enum {
    PART_ATTENTION,
    PART_FFN,
    PART_BETWEEN, // the sum of the branches
    PART_EMBEDDING,
    PART_WORDS,  // the masked-LM head's rows of the vocabulary
    PART_UPDATE, // what every optimizer needs
    PART_ADAMW,
    PART_LAMB,
    KERNEL_PARTS
} kernel_part;

// All calls of one kind in a layer, or in a step.
typedef struct {
    const char *name;
    kernel_part part;
    void (*run)(workbench *w);
    double count; // of it in a step of the whole model
    double flop;  // of the model, nothing counted that is computed again; 0 where all is elementwise
    double bytes; // that move at least once: each array that is read, each that is written
} kernel;

enum { KERNELS_MOST = 40 };

// In the order of a step; returns how many.
int kernels_list(kernel out[KERNELS_MOST], const workbench *w);

// ---- bench_profile.c ------------------------------------------------------------------------------------------------

// Measures the blocks of a layer of this config with all and with half of the heads and neurons, repeats times, and
// writes a profile for parallel.profile. seconds are those of a part's kernels on the whole workbench w, once each.
// Collective over the world; the same error on every rank.
bool profile_write(const char *path, const workbench *w, const double seconds[KERNEL_PARTS], int64_t repeats,
                   error *err);

#endif
