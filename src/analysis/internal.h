// What the benchmarks share. Private to this room.
#ifndef PAF_ANALYSIS_INTERNAL_H
#define PAF_ANALYSIS_INTERNAL_H

#include "analysis/analysis.h"

#include <jansson.h>

// ---- series.c: the times of one thing, measured again and again -----------------------------------------------------

typedef struct {
    double *seconds; // [capacity]; sorted by series_sort
    int64_t n, capacity;
} series;

series series_create(int64_t capacity);
void series_add(series *s, double seconds);
void series_sort(series *s);                          // before any quantile is asked for
double series_quantile(const series *s, double q);    // 0 without any time
double series_median(const series *s);                // the 0.5 quantile
void series_to_json(const series *s, json_t *object); // sets median_s, quarter_s, three_quarters_s
void series_destroy(series *s);

#endif
