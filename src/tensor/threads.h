// Threads inside a rank (OpenMP): when a loop is worth them.
//
// No number of threads changes a bit of what our kernels compute: what a thread takes at a time (rows, a block, a head
// of a sequence) it computes alone, and where such pieces are summed, it is in their order. Threads share whole rows,
// not columns: where two wrote to halves of one page, prefetching made each take the other's cache lines, and two
// threads were slower than one (measured, GELU backward at n = 1536).
#ifndef PAF_TENSOR_THREADS_H
#define PAF_TENSOR_THREADS_H

#include <omp.h>
#include <stdbool.h>
#include <stdint.h>

// Handing a loop over and waiting for its end takes a few microseconds: as long as one thread needs for this many
// elements in the cheapest kernels.
enum { THREADS_WORK = 1 << 16 };

static inline bool worth_threads(int64_t elements) { return elements >= THREADS_WORK; }

#endif
