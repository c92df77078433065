// Memory and arenas: zeroed, aligned, sized as promised; what is too large ends the program with a message.
#include "speech.h"

static bool is_zero(const void *memory, size_t size) {
    const char *bytes = memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

static bool is_aligned(const void *memory) { return (uintptr_t)memory % MEMORY_ALIGNMENT == 0; }

// ---- pieces --------------------------------------------------------------------------------------------------------

// Dirties what it frees, so that memory which is handed out again is not zero by chance.
static void test_allocate(void **state) {
    (void)state;
    for (int round = 0; round < 2; round++)
        for (size_t n = 0; n < 300; n += 7) {
            char *plain = memory_allocate(n, 3), *aligned = memory_allocate_aligned(n, 3);
            assert_non_null(plain);
            assert_non_null(aligned);
            assert_true(is_aligned(aligned));
            assert_true(is_zero(plain, 3 * n));
            assert_true(is_zero(aligned, 3 * n));
            memset(plain, 0xa5, 3 * n);
            memset(aligned, 0xa5, 3 * n);
            memory_free(plain);
            memory_free(aligned);
        }
    memory_free(NULL);
}

static void test_resize(void **state) {
    (void)state;
    int *numbers = memory_resize(NULL, 3, sizeof *numbers);
    for (int i = 0; i < 3; i++) numbers[i] = i + 1;
    numbers = memory_resize(numbers, 10000, sizeof *numbers);
    for (int i = 0; i < 3; i++) assert_int_equal(numbers[i], i + 1);
    numbers = memory_resize(numbers, 0, sizeof *numbers);
    assert_non_null(numbers);
    memory_free(numbers);
}

static void test_grow(void **state) {
    (void)state;
    size_t capacity = 0, moves = 0;
    int64_t *numbers = NULL;
    for (size_t n = 0; n < 1000; n++) {
        size_t before = capacity;
        numbers = memory_grow(numbers, n, &capacity, sizeof *numbers);
        assert_true(capacity > n);
        moves += capacity != before;
        numbers[n] = (int64_t)n;
    }
    for (size_t n = 0; n < 1000; n++) assert_int_equal(numbers[n], n);
    assert_true(moves < 12); // it doubles
    memory_free(numbers);
}

static void test_texts(void **state) {
    (void)state;
    char *copy = memory_string(""), *text = memory_format("%s-%d", "step", 12), *empty = memory_format("%s", "");
    assert_string_equal(copy, "");
    assert_string_equal(text, "step-12");
    assert_string_equal(empty, "");
    char *long_text = memory_format("%5000d", 1);
    assert_int_equal(strlen(long_text), 5000);
    char *again = memory_string(long_text);
    assert_string_equal(again, long_text);
    memory_free(copy);
    memory_free(text);
    memory_free(empty);
    memory_free(long_text);
    memory_free(again);
}

// ---- arenas --------------------------------------------------------------------------------------------------------

static void test_arena(void **state) {
    (void)state;
    const size_t counts[] = {1, 0, 16, 17, 100};
    enum { N = sizeof counts / sizeof *counts };
    size_t size = 0;
    for (int i = 0; i < N; i++) size += arena_footprint(counts[i], sizeof(float));
    arena a = arena_create("test", size);
    char *pieces[N];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            pieces[i] = arena_allocate(&a, counts[i], sizeof(float));
            assert_true(is_aligned(pieces[i]));
            // Zeroed once; handed back, contents stay.
            size_t bytes = counts[i] * sizeof(float);
            assert_true(round == 0 ? is_zero(pieces[i], bytes) : bytes == 0 || pieces[i][bytes - 1] == i + 1);
            memset(pieces[i], i + 1, bytes);
        }
        for (int i = 0; i < N; i++)
            for (size_t b = 0; b < counts[i] * sizeof(float); b++) assert_int_equal(pieces[i][b], i + 1);
        assert_int_equal(a.used, size); // sized by arena_footprint, it fits to the byte
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    arena_destroy(&a);
    assert_null(a.memory);
}

static void test_footprint(void **state) {
    (void)state;
    assert_int_equal(arena_footprint(16, 4), 64);
    assert_int_equal(arena_footprint(17, 4), 128);
    assert_int_equal(arena_footprint(0, 4), 64); // a piece of its own, with an address of its own
}

// ---- the end -------------------------------------------------------------------------------------------------------

// Volatile, so that no compiler sees the size and warns.
static volatile size_t huge = SIZE_MAX / 2, most = SIZE_MAX - 8;

static void overflow(void) { memory_free(memory_allocate(huge, 4)); }
static void overflow_aligned(void) { memory_free(memory_allocate_aligned(most, 1)); }
static void overflow_resize(void) { memory_free(memory_resize(NULL, huge, 3)); }
static void exceed_arena(void) {
    arena a = arena_create("toy", 128);
    arena_allocate(&a, 16, sizeof(float));
    arena_allocate(&a, 17, sizeof(float));
}

static void test_too_much(void **state) {
    (void)state;
    assert_dies(overflow, "overflow memory");
    assert_dies(overflow_aligned, "overflow memory");
    assert_dies(overflow_resize, "overflow memory");
    assert_dies(exceed_arena, "the toy arena of 128 bytes is too small: 64 in use, 128 wanted");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocate), cmocka_unit_test(test_resize), cmocka_unit_test(test_grow),
        cmocka_unit_test(test_texts),    cmocka_unit_test(test_arena),  cmocka_unit_test(test_footprint),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
