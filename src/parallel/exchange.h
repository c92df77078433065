// Inside the exchange: what the kinds share, and what each kind does its own way. Private to this room.
#ifndef PAF_PARALLEL_EXCHANGE_H
#define PAF_PARALLEL_EXCHANGE_H

#include "parallel/internal.h"

typedef struct {
    exchange_kind kind;
    // Allocates partials and slots; false where this kind cannot be had. Collective over the team.
    bool (*open)(exchange *e, error *err);
    void (*close)(exchange *e);
    // Makes every owner's rows of this rank's slice readable, and fills e->parts.
    void (*reduce)(exchange *e, const exchange_item *partials, int n);
    // Makes every rank's slice of a slot readable by those who need it.
    void (*gather)(exchange *e, const exchange_item *slots, int n);
} exchange_operations;

extern const exchange_operations exchange_local, exchange_shared, exchange_mpi;

struct exchange {
    const exchange_operations *operations;
    comm *team;
    int64_t max_tokens, hidden;
    int n_slots;
    range *slices; // [team size] of the current micro-batch, or of other rows
    float *partials[EXCHANGE_PARTIALS];
    float **slots;                          // [n_slots]
    const float **parts[EXCHANGE_PARTIALS]; // [n_parts] pointers to this rank's slice, in rank order
    int n_parts[EXCHANGE_PARTIALS];
    void *own; // the kind's own state
};

// Can these ranks have a window for so much? Not, and why in err. Collective over the team.
bool exchange_shared_possible(const exchange *e, error *err);

// Floats of one [max_tokens, hidden] buffer, padded to whole cache lines.
int64_t exchange_buffer_floats(const exchange *e);
// Private memory for partials and slots, for the kinds without a window.
void exchange_allocate_private(exchange *e);
void exchange_free_private(exchange *e);

#endif
