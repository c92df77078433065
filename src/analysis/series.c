#include "analysis/internal.h"

#include <stdlib.h>

series series_create(int64_t capacity) {
    return (series){.seconds = memory_allocate((size_t)capacity, sizeof(double)), .capacity = capacity};
}

void series_add(series *s, double seconds) {
    REQUIRE(s->n < s->capacity);
    s->seconds[s->n++] = seconds;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void series_sort(series *s) { qsort(s->seconds, (size_t)s->n, sizeof *s->seconds, compare_doubles); }

double series_quantile(const series *s, double q) {
    if (!s->n) return 0;
    double at = q * (double)(s->n - 1);
    int64_t below = (int64_t)at, above = smaller(below + 1, s->n - 1);
    return s->seconds[below] + (at - (double)below) * (s->seconds[above] - s->seconds[below]);
}

double series_median(const series *s) { return series_quantile(s, 0.5); }

series series_ratio(const series *a, const series *b) {
    REQUIRE(a->n == b->n);
    series ratio = series_create(a->n > 0 ? a->n : 1);
    for (int64_t i = 0; i < a->n; i++) series_add(&ratio, a->seconds[i] / b->seconds[i]);
    series_sort(&ratio);
    return ratio;
}

void series_to_json(const series *s, json_t *object) {
    json_object_set_new(object, "median_s", json_real(series_median(s)));
    json_object_set_new(object, "quarter_s", json_real(series_quantile(s, 0.25)));
    json_object_set_new(object, "three_quarters_s", json_real(series_quantile(s, 0.75)));
}

void series_set_json(const series *s, json_t *object, const char *name) {
    char quartiles[64];
    snprintf(quartiles, sizeof quartiles, "%s_quartiles", name);
    json_object_set_new(object, name, json_real(series_median(s)));
    json_object_set_new(object, quartiles, json_pack("[f, f]", series_quantile(s, 0.25), series_quantile(s, 0.75)));
}

void series_destroy(series *s) {
    memory_free(s->seconds);
    *s = (series){0};
}
