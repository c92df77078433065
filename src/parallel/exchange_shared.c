// The exchange in shared memory: partials are read where they were written, and sums are written where they are read.
//
// One window for the team, held by its rank 0; every rank maps it:
//
//     | line 0 | line 1 | ... | partials of rank 0 | partials of rank 1 | ... | slot 0 | slot 1 | ... |
//       64 bytes a rank         EXCHANGE_PARTIALS x [max_tokens, hidden]        [max_tokens, hidden] each
//
// Pages take their place in memory (NUMA) where they are first written. The barrier is ours: each rank's line holds a
// monotonic epoch, which it alone writes.

#include "parallel/exchange.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define SPINS 2000 // looks at a line before the core is yielded, where every rank has a core

typedef struct {
    _Atomic uint32_t epoch;
    char padding[MEMORY_ALIGNMENT - sizeof(uint32_t)];
} line;

typedef struct {
    MPI_Win window;
    line *lines;     // [team]
    float *partials; // [team, EXCHANGE_PARTIALS, buffer]
    uint32_t epoch;
} shared_state;

// ---- the barrier

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool arrived(const line *l, uint32_t epoch) {
    return (int32_t)(atomic_load_explicit(&l->epoch, memory_order_acquire) - epoch) >= 0;
}

// Waits for one rank; messages of its neighbours may need this rank's help meanwhile.
static void wait_for(const line *l, uint32_t epoch) {
    if (comm_may_spin())
        for (int i = 0; i < SPINS; i++) {
            if (arrived(l, epoch)) return;
            relax();
        }
    while (!arrived(l, epoch)) {
        parallel_progress();
        sched_yield();
    }
}

static void barrier(exchange *e) {
    shared_state *s = e->own;
    int me = e->team->rank;
    s->epoch++;
    atomic_store_explicit(&s->lines[me].epoch, s->epoch, memory_order_release);
    span before = time_span(SPAN_IDLE);
    for (int r = 0; r < e->team->size; r++)
        if (r != me) wait_for(&s->lines[r], s->epoch);
    time_span(before);
}

// ---- the window

static bool on_one_node(const exchange *e) {
    MPI_Comm node;
    int size;
    CHECK_MPI(MPI_Comm_split_type(e->team->mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    CHECK_MPI(MPI_Comm_size(node, &size));
    CHECK_MPI(MPI_Comm_free(&node));
    int everywhere;
    int here = size == e->team->size;
    CHECK_MPI(MPI_Allreduce(&here, &everywhere, 1, MPI_INT, MPI_LAND, e->team->mpi));
    return everywhere;
}

// Where rank 0's part begins in this process, moved up to a whole cache line: the window's own base is not aligned.
// Maps differ by whole pages, so every process moves it by the same.
static char *window_base(MPI_Win window) {
    MPI_Aint size;
    int unit;
    char *base;
    CHECK_MPI(MPI_Win_shared_query(window, 0, &size, &unit, &base));
    uintptr_t address = (uintptr_t)base;
    return base + (-address & (MEMORY_ALIGNMENT - 1));
}

// Is there room for a window of so many bytes? Asked before: where there is none, Open MPI's allocation fails on rank 0
// and leaves the others waiting for it. Its default place is /dev/shm.
static bool window_fits(const exchange *e, MPI_Aint bytes, char *where, size_t size) {
    const char *folder = getenv("OMPI_MCA_osc_sm_backing_directory");
    snprintf(where, size, "%s", folder ? folder : "/dev/shm");
    struct statvfs s;
    int fits = statvfs(where, &s) || (double)s.f_bavail * (double)s.f_frsize > 1.02 * (double)bytes + (1 << 20);
    CHECK_MPI(MPI_Bcast(&fits, 1, MPI_INT, 0, e->team->mpi));
    return fits;
}

static MPI_Aint window_bytes(const exchange *e) {
    int64_t floats = exchange_buffer_floats(e) * ((int64_t)e->team->size * EXCHANGE_PARTIALS + e->n_slots);
    return (MPI_Aint)(floats * (int64_t)sizeof(float)) + e->team->size * (MPI_Aint)sizeof(line) + MEMORY_ALIGNMENT;
}

bool exchange_shared_possible(const exchange *e, error *err) {
    if (!on_one_node(e)) return error_set(err, ERROR_INPUT, "a team that spans nodes has no shared memory");
    MPI_Aint bytes = window_bytes(e);
    char where[256];
    return window_fits(e, bytes, where, sizeof where) ||
           error_set(err, ERROR_INPUT,
                     "%s has no room for %.0f MiB of shared memory (OMPI_MCA_osc_sm_backing_directory names another "
                     "place; --parallel.exchange=mpi needs none)",
                     where, (double)bytes / (1 << 20));
}

static bool shared_open(exchange *e, error *err) {
    if (!exchange_shared_possible(e, err)) return false;
    int team = e->team->size;
    int64_t buffer = exchange_buffer_floats(e);
    MPI_Aint bytes = window_bytes(e);
    void *unused;
    shared_state *s = memory_allocate(1, sizeof *s);
    CHECK_MPI(
        MPI_Win_allocate_shared(e->team->rank == 0 ? bytes : 0, 1, MPI_INFO_NULL, e->team->mpi, &unused, &s->window));
    CHECK_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, s->window));
    char *base = window_base(s->window);
    s->lines = (line *)base;
    s->partials = (float *)(base + team * (int64_t)sizeof(line));
    for (int i = 0; i < EXCHANGE_PARTIALS; i++)
        e->partials[i] = s->partials + (e->team->rank * EXCHANGE_PARTIALS + i) * buffer;
    for (int k = 0; k < e->n_slots; k++) e->slots[k] = s->partials + ((int64_t)team * EXCHANGE_PARTIALS + k) * buffer;
    atomic_store(&s->lines[e->team->rank].epoch, 0);
    e->own = s;
    comm_barrier(e->team);
    return true;
}

static void shared_close(exchange *e) {
    shared_state *s = e->own;
    CHECK_MPI(MPI_Win_unlock_all(s->window));
    CHECK_MPI(MPI_Win_free(&s->window));
    memory_free(s);
}

// ---- reduce and gather

static void shared_reduce(exchange *e, const exchange_item *partials, int n) {
    shared_state *s = e->own;
    int64_t buffer = exchange_buffer_floats(e);
    int64_t slice = e->slices[e->team->rank].first * e->hidden;
    for (int k = 0; k < n; k++) {
        int i = partials[k].index, owners = 0;
        for (int r = 0; r < e->team->size; r++)
            if (partials[k].ranks[r])
                e->parts[i][owners++] = s->partials + (r * EXCHANGE_PARTIALS + i) * buffer + slice;
        e->n_parts[i] = owners;
    }
    barrier(e);
}

static void shared_gather(exchange *e, const exchange_item *slots, int n) {
    (void)slots, (void)n;
    barrier(e);
}

const exchange_operations exchange_shared = {EXCHANGE_SHARED, shared_open, shared_close, shared_reduce, shared_gather};
