#include "base/base.h"

#include <math.h>
#include <string.h>
#include <time.h>

const char *const span_names[SPAN_COUNT] = {"other",     "attention", "ffn",       "exchange",  "idle",
                                            "embedding", "head",      "optimizer", "reduction", "bubble"};

#define SAME_SPAN 5e-6 // seconds between two spans of a kind that are recorded as one

static span current = SPAN_OTHER;
static double begun; // when the current span began; 0 before the first
static double totals[SPAN_COUNT];
static span_record *recording; // NULL: no
static double recording_since;

double time_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void time_format(char *out, double seconds) {
    long s = lround(fmax(0, fmin(seconds, 359996400)));
    if (s >= 3600)
        snprintf(out, TIME_TEXT_SIZE, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, TIME_TEXT_SIZE, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(out, TIME_TEXT_SIZE, "%lds", s);
}

static void keep(span_record *r, span what, double begin, double end) {
    if (what == SPAN_OTHER) return;
    span_event *last = r->n ? &r->events[r->n - 1] : NULL;
    if (last && last->what == what && last->begin >= recording_since && begin - last->end < SAME_SPAN)
        last->end = end;
    else if (r->n < r->capacity)
        r->events[r->n++] = (span_event){begin, end, what};
    else
        r->lost++;
}

span time_span(span next) {
    double now = time_now();
    span last = current;
    if (begun > 0) totals[last] += now - begun;
    if (recording) keep(recording, last, begun, now);
    begun = now;
    current = next;
    return last;
}

void time_span_collect(double seconds[SPAN_COUNT]) {
    time_span(current);
    memcpy(seconds, totals, sizeof totals);
    memset(totals, 0, sizeof totals);
}

void time_span_record(span_record *record) {
    time_span(current);
    recording = record;
    recording_since = begun;
}
