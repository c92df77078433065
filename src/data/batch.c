#include "data/internal.h"

#include <stdlib.h>
#include <string.h>

void batch_empty(batch *b, int64_t capacity) {
    b->n = 0;
    if (capacity <= b->capacity) return;
    b->list = memory_resize(b->list, (size_t)capacity, sizeof *b->list);
    b->loads = memory_resize(b->loads, (size_t)capacity, sizeof *b->loads);
    b->capacity = capacity;
}

void batch_append(batch *b, int64_t example, int64_t length) {
    int64_t first = b->n ? b->list[b->n - 1].first + b->list[b->n - 1].length : 0;
    b->list[b->n++] = (batch_item){.example = example, .length = length, .first = first};
}

void batch_sample(batch *b, const dataset *d, const strata *even, uint64_t seed, int64_t step, int64_t size) {
    batch_empty(b, size);
    for (int64_t i = 0; i < size; i++) {
        int64_t k = step * size + i, example = even ? strata_sample(even, seed, k) : data_sample(seed, d->n, k);
        batch_append(b, example, dataset_length(d, example));
    }
}

void batch_range(batch *b, const dataset *d, int64_t first, int64_t n) {
    REQUIRE(first >= 0 && n >= 0 && first <= d->n - n);
    batch_empty(b, n);
    for (int64_t i = first; i < first + n; i++) batch_append(b, i, dataset_length(d, i));
}

void batch_destroy(batch *b) {
    memory_free(b->list);
    memory_free(b->loads);
    *b = (batch){0};
}

// ---- parts ---------------------------------------------------------------------------------------------------------

static int by_number(const void *a, const void *b) {
    const batch_item *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

// Part by part, and within one from the longest to the shortest, equals in sampling order.
static int by_part(const void *a, const void *b) {
    const batch_item *x = a, *y = b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return by_number(a, b);
}

static void sort(batch *b, int (*by)(const void *, const void *)) { qsort(b->list, (size_t)b->n, sizeof *b->list, by); }

void batch_sort(batch *b) {
    for (int64_t i = 0; i < b->n; i++) b->list[i].part = 0;
    sort(b, by_part);
}

// Of the items from the longest to the shortest, each replica takes one of every `replicas`, there and back again.
void batch_deal(batch *b, int replica, int replicas) {
    REQUIRE(replica >= 0 && replica < replicas);
    int64_t kept = 0;
    batch_sort(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t turn = i / replicas, place = i % replicas;
        if ((turn % 2 ? replicas - 1 - place : place) == replica) b->list[kept++] = b->list[i];
    }
    b->n = kept;
    sort(b, by_number);
}

static bool has_room(const batch_load *part, int64_t length, batch_load most) {
    return part->tokens + length <= most.tokens && part->sequences < most.sequences;
}

static void add_to_part(batch *b, batch_item *item, int64_t part) {
    item->part = part;
    b->loads[part].tokens += item->length;
    b->loads[part].sequences++;
}

// One behind the other, each part as full as it gets; how many parts there are.
static int64_t cut_in_order(batch *b, batch_load most) {
    int64_t parts = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (parts == 0 || !has_room(&b->loads[parts - 1], b->list[i].length, most)) b->loads[parts++] = (batch_load){0};
        add_to_part(b, &b->list[i], parts - 1);
    }
    return parts;
}

// The items, sorted, each onto the part that has the fewest tokens and room; false if one has none.
static bool cut_evenly(batch *b, int64_t parts, batch_load most) {
    memset(b->loads, 0, (size_t)parts * sizeof *b->loads);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t lightest = -1;
        for (int64_t p = 0; p < parts; p++)
            if (has_room(&b->loads[p], b->list[i].length, most) &&
                (lightest < 0 || b->loads[p].tokens < b->loads[lightest].tokens))
                lightest = p;
        if (lightest < 0) return false;
        add_to_part(b, &b->list[i], lightest);
    }
    return true;
}

// Fewer would not hold it.
static int64_t least_parts(const batch *b, batch_load most) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < b->n; i++) {
        REQUIRE(b->list[i].length <= most.tokens);
        tokens += b->list[i].length;
    }
    int64_t by_tokens = (tokens + most.tokens - 1) / most.tokens;
    int64_t by_sequences = (b->n + most.sequences - 1) / most.sequences;
    return by_tokens > by_sequences ? by_tokens : by_sequences;
}

// Looks for the fewest parts that can be cut evenly, which are hardly ever more than the least; and where even as many
// as sampling order needs are too few for that, takes those.
int64_t batch_cut(batch *b, int64_t tokens, int64_t sequences) {
    const batch_load most = {tokens, sequences};
    sort(b, by_number);
    int64_t least = least_parts(b, most), parts = cut_in_order(b, most);
    batch_sort(b);
    while (least < parts) {
        int64_t middle = least + (parts - least) / 2;
        if (cut_evenly(b, middle, most))
            parts = middle;
        else
            least = middle + 1;
    }
    if (!cut_evenly(b, parts, most)) {
        sort(b, by_number);
        cut_in_order(b, most);
    }
    sort(b, by_part);
    return parts;
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

double micro_batch_squares(const micro_batch *m) {
    double squares = 0;
    for (int64_t i = 0; i < m->sequences; i++) {
        double length = (double)(m->starts[i + 1] - m->starts[i]);
        squares += length * length;
    }
    return squares;
}

void micro_batch_empty(micro_batch *m) { m->tokens = m->sequences = m->longest = m->starts[0] = 0; }

bool micro_batch_takes(const micro_batch *m, const batch_item *item, const batch_item *first) {
    return item->part == first->part && m->sequences < m->sequence_capacity &&
           item->length <= m->token_capacity - m->tokens;
}

int32_t *micro_batch_append(micro_batch *m, const batch_item *item) {
    int64_t at = m->tokens;
    for (int64_t i = 0; i < item->length; i++) {
        m->positions[at + i] = (int32_t)i;
        m->types[at + i] = 0;
        m->numbers[at + i] = item->first + i;
    }
    m->examples[m->sequences++] = item->example;
    m->tokens += item->length;
    m->starts[m->sequences] = (int32_t)m->tokens;
    if (item->length > m->longest) m->longest = item->length;
    return m->ids + at;
}

int64_t micro_batch_pack(micro_batch *m, const dataset *d, const batch *b, int64_t from, int64_t to) {
    REQUIRE(from >= 0 && from < to && to <= b->n);
    micro_batch_empty(m);
    int64_t next = from;
    for (; next < to && micro_batch_takes(m, &b->list[next], &b->list[from]); next++) {
        int64_t example = b->list[next].example, length = b->list[next].length, at = m->tokens;
        int32_t *ids = micro_batch_append(m, &b->list[next]);
        memcpy(ids, d->ids + d->starts[example], (size_t)length * sizeof *ids);
        for (int64_t i = d->second[example]; i < length; i++) m->types[at + i] = 1;
    }
    REQUIRE(next > from);
    return next;
}
