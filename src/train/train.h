// train: the driver. Step loop, evaluation, metrics, run folder, progress.
#ifndef PAF_TRAIN_H
#define PAF_TRAIN_H

#include "data/data.h"

#include <jansson.h>

// ---- metrics (metrics.c): local to the rank ------------------------------------------------------------------------

// Of n examples: predicted classes against labels, or predicted values against targets (the other two are NULL).
// An object of GLUE's names: accuracy; f1 (of class 1); matthews_correlation; pearson, spearmanr (average ranks for
// ties). An undefined correlation is 0, never NaN. n = 0 gives zeros.
json_t *metrics_compute(metric_kind kind, int64_t n, const int32_t *predicted, const int32_t *labels,
                        const float *values, const float *targets);
// The mean of the object's members: what the best checkpoint is chosen by.
double metrics_mean(const json_t *metrics);

// ---- submissions (submission.c): local to the rank -----------------------------------------------------------------

// GLUE's format: header index<TAB>prediction, index from 0 in file order; the class number, or its word where the task
// wants words; regression clipped to the task's range with three decimals. Written atomically.
bool submission_write(const char *path, const task *t, int64_t n, const int32_t *predicted, const float *values,
                      error *err);

#endif
