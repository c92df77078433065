#include "parallel/internal.h"

#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SPINS 2000 // tests of a request before the core is yielded, where every rank has a core

static comm world;
static int node_cores, node_ranks; // what this node's ranks may use together, and how many they are

void comm_check(int code, const char *call, const char *file, int line) {
    if (code == MPI_SUCCESS) return;
    char reason[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, reason, &length);
    fatal_at(file, line, "%s failed: %.*s", call, length, reason);
}

int comm_count(int64_t n) {
    REQUIRE(n >= 0 && n <= INT_MAX);
    return (int)n;
}

int comm_node_cores(void) { return node_cores; }
int comm_node_ranks(void) { return node_ranks; }
bool comm_may_spin(void) { return node_ranks <= node_cores; }
int comm_rank(const comm *c) { return c->rank; }
int comm_size(const comm *c) { return c->size; }
comm *comm_world(void) { return &world; }

// ---- start and end

static void abort_world(void) { MPI_Abort(MPI_COMM_WORLD, ERROR_INTERNAL); }

static void comm_fill(comm *c, MPI_Comm mpi) {
    c->mpi = mpi;
    CHECK_MPI(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN));
    CHECK_MPI(MPI_Comm_rank(mpi, &c->rank));
    CHECK_MPI(MPI_Comm_size(mpi, &c->size));
    c->requests = memory_allocate(2 * (size_t)c->size, sizeof(MPI_Request));
}

static void comm_empty(comm *c) {
    memory_free(c->requests);
    memory_free(c->buffer);
}

static void look_at_node(void) {
    MPI_Comm node;
    CHECK_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    cpu_set_t mine, all;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine)) CPU_ZERO(&mine);
    CHECK_MPI(MPI_Allreduce(&mine, &all, sizeof mine, MPI_BYTE, MPI_BOR, node));
    CHECK_MPI(MPI_Comm_size(node, &node_ranks));
    CHECK_MPI(MPI_Comm_free(&node));
    node_cores = CPU_COUNT(&all);
}

bool comm_check_srun(error *err) {
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS"), *task = getenv("SLURM_PROCID");
    if (!tasks || atoi(tasks) <= 1 || getenv("OMPI_COMM_WORLD_SIZE")) return true; // not srun's, or by way of mpirun
    bool alone = world.size == 1;
#ifdef OPEN_MPI
    alone |= world.size == 0 && !getenv("PMIX_RANK") && !getenv("PMI_RANK");
#endif
    if (!alone) return true;
    log_set_root(!task || !atoi(task));
    return error_set(
        err, ERROR_INPUT,
        "srun started %s tasks, but each sees a world of one rank: its MPI plug-in does not match this MPI; "
        "use srun --mpi=pmix (srun --mpi=list shows what there is), or mpirun inside the allocation",
        tasks);
}

void comm_start(int *argc, char ***argv) {
    // Open MPI spins in its own waits unless it knows of more ranks than cores; it must be told before it starts.
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    // One rank a core, one thread a rank, unless the user asks for threads.
    if (!getenv("OMP_NUM_THREADS")) omp_set_num_threads(1);
    int provided;
    CHECK_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided));
    if (provided < MPI_THREAD_FUNNELED) FATAL("this MPI has no MPI_THREAD_FUNNELED");
    comm_fill(&world, MPI_COMM_WORLD);
    fatal_set_handler(abort_world);
    log_set_root(world.rank == 0);
    look_at_node();
}

void comm_finish(void) {
    comm_empty(&world);
    CHECK_MPI(MPI_Finalize());
}

comm *comm_split(comm *c, int color, int key) {
    MPI_Comm part;
    CHECK_MPI(MPI_Comm_split(c->mpi, color, key, &part));
    comm *out = memory_allocate(1, sizeof *out);
    comm_fill(out, part);
    return out;
}

comm *comm_split_node(comm *c) {
    MPI_Comm node;
    CHECK_MPI(MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    comm *out = memory_allocate(1, sizeof *out);
    comm_fill(out, node);
    return out;
}

bool comm_node_fits(double *need, double *have) {
    comm *node = comm_split_node(&world);
    *have = (double)memory_available();
    comm_sum_doubles(node, need, 1);
    comm_free(node);
    return *have == 0 || *need <= *have;
}

void comm_free(comm *c) {
    if (!c) return;
    CHECK_MPI(MPI_Comm_free(&c->mpi));
    comm_empty(c);
    memory_free(c);
}

// ---- waiting

void comm_wait(int n, MPI_Request *requests) {
    int done;
    CHECK_MPI(MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE));
    if (done) return;
    span before = time_span(SPAN_IDLE);
    for (int64_t tests = 0; !done; tests++) {
        reduction_progress();
        if (!comm_may_spin() || tests > SPINS) sched_yield();
        CHECK_MPI(MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE));
    }
    time_span(before);
}

// Any call that looks for messages moves all of them along; a probe needs no request to look at.
void parallel_progress(void) {
    int found;
    if (world.size > 1) CHECK_MPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world.mpi, &found, MPI_STATUS_IGNORE));
    reduction_progress();
}

// ---- small collectives

void comm_barrier(comm *c) {
    MPI_Request request;
    CHECK_MPI(MPI_Ibarrier(c->mpi, &request));
    comm_wait(1, &request);
}

void comm_barrier_asleep(comm *c) {
    MPI_Request request;
    int done = 0;
    CHECK_MPI(MPI_Ibarrier(c->mpi, &request));
    while (!done) {
        CHECK_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (!done) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

void comm_broadcast(comm *c, void *data, size_t size, int root) {
    for (size_t at = 0; at < size;) { // in pieces that fit an int
        size_t piece = size - at < 1 << 30 ? size - at : 1 << 30;
        MPI_Request request;
        CHECK_MPI(MPI_Ibcast((char *)data + at, comm_count((int64_t)piece), MPI_BYTE, root, c->mpi, &request));
        comm_wait(1, &request);
        at += piece;
    }
}

void comm_gather(comm *c, const void *mine, void *all, size_t size) {
    MPI_Request request;
    int n = comm_count((int64_t)size);
    CHECK_MPI(MPI_Iallgather(mine, n, MPI_BYTE, all, n, MPI_BYTE, c->mpi, &request));
    comm_wait(1, &request);
}

bool comm_agree(comm *c, error *err) {
    int *kinds = memory_allocate((size_t)c->size, sizeof *kinds);
    int mine = (int)err->kind, root = 0;
    comm_gather(c, &mine, kinds, sizeof mine);
    while (root < c->size && kinds[root] == ERROR_NONE) root++;
    bool fine = root == c->size;
    memory_free(kinds);
    if (!fine) comm_broadcast(c, err, sizeof *err, root);
    return fine;
}

char *comm_broadcast_text(comm *c, const char *text, int root) {
    uint64_t size = c->rank == root ? strlen(text) : 0;
    comm_broadcast(c, &size, sizeof size, root);
    char *out = memory_allocate(size + 1, 1);
    if (c->rank == root) memcpy(out, text, size);
    comm_broadcast(c, out, size, root);
    return out;
}

char **comm_gather_texts(comm *c, const char *text) {
    char **all = memory_allocate((size_t)c->size, sizeof *all);
    for (int r = 0; r < c->size; r++) all[r] = comm_broadcast_text(c, text, r);
    return all;
}

static double add(double a, double b) { return a + b; }
static double larger(double a, double b) { return a > b ? a : b; }

static void combine_doubles(comm *c, double *values, int n, double (*combine)(double, double)) {
    if (c->size == 1) return;
    size_t size = (size_t)n * sizeof *values;
    double *all = memory_allocate((size_t)c->size, size);
    comm_gather(c, values, all, size);
    for (int i = 0; i < n; i++) {
        values[i] = all[i];
        for (int r = 1; r < c->size; r++) values[i] = combine(values[i], all[(int64_t)r * n + i]);
    }
    memory_free(all);
}

void comm_sum_doubles(comm *c, double *values, int n) { combine_doubles(c, values, n, add); }
void comm_max_doubles(comm *c, double *values, int n) { combine_doubles(c, values, n, larger); }

// ---- long vectors

static int64_t slice_first(int64_t n, int size, int rank) { return n * rank / size; }

typedef struct {
    float *memory;
    int64_t count;
} piece;

// Sends each other rank what `out` names and receives from it what `in` names.
static void swap_pieces(comm *c, int tag, piece (*out)(comm *, float *, int64_t, int),
                        piece (*in)(comm *, float *, int64_t, int), float *values, int64_t n) {
    int k = 0;
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank) continue;
        piece from = in(c, values, n, r), to = out(c, values, n, r);
        CHECK_MPI(MPI_Irecv(from.memory, comm_count(from.count), MPI_FLOAT, r, tag, c->mpi, &c->requests[k++]));
        CHECK_MPI(MPI_Isend(to.memory, comm_count(to.count), MPI_FLOAT, r, tag, c->mpi, &c->requests[k++]));
    }
    comm_wait(k, c->requests);
}

static piece slice_of(comm *c, float *values, int64_t n, int rank) {
    int64_t first = slice_first(n, c->size, rank);
    return (piece){values + first, slice_first(n, c->size, rank + 1) - first};
}

static piece own_slice(comm *c, float *values, int64_t n, int rank) {
    (void)rank;
    return slice_of(c, values, n, c->rank);
}

static piece buffer_for(comm *c, float *values, int64_t n, int rank) {
    int64_t count = slice_of(c, values, n, c->rank).count;
    return (piece){c->buffer + rank * count, count};
}

// values [n], n at most COMM_CHUNK: every rank sums its slice of all vectors, in rank order, and hands it round.
static void sum_chunk(comm *c, float *values, int64_t n) {
    swap_pieces(c, TAG_SUM, slice_of, buffer_for, values, n);
    piece mine = slice_of(c, values, n, c->rank);
    memcpy(buffer_for(c, values, n, c->rank).memory, mine.memory, (size_t)mine.count * sizeof *values);
    memcpy(mine.memory, c->buffer, (size_t)mine.count * sizeof *values);
    for (int r = 1; r < c->size; r++) {
        const float *theirs = c->buffer + r * mine.count;
        for (int64_t i = 0; i < mine.count; i++) mine.memory[i] += theirs[i];
    }
    swap_pieces(c, TAG_GATHER, own_slice, slice_of, values, n);
}

void comm_sum_floats(comm *c, float *values, int64_t n) {
    if (c->size == 1) return;
    if (!c->buffer) c->buffer = memory_allocate_aligned(COMM_CHUNK + (size_t)c->size, sizeof(float));
    for (int64_t at = 0; at < n; at += COMM_CHUNK) sum_chunk(c, values + at, n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
}
