// The exchange by messages: token slices go straight to the rank that sums them, sums go straight to those who need
// them.

#include "parallel/exchange.h"

#include <string.h>

typedef struct {
    float *received[EXCHANGE_PARTIALS]; // [team, largest slice, hidden] the other owners' rows of this rank's slice
    MPI_Request *requests;              // [2 * EXCHANGE_PARTIALS * team]
    int n;
} mpi_state;

static void send_rows(exchange *e, const float *buffer, range rows, int to, int tag) {
    mpi_state *m = e->own;
    if (!rows.count) return;
    CHECK_MPI(MPI_Isend(buffer + rows.first * e->hidden, comm_count(rows.count * e->hidden), MPI_FLOAT, to, tag,
                        e->team->mpi, &m->requests[m->n++]));
}

static void receive_rows(exchange *e, float *memory, int64_t rows, int from, int tag) {
    mpi_state *m = e->own;
    if (!rows) return;
    CHECK_MPI(
        MPI_Irecv(memory, comm_count(rows * e->hidden), MPI_FLOAT, from, tag, e->team->mpi, &m->requests[m->n++]));
}

static void finish(exchange *e) {
    mpi_state *m = e->own;
    comm_wait(m->n, m->requests);
    m->n = 0;
}

static bool mpi_open(exchange *e, error *err) {
    (void)err;
    mpi_state *m = memory_allocate(1, sizeof *m);
    size_t team = (size_t)comm_size(e->team);
    size_t slice = ((size_t)e->max_tokens + team - 1) / team + 1;
    exchange_allocate_private(e);
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) {
        size_t floats = team * slice * (size_t)e->hidden;
        m->received[i] = memory_allocate_aligned(floats, sizeof(float));
    }
    m->requests = memory_allocate(2 * EXCHANGE_PARTIALS * team, sizeof *m->requests);
    e->own = m;
    return true;
}

static void mpi_close(exchange *e) {
    mpi_state *m = e->own;
    for (int i = 0; i < EXCHANGE_PARTIALS; i++) memory_free(m->received[i]);
    memory_free(m->requests);
    memory_free(m);
    exchange_free_private(e);
}

static void mpi_reduce(exchange *e, const exchange_item *partials, int n) {
    mpi_state *m = e->own;
    int me = e->team->rank, size = e->team->size;
    range mine = e->slices[me];
    for (int k = 0; k < n; k++) {
        int i = partials[k].index, owners = 0;
        for (int r = 0; r < size; r++) {
            if (!partials[k].ranks[r]) continue;
            float *rows = r == me ? e->partials[i] + mine.first * e->hidden
                                  : m->received[i] + (int64_t)owners * mine.count * e->hidden;
            if (r != me) receive_rows(e, rows, mine.count, r, TAG_EXCHANGE_REDUCE + k);
            e->parts[i][owners++] = rows;
        }
        e->n_parts[i] = owners;
        for (int r = 0; partials[k].ranks[me] && r < size; r++)
            if (r != me) send_rows(e, e->partials[i], e->slices[r], r, TAG_EXCHANGE_REDUCE + k);
    }
    finish(e);
}

static void mpi_gather(exchange *e, const exchange_item *slots, int n) {
    int me = e->team->rank, size = e->team->size;
    for (int k = 0; k < n; k++) {
        float *slot = e->slots[slots[k].index];
        for (int r = 0; r < size; r++) {
            if (r == me) continue;
            if (slots[k].ranks[me])
                receive_rows(e, slot + e->slices[r].first * e->hidden, e->slices[r].count, r, TAG_EXCHANGE_GATHER + k);
            if (slots[k].ranks[r]) send_rows(e, slot, e->slices[me], r, TAG_EXCHANGE_GATHER + k);
        }
    }
    finish(e);
}

const exchange_operations exchange_mpi = {EXCHANGE_MPI, mpi_open, mpi_close, mpi_reduce, mpi_gather};
