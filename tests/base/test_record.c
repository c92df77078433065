// What a rank did when: spans as they are recorded.
#include "../support.h"

enum { CAPACITY = 8 };

static span_event events[CAPACITY];

static span_record start(size_t capacity) { return (span_record){events, capacity, 0, 0}; }

static void pass_time(void) {
    double begin = time_now();
    while (time_now() - begin < 50e-6) continue;
}

static void assert_kinds(const span_record *r, size_t n, const span *kinds) {
    assert_int_equal(r->n, n);
    assert_int_equal(r->lost, 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r->events[i].what, kinds[i]);
        assert_true(r->events[i].end - r->events[i].begin >= 50e-6);
        assert_true(i == 0 || r->events[i].begin >= r->events[i - 1].end);
    }
}

// As an exchange has it: a wait within, and what was before is put back.
static void test_order(void **state) {
    (void)state;
    span_record r = start(CAPACITY);
    double begin = time_now();
    time_span_record(&r);
    time_span(SPAN_ATTENTION);
    pass_time();
    span before = time_span(SPAN_IDLE);
    pass_time();
    time_span(before);
    pass_time();
    time_span(SPAN_OTHER);
    pass_time();
    time_span(SPAN_FFN);
    pass_time();
    time_span_record(NULL);
    double end = time_now();
    assert_kinds(&r, 4, (const span[]){SPAN_ATTENTION, SPAN_IDLE, SPAN_ATTENTION, SPAN_FFN});
    for (int i = 0; i < 2; i++) assert_true(events[i].end == events[i + 1].begin);
    assert_true(events[3].begin - events[2].end >= 50e-6); // what is not recorded takes its time
    assert_true(events[0].begin >= begin && events[3].end <= end);
    time_span(SPAN_OTHER);
}

// Before it is switched on and after it is switched off nothing is kept, not even of the span that goes on.
static void test_switch(void **state) {
    (void)state;
    span_record r = start(CAPACITY);
    time_span(SPAN_HEAD);
    pass_time();
    double begin = time_now();
    time_span_record(&r);
    assert_int_equal(r.n, 0);
    pass_time();
    time_span_record(NULL);
    double end = time_now();
    time_span(SPAN_EMBEDDING);
    pass_time();
    time_span(SPAN_OTHER);
    assert_kinds(&r, 1, (const span[]){SPAN_HEAD});
    assert_true(events[0].begin >= begin && events[0].end <= end);
}

// Collecting the sums, or beginning the same again, cuts nothing in two.
static void test_one_span(void **state) {
    (void)state;
    span_record r = start(CAPACITY);
    double seconds[SPAN_COUNT];
    time_span_collect(seconds);
    time_span_record(&r);
    for (int i = 0; i < 10; i++) {
        time_span(SPAN_OPTIMIZER);
        pass_time();
        time_span_collect(seconds);
        assert_true(seconds[SPAN_OPTIMIZER] >= 50e-6);
    }
    time_span_record(NULL);
    assert_kinds(&r, 1, (const span[]){SPAN_OPTIMIZER});
    assert_true(events[0].end - events[0].begin >= 500e-6);
    time_span(SPAN_OTHER);
}

// What is switched off and on again at once is two spans, none of which begins before the recording.
static void test_two_recordings(void **state) {
    (void)state;
    span_record r = start(CAPACITY);
    double begins[2];
    for (int i = 0; i < 2; i++) {
        time_span(SPAN_FFN);
        begins[i] = time_now();
        time_span_record(&r);
        pass_time();
        time_span_record(NULL);
    }
    assert_kinds(&r, 2, (const span[]){SPAN_FFN, SPAN_FFN});
    for (int i = 0; i < 2; i++) assert_true(events[i].begin >= begins[i]);
    time_span(SPAN_OTHER);
}

static void test_full(void **state) {
    (void)state;
    span_record r = start(3);
    events[3] = (span_event){1, 2, SPAN_COUNT};
    time_span_record(&r);
    for (int i = 0; i < 5; i++) {
        time_span(i % 2 ? SPAN_FFN : SPAN_ATTENTION);
        pass_time();
    }
    time_span_record(NULL);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.lost, 2);
    for (int i = 0; i < 3; i++) assert_int_equal(events[i].what, i % 2 ? SPAN_FFN : SPAN_ATTENTION);
    assert_true(events[3].begin == 1 && events[3].end == 2 && events[3].what == SPAN_COUNT);
    time_span(SPAN_OTHER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_switch), cmocka_unit_test(test_one_span),
        cmocka_unit_test(test_two_recordings), cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
