// AdamW and clipping against a twin that does the same in double, and against what PyTorch's rules say by hand.
#include "../support.h"

#include "optim/optim.h"

enum { STEPS = 50, ROWS = 4 };

static const struct {
    const char *name;
    int64_t rows, columns;
    bool decay;
} shapes[ROWS] = {{"weight", 7, 5, true}, {"bias", 7, 1, false}, {"wide", 3, 33, true}, {"norm", 1, 1, false}};

static parameter_table build(void) {
    parameter_table table = {0};
    for (int i = 0; i < ROWS; i++)
        parameter_add(&table, shapes[i].name, shapes[i].columns == 1 ? 1 : 2, shapes[i].rows, shapes[i].columns,
                      SPLIT_NONE, 0, 0, true, shapes[i].decay, INITIAL_NORMAL);
    parameter_allocate(&table, true, true);
    parameter_initialise(&table, 5, 0.3);
    return table;
}

static optim_settings with(double weight_decay, double beta1, double beta2, double epsilon) {
    return (optim_settings){.lr = 0.01,
                            .schedule = SCHEDULE_LINEAR,
                            .weight_decay = weight_decay,
                            .beta1 = beta1,
                            .beta2 = beta2,
                            .epsilon = epsilon,
                            .clip = 1};
}

// ---- the twin ------------------------------------------------------------------------------------------------------

typedef struct {
    double value, m, v;
} scalar;

// torch.optim.AdamW, for one number.
static void naive_adamw(scalar *x, double gradient, const optim_settings *s, double lr, int update, bool decay) {
    if (decay) x->value -= lr * s->weight_decay * x->value;
    x->m = s->beta1 * x->m + (1 - s->beta1) * gradient;
    x->v = s->beta2 * x->v + (1 - s->beta2) * gradient * gradient;
    double m_hat = x->m / (1 - pow(s->beta1, update)), v_hat = x->v / (1 - pow(s->beta2, update));
    x->value -= lr * m_hat / (sqrt(v_hat) + s->epsilon);
}

static double scale_of(int64_t i) { return pow(10, (double)(i % 8) - 6); }

// Gradients of sizes from 1e-6 to 10 that change from step to step; some are always zero.
static float gradient_of(int update, int64_t i) {
    double z[2];
    random_normal_pair(z, random_stream_create(9, RANDOM_TEST, (uint64_t)update, 0), (uint64_t)i, 0);
    return i % 11 == 10 ? 0 : (float)(z[0] * scale_of(i));
}

static int64_t set_gradients(parameter_table *table, int update) {
    int64_t n = 0;
    for (int r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < parameter_count(&table->rows[r]); j++)
            table->rows[r].gradient[j] = gradient_of(update, n++);
    return n;
}

static void check_steps(const optim_settings *s, double lr, double factor) {
    parameter_table table = build();
    scalar twin[512] = {0};
    int64_t n = 0;
    for (int r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < parameter_count(&table.rows[r]); j++) twin[n++].value = table.rows[r].value[j];
    for (int update = 1; update <= STEPS; update++) {
        double rate = lr * (1 - 0.01 * update); // as a schedule would
        assert_int_equal(set_gradients(&table, update), n);
        optim_adamw(&table, s, rate, update, factor);
        int64_t i = 0;
        for (int r = 0; r < ROWS; r++)
            for (int64_t j = 0; j < parameter_count(&table.rows[r]); j++, i++) {
                naive_adamw(&twin[i], factor * gradient_of(update, i), s, rate, update, shapes[r].decay);
                const parameter *p = &table.rows[r];
                // What each step may lose: two ulps of the value, and a little of the step, which is up to lr.
                double slack = update * (2.4e-7 * fabs(twin[i].value) + 1e-5 * lr);
                char what[192];
                snprintf(what, sizeof what, "update %d, %s[%d]", update, p->name, (int)j);
                assert_close(what, p->value[j], twin[i].value, slack);
                assert_close(what, p->moment1[j], twin[i].m, 1e-5 * factor * scale_of(i));
                assert_close(what, p->moment2[j], twin[i].v, 1e-5 * pow(factor * scale_of(i), 2));
            }
    }
    parameter_destroy(&table);
}

static void test_against_twin(void **state) {
    (void)state;
    const optim_settings recipes[] = {with(0, 0.9, 0.999, 1e-8), with(0.1, 0.9, 0.98, 1e-6), with(1, 0, 0, 1e-3),
                                      with(0.01, 0.5, 0.9999, 1e-8)};
    for (int k = 0; k < 4; k++) {
        check_steps(&recipes[k], 1e-2, 1);
        check_steps(&recipes[k], 1e-4, 0.125);
    }
}

// ---- by hand -------------------------------------------------------------------------------------------------------

// With bias correction the first step is lr in the direction of the gradient, whatever its size; decay comes on top,
// for weights alone.
static void test_first_step(void **state) {
    (void)state;
    parameter_table table = build();
    const optim_settings s = with(0.5, 0.9, 0.999, 1e-12);
    const double lr = 0.125;
    for (int r = 0; r < ROWS; r++) {
        parameter *p = &table.rows[r];
        for (int64_t j = 0; j < parameter_count(p); j++) {
            p->value[j] = 2;
            p->gradient[j] = (j % 2 ? -1 : 1) * (float)pow(10, (double)(j % 7) - 3);
        }
    }
    optim_adamw(&table, &s, lr, 1, 1);
    for (int r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < parameter_count(&table.rows[r]); j++) {
            double expected = 2 - (shapes[r].decay ? lr * 0.5 * 2 : 0) - (j % 2 ? -lr : lr);
            assert_close(table.rows[r].name, table.rows[r].value[j], expected, 1e-5);
        }
    parameter_destroy(&table);
}

// What no one asked to move stays: lr 0, or no gradient, no decay.
static void test_nothing_to_do(void **state) {
    (void)state;
    parameter_table table = build(), before = build();
    optim_settings s = with(0.5, 0.9, 0.999, 1e-8);
    set_gradients(&table, 1);
    optim_adamw(&table, &s, 0, 1, 1);
    assert_memory_equal(table.values, before.values, (size_t)table.total * sizeof *table.values);
    parameter_zero_gradients(&before);
    s.weight_decay = 0;
    optim_adamw(&before, &s, 0.1, 1, 1);
    assert_memory_equal(table.values, before.values, (size_t)table.total * sizeof *table.values);
    parameter_destroy(&table);
    parameter_destroy(&before);
}

// A rank that holds nothing of a tensor has nothing to update.
static void test_empty_row(void **state) {
    (void)state;
    parameter_table table = {0};
    parameter_add(&table, "elsewhere", 2, 8, 8, SPLIT_ROWS, 8, 0, false, true, INITIAL_NORMAL);
    parameter_allocate(&table, true, true);
    optim_settings s = with(0.1, 0.9, 0.999, 1e-8);
    optim_adamw(&table, &s, 0.1, 1, 1);
    parameter_destroy(&table);
}

// ---- clipping ------------------------------------------------------------------------------------------------------

static void test_clip_factor(void **state) {
    (void)state;
    assert_close("factor without a limit", optim_clip_factor(100, 0), 1, 0);
    assert_close("factor below the limit", optim_clip_factor(0.5, 1), 1, 0);
    assert_close("factor of nothing", optim_clip_factor(0, 1), 1, 0);
    assert_close("factor", optim_clip_factor(4, 1), 1 / (4 + 1e-6), 1e-15); // PyTorch's
    assert_close("factor", optim_clip_factor(4, 2), 2 / (4 + 1e-6), 1e-15);
    assert_true(optim_clip_factor(1, 1) < 1);
    assert_true(optim_clip_factor(1e300, 1) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_twin), cmocka_unit_test(test_first_step),  cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_empty_row),    cmocka_unit_test(test_clip_factor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
