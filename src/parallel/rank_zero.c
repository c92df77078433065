// What ranks have with rank 0 alone, one after the other.
#include "parallel/internal.h"

#include <math.h>

#define ROUND_TRIPS 32

static void send(comm *c, const void *data, int64_t size, int to, int tag) {
    MPI_Request request;
    CHECK_MPI(MPI_Isend(data, comm_count(size), MPI_BYTE, to, tag, c->mpi, &request));
    comm_wait(1, &request);
}

static void receive(comm *c, void *data, int64_t size, int from, int tag) {
    MPI_Request request;
    CHECK_MPI(MPI_Irecv(data, comm_count(size), MPI_BYTE, from, tag, c->mpi, &request));
    comm_wait(1, &request);
}

// ---- handing over

// A rank waits for its turn, so that rank 0 holds one other's bytes at a time.
void comm_hand_over(comm *c, const void *mine, size_t size,
                    void (*take)(void *context, int rank, const void *data, size_t size), void *context) {
    uint64_t bytes = size;
    if (c->rank > 0) {
        send(c, &bytes, sizeof bytes, 0, TAG_HAND_OVER);
        send(c, mine, (int64_t)size, 0, TAG_HAND_OVER);
        return;
    }
    take(context, 0, mine, size);
    for (int r = 1; r < c->size; r++) {
        receive(c, &bytes, sizeof bytes, r, TAG_HAND_OVER);
        void *theirs = memory_allocate(bytes, 1);
        receive(c, theirs, (int64_t)bytes, r, TAG_HAND_OVER);
        take(context, r, theirs, bytes);
        memory_free(theirs);
    }
}

// ---- clocks

static void answer(comm *c, int to, double (*clock)(void)) {
    char question;
    for (int i = 0; i < ROUND_TRIPS; i++) {
        receive(c, &question, sizeof question, to, TAG_CLOCK);
        double now = clock();
        send(c, &now, sizeof now, to, TAG_CLOCK);
    }
}

//     rank 0   ------ theirs ------        theirs is between asked and answered, in the middle of them if both ways
//     rank r   asked ---- answered         are as long
static double ask(comm *c, double (*clock)(void), double *error) {
    double offset = 0;
    *error = INFINITY;
    for (int i = 0; i < ROUND_TRIPS; i++) {
        double asked = clock(), theirs;
        send(c, "", 1, 0, TAG_CLOCK);
        receive(c, &theirs, sizeof theirs, 0, TAG_CLOCK);
        double answered = clock();
        if (answered - asked >= 2 * *error) continue;
        *error = (answered - asked) / 2;
        offset = theirs - (asked + answered) / 2;
    }
    return fabs(offset) <= *error ? 0 : offset;
}

double comm_clock_offset(comm *c, double (*clock)(void), double *error) {
    *error = 0;
    double offset = c->rank > 0 ? ask(c, clock, error) : 0;
    for (int r = 1; c->rank == 0 && r < c->size; r++) answer(c, r, clock);
    return offset;
}
