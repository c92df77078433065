// The schedule of a pipeline, as data: every micro-batch passes once forward and once backward, in order; nothing waits
// for ever; and no more is in flight than there is room for.
#include "../support.h"

#include "parallel/parallel.h"

#define STAGES 8
#define MICROS 32

typedef void check(int stages, int64_t micros);

static void for_all(check *what) {
    for (int stages = 1; stages <= STAGES; stages++)
        for (int64_t micros = 0; micros <= MICROS; micros++) what(stages, micros);
}

static void check_once_and_in_order(int stages, int64_t micros) {
    for (int stage = 0; stage < stages; stage++) {
        int64_t next[2] = {0}; // forward, backward
        for (int64_t i = 0; i < 2 * micros; i++) {
            schedule_step s = schedule_at(i, stage, stages, micros);
            assert_int_equal(s.micro, next[s.backward]);
            next[s.backward]++;
            assert_true(next[1] <= next[0]);
        }
        assert_int_equal(next[0], micros);
        assert_int_equal(next[1], micros);
    }
}

// A flight holds one micro-batch between its two passes.
static void check_flights(int stages, int64_t micros) {
    for (int stage = 0; stage < stages; stage++) {
        int64_t holds[STAGES];
        for (int f = 0; f < STAGES; f++) holds[f] = -1;
        for (int64_t i = 0; i < 2 * micros; i++) {
            schedule_step s = schedule_at(i, stage, stages, micros);
            assert_true(s.flight >= 0 && s.flight < schedule_flights(stage, stages));
            assert_int_equal(holds[s.flight], s.backward ? s.micro : -1);
            holds[s.flight] = s.backward ? -1 : s.micro;
        }
    }
}

// Messages that have been sent and not received, each way at each border between two stages: the pipeline has room for
// one that is leaving and one that is arriving.
typedef struct {
    int64_t at[STAGES];
    int64_t sent[2][STAGES], received[2][STAGES];
} simulation;

#define ROOM 1 // the least that a pipeline could have; less room is harder

static bool can_go(const simulation *s, int stage, int stages, schedule_step step) {
    int way = step.backward, from = step.backward ? stage + 1 : stage - 1, to = step.backward ? stage - 1 : stage + 1;
    bool has_source = from >= 0 && from < stages, has_target = to >= 0 && to < stages;
    if (has_source && s->sent[way][from] == s->received[way][stage]) return false;
    return !has_target || s->sent[way][stage] - s->received[way][to] < ROOM;
}

static void go(simulation *s, int stage, schedule_step step) {
    s->received[step.backward][stage]++;
    s->sent[step.backward][stage]++;
    s->at[stage]++;
}

// Stages go on one step at a time, whoever can, until nobody can: then all must be done.
static void check_nobody_waits_for_ever(int stages, int64_t micros) {
    simulation s = {0};
    for (bool moved = true; moved;) {
        moved = false;
        for (int stage = 0; stage < stages; stage++) {
            if (s.at[stage] == 2 * micros) continue;
            schedule_step step = schedule_at(s.at[stage], stage, stages, micros);
            if (!can_go(&s, stage, stages, step)) continue;
            go(&s, stage, step);
            moved = true;
        }
    }
    for (int stage = 0; stage < stages; stage++)
        if (s.at[stage] != 2 * micros)
            fail_msg("%d stages, %lld micro-batches: stage %d waits at step %lld", stages, (long long)micros, stage,
                     (long long)s.at[stage]);
}

// Where every pass takes the same time and messages none, all is done after micros + stages - 1 turns of two passes.
static void check_bubble(int stages, int64_t micros) {
    double done[2][STAGES][MICROS], free[STAGES] = {0}, end = 0;
    int64_t at[STAGES] = {0};
    for (int64_t left = 2 * micros * stages; left > 0;) {
        for (int stage = stages - 1; stage >= 0; stage--) {
            if (at[stage] == 2 * micros) continue;
            schedule_step s = schedule_at(at[stage], stage, stages, micros);
            int from = s.backward ? stage + 1 : stage - 1;
            bool has_source = from >= 0 && from < stages;
            if (has_source) { // has it been there yet?
                bool there = false;
                for (int64_t i = 0; i < at[from]; i++) {
                    schedule_step theirs = schedule_at(i, from, stages, micros);
                    there = there || (theirs.backward == s.backward && theirs.micro == s.micro);
                }
                if (!there) continue;
            }
            double begin = has_source && done[s.backward][from][s.micro] > free[stage] ? done[s.backward][from][s.micro]
                                                                                       : free[stage];
            free[stage] = done[s.backward][stage][s.micro] = begin + 1;
            if (free[stage] > end) end = free[stage];
            at[stage]++;
            left--;
        }
    }
    assert_close("end", end, micros ? 2 * ((double)micros + stages - 1) : 0, 0);
}

static void test_once_and_in_order(void **state) { (void)state, for_all(check_once_and_in_order); }
static void test_flights(void **state) { (void)state, for_all(check_flights); }
static void test_nobody_waits_for_ever(void **state) { (void)state, for_all(check_nobody_waits_for_ever); }
static void test_bubble(void **state) { (void)state, for_all(check_bubble); }

// The picture in parallel.h.
static void test_example(void **state) {
    (void)state;
    const char *const rows[] = {"F0 F1 F2 B0 F3 B1 B2 B3", "F0 F1 B0 F2 B1 F3 B2 B3", "F0 B0 F1 B1 F2 B2 F3 B3"};
    for (int stage = 0; stage < 3; stage++)
        for (int64_t i = 0; i < 8; i++) {
            schedule_step s = schedule_at(i, stage, 3, 4);
            assert_int_equal(s.backward, rows[stage][3 * i] == 'B');
            assert_int_equal(s.micro, rows[stage][3 * i + 1] - '0');
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_and_in_order),
        cmocka_unit_test(test_flights),
        cmocka_unit_test(test_nobody_waits_for_ever),
        cmocka_unit_test(test_bubble),
        cmocka_unit_test(test_example),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
