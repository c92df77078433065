// Embeddings: lookups checked one by one, and gradients by the identity <forward(table), dx> = <table, backward(dx)>.
#include "numbers.h"

enum { TOKENS = 23, HIDDEN = 13, ROWS = 10 };

static const int32_t ids[TOKENS] = {3, 3, 0, 9, 5, 1, 2, 3, 8, 7, 6, 4, 4, 0, 9, 9, 9, 2, 1, 5, 5, 0, 3};

// Two ranks that own 4 and 6 rows: each contributes its own, zeros elsewhere, and their sum is the whole.
static void word_rows_are_shared_out(void **state) {
    (void)state;
    float *table = random_floats(ROWS * HIDDEN, 1, 1), *dx = random_floats(TOKENS * HIDDEN, 1, 2);
    float low[TOKENS * HIDDEN], high[TOKENS * HIDDEN], dtable[ROWS * HIDDEN] = {0}, dwhole[ROWS * HIDDEN] = {0};
    word_embedding_forward(low, ids, table, 0, 4, TOKENS, HIDDEN);
    word_embedding_forward(high, ids, table + 4 * HIDDEN, 4, 6, TOKENS, HIDDEN);
    for (int t = 0; t < TOKENS; t++) {
        for (int c = 0; c < HIDDEN; c++) {
            float value = table[ids[t] * HIDDEN + c];
            assert_close("low", low[t * HIDDEN + c], ids[t] < 4 ? value : 0, 0);
            assert_close("high", high[t * HIDDEN + c], ids[t] < 4 ? 0 : value, 0);
        }
    }
    word_embedding_backward(dtable, ids, dx, 0, 4, TOKENS, HIDDEN);
    for (int i = 4 * HIDDEN; i < ROWS * HIDDEN; i++) assert_close("dtable", dtable[i], 0, 0);
    word_embedding_backward(dtable + 4 * HIDDEN, ids, dx, 4, 6, TOKENS, HIDDEN);
    word_embedding_backward(dwhole, ids, dx, 0, ROWS, TOKENS, HIDDEN);
    assert_same(dtable, dwhole, ROWS * HIDDEN);
    double forward = weighted_sum(low, dx, TOKENS * HIDDEN) + weighted_sum(high, dx, TOKENS * HIDDEN);
    assert_close("forward", forward, weighted_sum(table, dtable, ROWS * HIDDEN), 1e-5);
    word_embedding_backward(dwhole, ids, dx, 0, ROWS, TOKENS, HIDDEN); // accumulates
    for (int i = 0; i < ROWS * HIDDEN; i++) assert_close("dwhole", dwhole[i], 2 * dtable[i], 1e-5);
    word_embedding_forward(low, ids, table, 0, 4, 0, HIDDEN);
    memory_free(table);
    memory_free(dx);
}

typedef struct {
    float *position, *type, *out, *dx;
    int32_t positions[TOKENS], types[TOKENS];
} places;

static double place_loss(void *context) {
    places *p = context;
    place_embedding_forward(p->out, p->positions, p->types, p->position, p->type, TOKENS, HIDDEN);
    return weighted_sum(p->out, p->dx, TOKENS * HIDDEN);
}

static void positions_and_types(void **state) {
    (void)state;
    places p = {random_floats(ROWS * HIDDEN, 1, 1),
                random_floats(2 * HIDDEN, 1, 2),
                random_floats(TOKENS * HIDDEN, 1, 3),
                random_floats(TOKENS * HIDDEN, 1, 4),
                {0},
                {0}};
    for (int t = 0; t < TOKENS; t++) {
        p.positions[t] = t % ROWS;
        p.types[t] = t % 3 == 0;
    }
    float dposition[ROWS * HIDDEN] = {0}, dtype[2 * HIDDEN] = {0};
    place_loss(&p);
    for (int t = 0; t < TOKENS; t++)
        for (int c = 0; c < HIDDEN; c++)
            assert_true(p.out[t * HIDDEN + c] ==
                        p.position[p.positions[t] * HIDDEN + c] + p.type[p.types[t] * HIDDEN + c]);
    place_embedding_backward(dposition, dtype, p.positions, p.types, p.dx, TOKENS, HIDDEN);
    assert_gradient(p.position, dposition, ROWS * HIDDEN, 1, 0.25, 1e-4, place_loss, &p);
    assert_gradient(p.type, dtype, 2 * HIDDEN, 1, 0.25, 1e-4, place_loss, &p);
    memory_free(p.position);
    memory_free(p.type);
    memory_free(p.out);
    memory_free(p.dx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(word_rows_are_shared_out),
        cmocka_unit_test(positions_and_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
