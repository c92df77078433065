#include "data/internal.h"

#include <string.h>

// ---- batches -------------------------------------------------------------------------------------------------------

void batch_empty(batch *b, int64_t capacity) {
    b->n = 0;
    if (capacity <= b->capacity) return;
    b->examples = memory_resize(b->examples, (size_t)capacity, sizeof *b->examples);
    b->first = memory_resize(b->first, (size_t)capacity, sizeof *b->first);
    b->capacity = capacity;
}

int64_t batch_append(batch *b, int64_t example, int64_t length, int64_t first) {
    b->examples[b->n] = example;
    b->first[b->n++] = first;
    return first + length;
}

void batch_sample(batch *b, const dataset *d, const strata *even, uint64_t seed, int64_t step, int64_t size) {
    batch_empty(b, size);
    int64_t number = 0;
    for (int64_t i = 0; i < size; i++) {
        int64_t k = step * size + i, example = even ? strata_sample(even, seed, k) : data_sample(seed, d->n, k);
        number = batch_append(b, example, dataset_length(d, example), number);
    }
}

void batch_range(batch *b, const dataset *d, int64_t first, int64_t n) {
    REQUIRE(first >= 0 && n >= 0 && first <= d->n - n);
    batch_empty(b, n);
    int64_t number = 0;
    for (int64_t i = first; i < first + n; i++) number = batch_append(b, i, dataset_length(d, i), number);
}

void batch_destroy(batch *b) {
    memory_free(b->examples);
    memory_free(b->first);
    *b = (batch){0};
}

// ---- micro-batches -------------------------------------------------------------------------------------------------

micro_batch micro_batch_create(int64_t token_capacity, int64_t sequence_capacity) {
    REQUIRE(token_capacity > 0 && token_capacity <= INT32_MAX && sequence_capacity > 0); // starts are 32-bit
    size_t tokens = (size_t)token_capacity, sequences = (size_t)sequence_capacity;
    micro_batch m = {.token_capacity = token_capacity, .sequence_capacity = sequence_capacity};
    m.ids = memory_allocate(tokens, sizeof *m.ids);
    m.positions = memory_allocate(tokens, sizeof *m.positions);
    m.types = memory_allocate(tokens, sizeof *m.types);
    m.numbers = memory_allocate(tokens, sizeof *m.numbers);
    m.starts = memory_allocate(sequences + 1, sizeof *m.starts);
    m.examples = memory_allocate(sequences, sizeof *m.examples);
    return m;
}

void micro_batch_destroy(micro_batch *m) {
    memory_free(m->ids);
    memory_free(m->positions);
    memory_free(m->types);
    memory_free(m->numbers);
    memory_free(m->starts);
    memory_free(m->examples);
    *m = (micro_batch){0};
}

void micro_batch_empty(micro_batch *m) { m->tokens = m->sequences = m->longest = m->starts[0] = 0; }

bool micro_batch_has_room(const micro_batch *m, int64_t length) {
    return m->sequences < m->sequence_capacity && length <= m->token_capacity - m->tokens;
}

int32_t *micro_batch_append(micro_batch *m, int64_t example, int64_t length, int64_t first) {
    int64_t at = m->tokens;
    for (int64_t i = 0; i < length; i++) {
        m->positions[at + i] = (int32_t)i;
        m->types[at + i] = 0;
        m->numbers[at + i] = first + i;
    }
    m->examples[m->sequences++] = example;
    m->tokens += length;
    m->starts[m->sequences] = (int32_t)m->tokens;
    if (length > m->longest) m->longest = length;
    return m->ids + at;
}

int64_t micro_batch_pack(micro_batch *m, const dataset *d, const batch *b, int64_t from, int64_t to) {
    REQUIRE(from >= 0 && from < to && to <= b->n);
    micro_batch_empty(m);
    int64_t next = from;
    for (; next < to; next++) {
        int64_t example = b->examples[next], length = dataset_length(d, example), at = m->tokens;
        if (!micro_batch_has_room(m, length)) break;
        int32_t *ids = micro_batch_append(m, example, length, b->first[next]);
        memcpy(ids, d->ids + d->starts[example], (size_t)length * sizeof *ids);
        for (int64_t i = d->second[example]; i < length; i++) m->types[at + i] = 1;
    }
    REQUIRE(next > from);
    return next;
}
