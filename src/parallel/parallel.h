// parallel: ranks. Where a rank stands, who owns what, and how partial results become sums.
//
// The only room that calls MPI_*. Functions marked collective must be called by every rank of the communicator named.
// Waiting is always ours: requests are tested, then the core is yielded, so that more ranks than cores do not collapse.
#ifndef PAF_PARALLEL_H
#define PAF_PARALLEL_H

#include "base/base.h"

// ---- communicators (comm.c) ---------------------------------------------------------------------------------------

typedef struct comm comm; // opaque: a wrapped MPI communicator

// Starts MPI (MPI_THREAD_FUNNELED), and makes FATAL end all ranks and only rank 0 log. Collective over the world.
void comm_start(int *argc, char ***argv);
void comm_finish(void);
comm *comm_world(void);
int comm_rank(const comm *c);
int comm_size(const comm *c);
// Collective over c: every rank names its color and its place; ranks of a color form a communicator.
comm *comm_split(comm *c, int color, int key);
void comm_free(comm *c);

void comm_barrier(comm *c);
// If any rank comes with an error, all leave with that of the lowest such rank, and false. Collective.
bool comm_agree(comm *c, error *err);
void comm_broadcast(comm *c, void *data, size_t size, int root);
// Text of any length from the root to all; the caller frees what is returned. text is looked at on the root only.
char *comm_broadcast_text(comm *c, const char *text, int root);
// Every rank's text, in rank order, on every rank: an array of comm_size strings; free each and the array.
char **comm_gather_texts(comm *c, const char *text);
// values [n] of every rank summed in rank order; all ranks get the same bits.
void comm_sum_doubles(comm *c, double *values, int n);
void comm_max_doubles(comm *c, double *values, int n);
// The same for a long vector, by slices: values [n] are summed in rank order and all ranks get the same bits.
void comm_sum_floats(comm *c, float *values, int64_t n);

// Tests every outstanding MPI request, so that messages move while a rank computes.
void parallel_progress(void);

#endif
