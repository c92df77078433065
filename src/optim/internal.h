// How the optimizers walk a row of the table. Private to this room.
#ifndef PAF_OPTIM_INTERNAL_H
#define PAF_OPTIM_INTERNAL_H

#include "optim/optim.h"
#include "tensor/threads.h"

// Floats of a large row that a thread takes at a time, and blocks of them whose sums wait to be added in their order.
// Most rows are small, and do without: entering a parallel region costs a third of a microsecond even for one thread.
enum { BLOCK = 4096, SUMS = 256 };

#endif
