// The exchange: what every kind hands out is, to the bit, what was handed in, and its sum in rank order.
// ranks: 1 2 3 4 8

// A check that fails on one rank ends all (REQUIRE), so that the others do not wait for it.
#include "../support.h"

#include "parallel/parallel.h"

enum { SLOTS = 4, MOST_RANKS = 16, MOST_TOKENS = 61 };

static comm *world;
static int rank, size;

static const exchange_kind kinds[] = {EXCHANGE_LOCAL, EXCHANGE_SHARED, EXCHANGE_MPI};

// A team of all ranks; the exchange asks a placement only for its size.
static topology whole_world(void) {
    return (topology){.replicas = 1, .stages = 1, .team = size, .team_rank = rank, .world = world, .team_comm = world};
}

static exchange *open_kind(exchange_kind kind, int64_t hidden) {
    error err = {0};
    topology t = whole_world();
    exchange *e = exchange_create(&t, kind, MOST_TOKENS, hidden, SLOTS, &err);
    if (!e) FATAL("%s", err.text);
    return e;
}

static bool can_be_had(exchange_kind kind) { return kind != EXCHANGE_LOCAL || size == 1; }

// ---- what is handed in ---------------------------------------------------------------------------------------------

// The same on every rank: a draw for whatever is named.
static uint32_t draw(uint64_t row, uint32_t column) {
    uint32_t word[4];
    random_block(word, random_stream_create(11, RANDOM_TEST, 0, 0), row, column, 0);
    return word[0];
}

// Element i of the partial that a rank hands in at a step: of both signs and very different sizes, so that the order of
// a sum shows in its bits.
static float element(int step, int of_rank, int partial, int64_t i) {
    uint64_t x = (uint64_t)(step * 97 + of_rank * 11 + partial + 1) * 0x9e3779b97f4a7c15 + (uint64_t)i;
    x = (x ^ x >> 31) * 0x94d049bb133111eb;
    x ^= x >> 29;
    return (float)ldexp((double)(int64_t)x, (int)(x & 15) - 70);
}

// Some of the ranks, at least one; every fourth time only one.
static void draw_ranks(bool ranks[MOST_RANKS], int step, uint32_t what) {
    uint32_t bits = draw((uint64_t)step, what), sure = draw((uint64_t)step, what + 100) % (uint32_t)size;
    for (int r = 0; r < size; r++) ranks[r] = (uint32_t)r == sure || (step % 4 && bits >> r & 1);
}

// One step of the kind that layers make: n partials are reduced, their sum goes into a slot, the slot is handed round.
typedef struct {
    int number, n, slot;
    bool owners[EXCHANGE_PARTIALS][MOST_RANKS], readers[MOST_RANKS];
} step;

static step draw_step(int number) {
    step s = {.number = number, .n = 1 + (int)(draw((uint64_t)number, 1) & 1), .slot = number % SLOTS};
    for (int p = 0; p < EXCHANGE_PARTIALS; p++) draw_ranks(s.owners[p], number, 10 + (uint32_t)p);
    draw_ranks(s.readers, number, 20);
    return s;
}

// The partial at place k of a step: now and then they come the other way round.
static int partial_at(const step *s, int k) { return s->number % 3 ? k : EXCHANGE_PARTIALS - 1 - k; }

static float naive_sum(const step *s, int64_t i) {
    float sum = 0;
    for (int k = 0; k < s->n; k++)
        for (int r = 0; r < size; r++)
            if (s->owners[k][r]) sum += element(s->number, r, partial_at(s, k), i);
    return sum;
}

// ---- one step ------------------------------------------------------------------------------------------------------

// A rank that does not own a partial leaves poison in its place.
static void fill_partials(exchange *e, const step *s, int64_t n) {
    for (int k = 0; k < s->n; k++) {
        int p = partial_at(s, k);
        float *partial = exchange_partial(e, p);
        for (int64_t i = 0; i < n; i++) partial[i] = s->owners[k][rank] ? element(s->number, rank, p, i) : NAN;
    }
}

static bool same_bits(float a, float b) { return !memcmp(&a, &b, sizeof a); }

// This rank's slice of every owner's rows, in rank order.
static void check_parts(exchange *e, const step *s, int64_t hidden) {
    range mine = exchange_slice(e);
    for (int k = 0; k < s->n; k++) {
        int count, owners = 0, p = partial_at(s, k);
        const float *const *parts = exchange_parts(e, p, &count);
        for (int r = 0; r < size; r++) {
            if (!s->owners[k][r]) continue;
            REQUIRE(owners < count);
            for (int64_t i = 0; i < mine.count * hidden; i++)
                REQUIRE(same_bits(parts[owners][i], element(s->number, r, p, mine.first * hidden + i)));
            owners++;
        }
        REQUIRE(owners == count);
    }
}

static void sum_into_slot(exchange *e, const step *s, int64_t hidden) {
    range mine = exchange_slice(e);
    float *rows = exchange_slot(e, s->slot) + mine.first * hidden;
    for (int64_t i = 0; i < mine.count * hidden; i++) rows[i] = 0;
    for (int k = 0; k < s->n; k++) {
        int count;
        const float *const *parts = exchange_parts(e, partial_at(s, k), &count);
        for (int j = 0; j < count; j++)
            for (int64_t i = 0; i < mine.count * hidden; i++) rows[i] += parts[j][i];
    }
}

// Readers have all of the slot, the others at least their own slice.
static void check_slot(exchange *e, const step *s, int64_t tokens, int64_t hidden) {
    range mine = exchange_slice(e), seen = s->readers[rank] ? (range){0, tokens} : mine;
    const float *slot = exchange_slot(e, s->slot);
    for (int64_t i = seen.first * hidden; i < (seen.first + seen.count) * hidden; i++)
        if (!same_bits(slot[i], naive_sum(s, i)))
            FATAL("step %d, slot %d, number %lld is %.9g, expected %.9g", s->number, s->slot, (long long)i, slot[i],
                  naive_sum(s, i));
}

static void run_step(exchange *e, const step *s, int64_t tokens, int64_t hidden) {
    exchange_item partials[EXCHANGE_PARTIALS];
    for (int k = 0; k < s->n; k++) partials[k] = (exchange_item){partial_at(s, k), s->owners[k]};
    fill_partials(e, s, tokens * hidden);
    if (draw((uint64_t)s->number, 2) % 4 == 0 && s->number % size == rank) usleep(500); // out of step
    exchange_reduce(e, partials, s->n);
    check_parts(e, s, hidden);
    sum_into_slot(e, s, hidden);
    exchange_gather(e, &(exchange_item){s->slot, s->readers}, 1);
    check_slot(e, s, tokens, hidden);
}

// ---- many steps ----------------------------------------------------------------------------------------------------

// A micro-batch: as many steps as there are slots, which then all still hold what they got.
static void run_micro_batch(exchange *e, int first_step, int64_t tokens, int64_t hidden) {
    placement p = {.team = size};
    step steps[SLOTS];
    exchange_begin(e, &p, tokens);
    range mine = exchange_slice(e), expected = placement_tokens(&p, rank, tokens);
    REQUIRE(mine.first == expected.first && mine.count == expected.count);
    for (int k = 0; k < SLOTS; k++) {
        steps[k] = draw_step(first_step + k);
        run_step(e, &steps[k], tokens, hidden);
    }
    for (int k = 0; k < SLOTS; k++) check_slot(e, &steps[k], tokens, hidden);
}

static void run_micro_batches(exchange_kind kind, int64_t hidden) {
    const int64_t tokens[] = {MOST_TOKENS, 0, 1, 2, size - 1, size, size + 1, 2 * size - 1, 17, MOST_TOKENS, 5, 0, 60};
    exchange *e = open_kind(kind, hidden);
    REQUIRE(!strcmp(exchange_kind_name(e), exchange_words[kind]));
    for (int b = 0; b < (int)(sizeof tokens / sizeof *tokens); b++)
        run_micro_batch(e, b * SLOTS + (int)hidden, tokens[b], hidden);
    exchange_destroy(e);
}

static void test_sums(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++)
        for (int64_t hidden = 1; can_be_had(kinds[k]) && hidden <= 64; hidden = hidden * 3 + 4)
            run_micro_batches(kinds[k], hidden);
}

// Two slots handed round at once, as a PAF layer's two gradients are, each to its own readers.
static void check_two_slots(exchange_kind kind) {
    enum { HIDDEN = 8 };
    placement p = {.team = size};
    exchange *e = open_kind(kind, HIDDEN);
    for (int number = 0; number < 40; number++) {
        int64_t tokens = draw((uint64_t)number, 5) % (MOST_TOKENS + 1);
        bool readers[2][MOST_RANKS];
        exchange_item slots[2];
        exchange_begin(e, &p, tokens);
        exchange_reduce(e, NULL, 0); // nobody reads the slots of the round before any more
        range mine = exchange_slice(e);
        for (int k = 0; k < 2; k++) {
            draw_ranks(readers[k], number, 30 + (uint32_t)k);
            slots[k] = (exchange_item){(number + k) % SLOTS, readers[k]};
            float *slot = exchange_slot(e, slots[k].index);
            for (int64_t i = mine.first * HIDDEN; i < (mine.first + mine.count) * HIDDEN; i++)
                slot[i] = element(number, 0, k, i);
        }
        exchange_gather(e, slots, 2);
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; readers[k][rank] && i < tokens * HIDDEN; i++)
                REQUIRE(same_bits(exchange_slot(e, slots[k].index)[i], element(number, 0, k, i)));
    }
    exchange_destroy(e);
}

static void test_two_slots(void **state) {
    (void)state;
    for (int k = 0; k < 3; k++)
        if (can_be_had(kinds[k])) check_two_slots(kinds[k]);
}

// What the tests above rest on: summed in another order, many numbers have other bits.
static void test_that_order_shows(void **state) {
    (void)state;
    int differ = 0;
    for (int64_t i = 0; i < 1000; i++) {
        float a = element(1, 0, 0, i), b = element(1, 1, 0, i), c = element(1, 2, 0, i);
        differ += a + b + c != c + b + a;
    }
    REQUIRE(differ > 50);
}

// Thousands in a row, with more ranks than cores too: nobody is left waiting, and nobody runs ahead.
static void test_endurance(void **state) {
    (void)state;
    placement p = {.team = size};
    bool everyone[MOST_RANKS];
    for (int r = 0; r < MOST_RANKS; r++) everyone[r] = true;
    for (int k = 0; k < 3; k++) {
        if (!can_be_had(kinds[k])) continue;
        exchange *e = open_kind(kinds[k], 1);
        exchange_begin(e, &p, size);
        for (int turn = 0; turn < 3000; turn++) {
            float *partial = exchange_partial(e, 0), *slot = exchange_slot(e, turn % SLOTS);
            for (int t = 0; t < size; t++) partial[t] = (float)(turn + rank);
            exchange_reduce(e, &(exchange_item){0, everyone}, 1);
            int count;
            const float *const *parts = exchange_parts(e, 0, &count);
            slot[rank] = 0;
            for (int r = 0; r < count; r++) slot[rank] += *parts[r];
            exchange_gather(e, &(exchange_item){turn % SLOTS, everyone}, 1);
            for (int t = 0; t < size; t++)
                assert_close("slot", slot[t], (float)(turn * size + size * (size - 1) / 2), 0);
        }
        exchange_destroy(e);
    }
}

// ---- opening -------------------------------------------------------------------------------------------------------

static void test_auto(void **state) {
    (void)state;
    exchange *e = open_kind(EXCHANGE_AUTO, 8);
    REQUIRE(!strcmp(exchange_kind_name(e), size == 1 ? "local" : "shared"));
    exchange_destroy(e);
    exchange_destroy(NULL);
}

static void test_local_is_for_one(void **state) {
    (void)state;
    if (size == 1) return;
    error err = {0};
    topology t = whole_world();
    REQUIRE(!exchange_create(&t, EXCHANGE_LOCAL, 8, 8, SLOTS, &err));
    REQUIRE(err.kind == ERROR_INPUT);
    char *message =
        memory_format("parallel.exchange=local is for a team of one rank, this one has %d; use auto, shared "
                      "or mpi",
                      size);
    REQUIRE(!strcmp(err.text, message));
    memory_free(message);
}

static bool is_aligned(const float *buffer) { return (uintptr_t)buffer % MEMORY_ALIGNMENT == 0; }

// Buffers of odd sizes begin at cache lines and do not overlap; what they need is told.
static void test_buffers(void **state) {
    (void)state;
    const int64_t hidden = 7, floats = MOST_TOKENS * hidden, bytes = floats * (int64_t)sizeof(float);
    for (int k = 0; k < 3; k++) {
        if (!can_be_had(kinds[k])) continue;
        exchange *e = open_kind(kinds[k], hidden);
        const float *buffers[EXCHANGE_PARTIALS + SLOTS];
        for (int p = 0; p < EXCHANGE_PARTIALS; p++) buffers[p] = exchange_partial(e, p);
        for (int s = 0; s < SLOTS; s++) buffers[EXCHANGE_PARTIALS + s] = exchange_slot(e, s);
        for (int i = 0; i < EXCHANGE_PARTIALS + SLOTS; i++) {
            REQUIRE(is_aligned(buffers[i]));
            for (int j = 0; j < i; j++) REQUIRE(buffers[i] - buffers[j] >= floats || buffers[j] - buffers[i] >= floats);
        }
        topology t = whole_world();
        double all = (double)exchange_need(&t, kinds[k], MOST_TOKENS, hidden, SLOTS);
        comm_sum_doubles(world, &all, 1);
        bool shared = kinds[k] == EXCHANGE_SHARED;
        double least = (double)bytes * (shared ? size * EXCHANGE_PARTIALS + SLOTS : size * (EXCHANGE_PARTIALS + SLOTS));
        REQUIRE(all >= least && all <= 3 * least);
        exchange_destroy(e);
    }
}

// More than any machine has: an error on every rank, and the ranks go on.
static void test_no_room(void **state) {
    (void)state;
    error err = {0};
    topology t = whole_world();
    REQUIRE(!exchange_create(&t, EXCHANGE_SHARED, 1 << 24, 1 << 16, SLOTS, &err));
    REQUIRE(err.kind == ERROR_INPUT);
    REQUIRE(strstr(err.text, "has no room for"));
    comm_barrier(world);
    exchange_destroy(open_kind(EXCHANGE_SHARED, 8));
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_two_slots),
        cmocka_unit_test(test_endurance), cmocka_unit_test(test_that_order_shows),
        cmocka_unit_test(test_auto),      cmocka_unit_test(test_local_is_for_one),
        cmocka_unit_test(test_buffers),   cmocka_unit_test(test_no_room),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
