// Where the time of a few steps goes, as Chrome's trace format: a lane a rank, in it a box a step around the step's
// spans. launch/plot-trace draws it, as do chrome://tracing and ui.perfetto.dev. An event a line.
#include "train/internal.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define EVENTS (1 << 16) // of a rank, in 1.5 MiB: those of 170 micro-batches of BERT-large

// ---- before the first step and around each

static bool is_traced(const trace *t, int64_t step) { return t->first <= step && step <= t->last; }

// The file as it is until the steps have been traced: it shows now, not then, whether it can be written.
static bool write_empty(const char *path, error *err) {
    const char empty[] = "{\"traceEvents\": []}\n", *slash = strrchr(path, '/');
    char *folder = memory_format("%.*s", slash ? (int)(slash - path) : 0, path);
    bool ok = (!*folder || file_make_folders(folder, err)) && file_write_atomic(path, empty, strlen(empty), err);
    memory_free(folder);
    return ok;
}

bool trace_open(trainer *t, error *err) {
    const run_settings *run = t->plan.run;
    trace *trace = &t->trace;
    if (!*run->trace) return true;
    if (run->trace_from > t->steps)
        return error_set(err, ERROR_INPUT, "run.trace_from is %lld, but the last step is %lld",
                         (long long)run->trace_from, (long long)t->steps);
    int64_t first = run->trace_from > t->done ? run->trace_from : t->done + 1;
    int64_t last = run->trace_from + run->trace_steps - 1;
    if (last > t->steps) last = t->steps;
    if (last < first) {
        log_warn("nothing to trace: the run goes on after step %lld; --run.trace_from=%lld would", (long long)t->done,
                 (long long)t->done + 1);
        return true;
    }
    if (t->run.root) write_empty(run->trace, err);
    if (!comm_agree(t->s.topo.world, err)) return error_prefix(err, "run.trace");
    trace->first = first;
    trace->last = last;
    trace->steps = memory_allocate((size_t)(last - first + 1), sizeof *trace->steps);
    trace->record = (span_record){memory_allocate(EVENTS, sizeof(span_event)), EVENTS, 0, 0};
    return true;
}

void trace_close(trace *t) {
    memory_free(t->steps);
    memory_free(t->record.events);
    *t = (trace){0};
}

void trace_step_begins(trainer *t) {
    trace *trace = &t->trace;
    if (!is_traced(trace, t->done + 1)) return;
    trace->steps[t->done + 1 - trace->first].begin = time_now();
    time_span_record(&trace->record);
}

// ---- the file

typedef struct {
    const trainer *t;
    char *text;
    size_t size, capacity;
    int64_t n_steps;
    traced_step *steps; // [ranks, n_steps]
    double zero;        // when the first rank began
} trace_file;

static void add(trace_file *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(trace_file *f, const char *format, ...) {
    enum { LONGEST = 512 };
    if (f->capacity - f->size < LONGEST) {
        f->capacity = 2 * f->capacity + LONGEST;
        f->text = memory_resize(f->text, f->capacity, 1);
    }
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(f->text + f->size, LONGEST, format, arguments);
    va_end(arguments);
    REQUIRE(length >= 0 && length < LONGEST);
    f->size += (size_t)length;
}

// What a rank owns, what its group is named for first.
static const char *lane_name(const trainer *t, int rank) {
    int team_rank = rank % t->s.topo.team;
    const placement_share *p = &t->s.place.shares[team_rank];
    if (!p->neurons.count) return "attention";
    if (!p->heads.count) return "FFN";
    return team_rank < t->s.topo.attention || t->s.topo.team == 1 ? "attention and FFN" : "FFN and attention";
}

// From begin to end in microseconds, which are whole nanoseconds, so that what lies in one another does so to the bit.
static void add_event(trace_file *f, int rank, const char *name, const char *category, double begin, double end) {
    long long from = llround(1e9 * (begin - f->zero)), length = llround(1e9 * (end - f->zero)) - from;
    add(f,
        "{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 0, \"tid\": %d, \"ts\": %lld.%03lld, "
        "\"dur\": %lld.%03lld",
        name, category, rank, from / 1000, from % 1000, length / 1000, length % 1000);
}

static void add_lane(void *context, int rank, const void *data, size_t size) {
    trace_file *f = context;
    add(f, ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 0, \"tid\": %d, ", rank);
    add(f, "\"args\": {\"name\": \"rank %d: %s\"}}", rank, lane_name(f->t, rank));
    for (int64_t i = 0; i < f->n_steps; i++) {
        const traced_step *step = &f->steps[rank * f->n_steps + i];
        long long number = f->t->trace.first + i;
        char name[32];
        snprintf(name, sizeof name, "step %lld", number);
        add(f, ",\n");
        add_event(f, rank, name, "step", step->begin, step->end);
        add(f, ", \"args\": {\"step\": %lld, \"tokens\": %.0f}}", number, step->tokens);
    }
    const span_event *events = data;
    for (size_t i = 0; i < size / sizeof *events; i++) {
        add(f, ",\n");
        add_event(f, rank, span_names[events[i].what], "span", events[i].begin, events[i].end);
        add(f, "}");
    }
}

static void add_head(trace_file *f) {
    const session *s = &f->t->s;
    const char *design = model_design_name(s->config.design);
    char team[32];
    topology_team_text(team, s->topo.attention, s->topo.ffn);
    add(f, "{\"displayTimeUnit\": \"ms\",\n\"otherData\": {\"program\": \"paf %s\", \"design\": \"%s\", ", PAF_VERSION,
        design);
    bool balance = f->t->plan.parallel->balance && !s->place.grid.rows;
    add(f, "\"team\": \"%s\", \"replicas\": %d, \"stages\": %d, \"balance\": \"%s\", ", team, s->topo.replicas,
        s->topo.stages, balance ? "on" : "off");
    add(f, "\"layers\": %lld, \"hidden\": %lld},\n", (long long)s->config.layers, (long long)s->config.hidden);
    add(f, "\"traceEvents\": [\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 0, \"tid\": 0, ");
    add(f, "\"args\": {\"name\": \"%s, team %s\"}}", design, team);
}

// Puts this rank's times on rank 0's clock.
static void align(trace *t, comm *world, int64_t n_steps) {
    double error, offset = comm_clock_offset(world, time_now, &error);
    for (int64_t i = 0; i < n_steps; i++) {
        t->steps[i].begin += offset;
        t->steps[i].end += offset;
    }
    for (size_t i = 0; i < t->record.n; i++) {
        t->record.events[i].begin += offset;
        t->record.events[i].end += offset;
    }
}

// The steps up to t->done. Collective over the world.
static void write_steps(trainer *t) {
    trace *trace = &t->trace;
    comm *world = t->s.topo.world;
    trace_file f = {.t = t, .n_steps = t->done - trace->first + 1, .zero = INFINITY};
    size_t bytes = (size_t)f.n_steps * sizeof *f.steps, ranks = (size_t)comm_size(world);
    error err = {0};
    double lost = (double)trace->record.lost;
    align(trace, world, f.n_steps);
    f.steps = memory_allocate(ranks, bytes);
    comm_gather(world, trace->steps, f.steps, bytes);
    for (size_t r = 0; r < ranks; r++) f.zero = fmin(f.zero, f.steps[r * (size_t)f.n_steps].begin);
    if (t->run.root) add_head(&f);
    comm_hand_over(world, trace->record.events, trace->record.n * sizeof(span_event), add_lane, &f);
    comm_max_doubles(world, &lost, 1);
    if (t->run.root) {
        add(&f, "\n]}\n");
        const char *path = t->plan.run->trace;
        if (!file_write_atomic(path, f.text, f.size, &err))
            log_warn("no trace: %s", err.text);
        else
            log_info("trace of steps %lld to %lld: %s", (long long)trace->first, (long long)t->done, path);
    }
    if (lost > 0)
        log_warn("the trace lacks the last %.0f spans of a rank, which has room for %d; trace fewer steps or a smaller "
                 "batch",
                 lost, EVENTS);
    memory_free(f.text);
    memory_free(f.steps);
}

void trace_step_ended(trainer *t, const step_report *r) {
    trace *trace = &t->trace;
    if (!is_traced(trace, t->done)) return;
    time_span_record(NULL);
    traced_step *step = &trace->steps[t->done - trace->first];
    step->end = time_now();
    step->tokens = r->tokens;
    if (t->done == trace->last || r->stop) write_steps(t);
}
