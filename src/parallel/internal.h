// What the files of this room share: the communicator, checked MPI calls, waiting.
#ifndef PAF_PARALLEL_INTERNAL_H
#define PAF_PARALLEL_INTERNAL_H

#include "parallel/parallel.h"

#include <mpi.h>

#define COMM_CHUNK (1 << 20) // floats that comm_sum_floats handles at a time

struct comm {
    MPI_Comm mpi;
    int rank, size;
    float *buffer;         // [COMM_CHUNK + size] for comm_sum_floats, from its first call on
    MPI_Request *requests; // [2 * size]
};

enum { // message tags; an exchange adds the number of its item
    TAG_SUM = 1,
    TAG_GATHER = 2,
    TAG_HAND_OVER = 3,
    TAG_CLOCK = 4,
    TAG_PIPELINE = 5,   // and its direction
    TAG_REDUCTION = 30, // and which of its places in flight
    TAG_EXCHANGE_REDUCE = 10,
    TAG_EXCHANGE_GATHER = 20,
};

#define CHECK_MPI(call) comm_check(call, #call, __FILE__, __LINE__)
void comm_check(int code, const char *call, const char *file, int line);
// Waits for n requests, yielding the core; the time counts as idle.
void comm_wait(int n, MPI_Request *requests);
// True where the ranks of this node have a core each, so that a short spin pays.
bool comm_may_spin(void);
int comm_count(int64_t n); // a checked cast for MPI's int counts
// Moves the jobs of all reductions along; it waits for nothing.
void reduction_progress(void);

#endif
