// Which example is met when: a pure function of seed and place, so that resuming needs a step's number only.
#include "data/internal.h"

int64_t data_sample(uint64_t seed, int64_t n, int64_t k) {
    REQUIRE(n > 0 && k >= 0);
    random_stream order = random_stream_create(seed, RANDOM_ORDER, (uint64_t)(k / n), 0);
    return (int64_t)random_permutation(order, (uint64_t)n, (uint64_t)(k % n));
}

// ---- strata --------------------------------------------------------------------------------------------------------

// Examples from the shortest to the longest, equals in the order of the file.
strata strata_create(const dataset *d, int64_t count) {
    REQUIRE(d->n > 0 && count > 0);
    strata s = {.n = d->n, .count = count, .by_length = memory_allocate((size_t)d->n, sizeof *s.by_length)};
    int64_t *places = memory_allocate((size_t)d->longest + 2, sizeof *places); // where each length's next one belongs
    for (int64_t i = 0; i < d->n; i++) places[dataset_length(d, i) + 1]++;
    for (int64_t length = 1; length <= d->longest; length++) places[length] += places[length - 1];
    for (int64_t i = 0; i < d->n; i++) s.by_length[places[dataset_length(d, i)]++] = i;
    memory_free(places);
    return s;
}

void strata_destroy(strata *s) {
    memory_free(s->by_length);
    *s = (strata){0};
}

// A stream for each stratum of each epoch.
static random_stream order_within(uint64_t seed, int64_t epoch, int64_t stratum) {
    random_stream all = random_stream_create(seed, RANDOM_ORDER, (uint64_t)epoch, 1);
    uint64_t key = (uint64_t)all.key[1] << 32 | all.key[0];
    return random_stream_create(key, RANDOM_ORDER, (uint64_t)stratum, 2);
}

// With B strata, n = q B + r. An epoch begins in the column, c, where the one before it ended, and its last r samples
// are in columns c to c + r - 1, around the end of the row; the strata of these have q + 1 examples, the others q.
// B = 5, n = 12, the second epoch (c = 2):
//
//     stratum    0   1   2   3   4
//                .   .   x   x   x
//                x   x   x   x   x
//                x   x   x   x   .       4 begins behind 3 q + 2 examples: two strata before it have one more
int64_t strata_sample(const strata *s, uint64_t seed, int64_t k) {
    REQUIRE(s->n > 0 && k >= 0);
    int64_t n = s->n, count = s->count, epoch = k / n, place = k % n, stratum = k % count;
    int64_t q = n / count, r = n % count, c = (k - place) % count;
    bool larger = (stratum - c + count) % count < r;
    int64_t before = smaller(stratum, c + r > count ? c + r - count : 0); // larger ones, around the end of the row
    if (stratum > c) before += smaller(stratum - c, r);
    int64_t within = (int64_t)random_permutation(order_within(seed, epoch, stratum), (uint64_t)(q + larger),
                                                 (uint64_t)(place / count));
    return s->by_length[stratum * q + before + within];
}
