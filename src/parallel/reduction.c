#include "parallel/internal.h"

#include <sched.h>
#include <string.h>

#define PLACES 4 // pieces in flight

// Floats of each replica's share that travel together: few where they come from many.
static int64_t piece_floats(int replicas) {
    int64_t floats = ((int64_t)1 << 20) / replicas;
    return floats > 1 << 14 ? floats : 1 << 14;
}

// What is to be done with a tensor.
typedef struct {
    float *values;
    int64_t rows, columns;
    bool sum, gather;
} job;

typedef enum { PLACE_FREE, PLACE_SUMMING, PLACE_GATHERING } place_state;

// A piece in flight: of each replica's share of the rows, the floats [first, first + piece), as far as there are some.
typedef struct {
    place_state state;
    job job;
    int64_t first;
    float *received;       // [replicas, piece] the others' values for this replica's share, and its own
    MPI_Request *requests; // [2 * replicas]
    int n;
} place;

struct reduction {
    comm *c;
    int64_t piece;
    job *jobs; // [n_jobs] added and not finished with; those before `next` have begun
    size_t n_jobs, capacity, next;
    int64_t at; // of the next piece in the next job
    int turn;   // whose place the next piece takes: in turn, so that tags say which piece a message is of
    place places[PLACES];
    reduction *after; // in the list of all there are
};

static reduction *all;

reduction *reduction_create(comm *replicas) {
    if (comm_size(replicas) == 1) return NULL;
    reduction *r = memory_allocate(1, sizeof *r);
    *r = (reduction){.c = replicas, .after = all};
    size_t n = (size_t)comm_size(replicas);
    r->piece = piece_floats(comm_size(replicas));
    for (int i = 0; i < PLACES; i++) {
        r->places[i].received = memory_allocate_aligned(n * (size_t)r->piece, sizeof(float));
        r->places[i].requests = memory_allocate(2 * n, sizeof(MPI_Request));
    }
    all = r;
    return r;
}

void reduction_destroy(reduction *r) {
    if (!r) return;
    reduction_finish(r);
    reduction **at = &all;
    while (*at != r) at = &(*at)->after;
    *at = r->after;
    for (int i = 0; i < PLACES; i++) {
        memory_free(r->places[i].received);
        memory_free(r->places[i].requests);
    }
    memory_free(r->jobs);
    memory_free(r);
}

int64_t reduction_need(int replicas) {
    return replicas > 1 ? PLACES * replicas * piece_floats(replicas) * (int64_t)sizeof(float) : 0;
}

range reduction_share(int64_t rows, int replica, int replicas) {
    int64_t first = rows * replica / replicas;
    return (range){first, rows * (replica + 1) / replicas - first};
}

// ---- pieces

// Of a replica's share of the job, in floats.
static range share_of(const reduction *r, const job *j, int replica) {
    range rows = reduction_share(j->rows, replica, r->c->size);
    return (range){rows.first * j->columns, rows.count * j->columns};
}

static range piece_of(const reduction *r, const place *p, int replica) {
    range share = share_of(r, &p->job, replica);
    int64_t left = share.count - p->first;
    return (range){share.first + p->first, left < 0 ? 0 : left < r->piece ? left : r->piece};
}

static bool has_piece_at(const reduction *r, const job *j, int64_t first) {
    for (int replica = 0; replica < r->c->size; replica++)
        if (share_of(r, j, replica).count > first) return true;
    return false;
}

static int tag_of(const reduction *r, const place *p) {
    return TAG_REDUCTION + 2 * (int)(p - r->places) + (p->state == PLACE_GATHERING);
}

static void send(reduction *r, place *p, const float *values, int64_t n, int to) {
    if (n) CHECK_MPI(MPI_Isend(values, comm_count(n), MPI_FLOAT, to, tag_of(r, p), r->c->mpi, &p->requests[p->n++]));
}

static void receive(reduction *r, place *p, float *values, int64_t n, int from) {
    if (n) CHECK_MPI(MPI_Irecv(values, comm_count(n), MPI_FLOAT, from, tag_of(r, p), r->c->mpi, &p->requests[p->n++]));
}

// Each replica's values for each other's share go there.
static void begin_sum(reduction *r, place *p) {
    p->state = PLACE_SUMMING;
    p->n = 0;
    int64_t mine = piece_of(r, p, r->c->rank).count;
    for (int replica = 0; replica < r->c->size; replica++) {
        if (replica == r->c->rank) continue;
        range theirs = piece_of(r, p, replica);
        receive(r, p, p->received + replica * r->piece, mine, replica);
        send(r, p, p->job.values + theirs.first, theirs.count, replica);
    }
}

static void begin_gather(reduction *r, place *p) {
    p->state = PLACE_GATHERING;
    p->n = 0;
    range mine = piece_of(r, p, r->c->rank);
    for (int replica = 0; replica < r->c->size; replica++) {
        if (replica == r->c->rank) continue;
        range theirs = piece_of(r, p, replica);
        receive(r, p, p->job.values + theirs.first, theirs.count, replica);
        send(r, p, p->job.values + mine.first, mine.count, replica);
    }
}

static void sum(reduction *r, place *p) {
    range mine = piece_of(r, p, r->c->rank);
    float *values = p->job.values + mine.first;
    memcpy(p->received + r->c->rank * r->piece, values, (size_t)mine.count * sizeof *values);
    memcpy(values, p->received, (size_t)mine.count * sizeof *values);
    for (int replica = 1; replica < r->c->size; replica++) {
        const float *theirs = p->received + replica * r->piece;
        for (int64_t i = 0; i < mine.count; i++) values[i] += theirs[i];
    }
}

// ---- progress

static void move_along(reduction *r, place *p) {
    int done;
    if (p->state == PLACE_FREE) return;
    CHECK_MPI(MPI_Testall(p->n, p->requests, &done, MPI_STATUSES_IGNORE));
    if (!done) return;
    bool summed = p->state == PLACE_SUMMING;
    if (summed) sum(r, p);
    if (summed && p->job.gather)
        begin_gather(r, p);
    else
        p->state = PLACE_FREE;
}

// The next piece, if there is one and the place whose turn it is is free.
static bool begin_piece(reduction *r) {
    while (r->next < r->n_jobs && !has_piece_at(r, &r->jobs[r->next], r->at)) {
        r->next++;
        r->at = 0;
    }
    place *p = &r->places[r->turn];
    if (r->next == r->n_jobs || p->state != PLACE_FREE) return false;
    p->job = r->jobs[r->next];
    p->first = r->at;
    r->at += r->piece;
    r->turn = (r->turn + 1) % PLACES;
    (p->job.sum ? begin_sum : begin_gather)(r, p);
    return true;
}

static bool is_done(const reduction *r) {
    for (int i = 0; i < PLACES; i++)
        if (r->places[i].state != PLACE_FREE) return false;
    return r->next == r->n_jobs;
}

static void progress(reduction *r) {
    if (!r->n_jobs) return;
    for (int i = 0; i < PLACES; i++) move_along(r, &r->places[i]);
    while (begin_piece(r)) continue;
    if (is_done(r)) r->n_jobs = r->next = 0;
}

void reduction_progress(void) {
    for (reduction *r = all; r; r = r->after) progress(r);
}

// ---- jobs

static void add(reduction *r, job j) {
    r->jobs = memory_grow(r->jobs, r->n_jobs, &r->capacity, sizeof *r->jobs);
    r->jobs[r->n_jobs++] = j;
}

void reduction_add_sum(reduction *r, float *values, int64_t rows, int64_t columns, bool gather) {
    add(r, (job){values, rows, columns, .sum = true, .gather = gather});
}

void reduction_add_gather(reduction *r, float *values, int64_t rows, int64_t columns) {
    add(r, (job){values, rows, columns, .gather = true});
}

void reduction_finish(reduction *r) {
    span before = time_span(SPAN_REDUCTION);
    for (progress(r); r->n_jobs; progress(r)) sched_yield();
    time_span(before);
}
