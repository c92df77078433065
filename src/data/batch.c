#include "data/data.h"

#include <string.h>

int64_t data_sample(uint64_t seed, int64_t n, int64_t k) {
    REQUIRE(n > 0 && k >= 0);
    random_stream order = random_stream_create(seed, RANDOM_ORDER, (uint64_t)(k / n), 0);
    return (int64_t)random_permutation(order, (uint64_t)n, (uint64_t)(k % n));
}

// ---- batches -------------------------------------------------------------------------------------------------------

static void batch_empty(batch *b, int64_t capacity) {
    b->n = 0;
    if (capacity <= b->capacity) return;
    b->examples = memory_resize(b->examples, (size_t)capacity, sizeof *b->examples);
    b->first = memory_resize(b->first, (size_t)capacity, sizeof *b->first);
    b->capacity = capacity;
}

// Appends an example that begins at this global number; where the next one begins.
static int64_t batch_append(batch *b, const dataset *d, int64_t example, int64_t first) {
    b->examples[b->n] = example;
    b->first[b->n++] = first;
    return first + dataset_length(d, example);
}

void batch_sample(batch *b, const dataset *d, uint64_t seed, int64_t step, int64_t size) {
    batch_empty(b, size);
    int64_t number = 0;
    for (int64_t i = 0; i < size; i++) number = batch_append(b, d, data_sample(seed, d->n, step * size + i), number);
}

void batch_range(batch *b, const dataset *d, int64_t first, int64_t n) {
    REQUIRE(first >= 0 && n >= 0 && first <= d->n - n);
    batch_empty(b, n);
    int64_t number = 0;
    for (int64_t i = 0; i < n; i++) number = batch_append(b, d, first + i, number);
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

static void append_sequence(micro_batch *m, const dataset *d, int64_t example, int64_t first) {
    int64_t length = dataset_length(d, example), at = m->tokens;
    memcpy(m->ids + at, d->ids + d->starts[example], (size_t)length * sizeof *m->ids);
    for (int64_t i = 0; i < length; i++) {
        m->positions[at + i] = (int32_t)i;
        m->types[at + i] = i >= d->second[example];
        m->numbers[at + i] = first + i;
    }
    m->examples[m->sequences++] = example;
    m->tokens += length;
    m->starts[m->sequences] = (int32_t)m->tokens;
    if (length > m->longest) m->longest = length;
}

int64_t micro_batch_pack(micro_batch *m, const dataset *d, const batch *b, int64_t from, int64_t to) {
    REQUIRE(from >= 0 && from < to && to <= b->n);
    m->tokens = m->sequences = m->longest = 0;
    m->starts[0] = 0;
    int64_t next = from;
    for (; next < to && m->sequences < m->sequence_capacity; next++) {
        int64_t example = b->examples[next];
        if (dataset_length(d, example) > m->token_capacity - m->tokens) break;
        append_sequence(m, d, example, b->first[next]);
    }
    REQUIRE(next > from);
    return next;
}
