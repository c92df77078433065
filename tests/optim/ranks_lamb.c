// LAMB over tensors that lie on one rank, on all, or in parts: against a twin in double, and against PyTorch's dump.
// ranks: 1 2 3

#include "../support.h"

#include "optim/optim.h"
#include "storage/storage.h"

enum { STEPS = 50, TENSORS = 8, DUMPED = 6, MOST = 13 * 29 };

static comm *world;
static int rank, size;

// The first DUMPED are those of the dump. `last` lies on the last rank alone; of `uneven`, rank 0 has the first half
// and each other rank the second, or on one rank, it has all.
static const struct {
    const char *name;
    int64_t rows, columns;
    parameter_split split;
    bool decay;
} tensors[TENSORS] = {
    {"rows.weight", 13, 29, SPLIT_ROWS, true}, {"columns.weight", 11, 31, SPLIT_COLUMNS, true},
    {"all.weight", 5, 7, SPLIT_NONE, true},    {"zero.weight", 3, 4, SPLIT_ROWS, true},
    {"rows.bias", 13, 1, SPLIT_ROWS, false},   {"LayerNorm.weight", 7, 1, SPLIT_NONE, false},
    {"last.weight", 6, 5, SPLIT_ROWS, true},   {"uneven.weight", 8, 9, SPLIT_ROWS, true},
};
enum { ZERO = 3, LAST = 6, UNEVEN = 7 };

static int64_t count_of(int k) { return tensors[k].rows * tensors[k].columns; }

// Values at the start [n] and gradients [STEPS, n] of every tensor, whole, on every rank.
typedef struct {
    int tensors;
    float *start[TENSORS], *gradients[TENSORS];
} problem;

static void free_problem(problem *p) {
    for (int k = 0; k < p->tensors; k++) {
        memory_free(p->start[k]);
        memory_free(p->gradients[k]);
    }
}

// This rank's part of the split dimension.
static range part_of(int k) {
    int64_t length = tensors[k].split == SPLIT_COLUMNS ? tensors[k].columns : tensors[k].rows;
    range part = {.first = length * rank / size, .count = length * (rank + 1) / size - length * rank / size};
    if (k == LAST) part = (range){0, rank == size - 1 ? length : 0};
    if (k == UNEVEN) part = (range){rank == 0 ? 0 : length / 2, size == 1 ? length : length / 2};
    return part;
}

static parameter_table build(const problem *given) {
    parameter_table table = {0};
    for (int k = 0; k < given->tensors; k++) {
        range part = part_of(k);
        bool writer = part.count > 0;
        if (tensors[k].split == SPLIT_NONE) writer = rank == 0;
        if (k == UNEVEN) writer = rank <= 1;
        parameter_add(&table, tensors[k].name, tensors[k].columns == 1 ? 1 : 2, tensors[k].rows, tensors[k].columns,
                      tensors[k].split, part.first, part.count, writer, tensors[k].decay, INITIAL_ZERO);
    }
    parameter_allocate(&table, true, true);
    return table;
}

// This rank's part of a whole tensor.
static void take_part(float *part, const float *whole, const parameter *p) {
    for (int64_t r = 0; r < p->size[0]; r++)
        for (int64_t c = 0; c < p->size[1]; c++)
            part[r * p->size[1] + c] = whole[(p->offset[0] + r) * p->shape[1] + p->offset[1] + c];
}

static void set_values(parameter_table *table, const problem *given) {
    for (int k = 0; k < given->tensors; k++) take_part(table->rows[k].value, given->start[k], &table->rows[k]);
}

static void set_gradients(parameter_table *table, const problem *given, int step) {
    for (int k = 0; k < given->tensors; k++)
        take_part(table->rows[k].gradient, given->gradients[k] + step * count_of(k), &table->rows[k]);
}

// What several ranks hold must be the same on all of them.
static void check_copies(const parameter_table *table) {
    for (size_t k = 0; k < table->n; k++) {
        if (table->rows[k].split != SPLIT_NONE) continue;
        double extremes[2 * MOST];
        int n = (int)parameter_count(&table->rows[k]);
        for (int j = 0; j < n; j++) {
            extremes[j] = table->rows[k].value[j];
            extremes[n + j] = -extremes[j];
        }
        comm_max_doubles(world, extremes, 2 * n);
        for (int j = 0; j < n; j++) assert_close(table->rows[k].name, extremes[j], -extremes[n + j], 0);
    }
}

// ---- the twin ------------------------------------------------------------------------------------------------------

typedef struct {
    double value[MOST], m[MOST], v[MOST];
    double slack[MOST]; // what single precision may have lost so far
} twin;

static double length_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += x[j] * x[j];
    return sqrt(sum);
}

// One step of a whole tensor, its gradient multiplied with factor.
static void naive_lamb(twin *t, const float *gradient, int64_t n, bool decays, const optim_settings *s, double lr,
                       int update, double factor) {
    double u[MOST];
    for (int64_t j = 0; j < n; j++) {
        double g = factor * gradient[j];
        t->m[j] = s->beta1 * t->m[j] + (1 - s->beta1) * g;
        t->v[j] = s->beta2 * t->v[j] + (1 - s->beta2) * g * g;
        double m_hat = t->m[j] / (1 - pow(s->beta1, update)), v_hat = t->v[j] / (1 - pow(s->beta2, update));
        u[j] = m_hat / (sqrt(v_hat) + s->epsilon) + (decays ? s->weight_decay * t->value[j] : 0);
    }
    double values = length_of(t->value, n), direction = length_of(u, n);
    double ratio = decays && values > 0 && direction > 0 ? values / direction : 1;
    for (int64_t j = 0; j < n; j++) {
        t->value[j] -= lr * ratio * u[j];
        // two ulps of the value, and a little of a usual step
        t->slack[j] += 2.4e-7 * fabs(t->value[j]) + 1e-5 * lr * ratio * direction / sqrt((double)n);
    }
}

static void check_against_twin(const parameter *p, const twin *t, int update) {
    for (int64_t r = 0; r < p->size[0]; r++)
        for (int64_t c = 0; c < p->size[1]; c++) {
            int64_t j = (p->offset[0] + r) * p->shape[1] + p->offset[1] + c;
            double got = p->value[r * p->size[1] + c];
            char what[192];
            snprintf(what, sizeof what, "update %d, %s[%d]", update, p->name, (int)j);
            assert_close(what, got, t->value[j], t->slack[j]);
        }
}

// Values and gradients of many sizes; zero.weight is zero and the last gradient of every row is.
static problem draw_problem(void) {
    problem out = {.tensors = TENSORS};
    for (int k = 0; k < TENSORS; k++) {
        int64_t n = count_of(k);
        out.start[k] = memory_allocate((size_t)n, sizeof(float));
        out.gradients[k] = memory_allocate((size_t)(STEPS * n), sizeof(float));
        double z[2];
        for (int64_t i = 0; i < STEPS * n; i++) {
            random_normal_pair(z, random_stream_create(11, RANDOM_TEST, (uint64_t)k, 0), (uint64_t)i, 0);
            int64_t j = i % n;
            if (i < n) out.start[k][j] = k == ZERO ? 0 : (float)(z[1] * pow(10, -k));
            if ((j + 1) % tensors[k].columns || tensors[k].columns == 1)
                out.gradients[k][i] = (float)(z[0] * pow(10, (double)(j % 5) - 5));
        }
    }
    return out;
}

static void check_recipe(const optim_settings *s, double lr, double factor) {
    problem given = draw_problem();
    parameter_table table = build(&given);
    set_values(&table, &given);
    twin *twins = memory_allocate(TENSORS, sizeof *twins);
    for (int k = 0; k < TENSORS; k++)
        for (int64_t j = 0; j < count_of(k); j++) twins[k].value[j] = given.start[k][j];
    for (int step = 0; step < STEPS; step++) {
        double rate = lr * (1 - 0.01 * step); // as a schedule would
        set_gradients(&table, &given, step);
        optim_lamb(&table, s, rate, step + 1, factor, world);
        for (int k = 0; k < TENSORS; k++) {
            int64_t n = count_of(k);
            naive_lamb(&twins[k], given.gradients[k] + step * n, n, tensors[k].decay, s, rate, step + 1, factor);
            check_against_twin(&table.rows[k], &twins[k], step + 1);
        }
    }
    check_copies(&table);
    memory_free(twins);
    parameter_destroy(&table);
    free_problem(&given);
}

static void test_against_twin(void **state) {
    (void)state;
    const optim_settings recipes[] = {
        {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6},
        {.weight_decay = 1, .beta1 = 0.5, .beta2 = 0.98, .epsilon = 1e-3},
        {.weight_decay = 0, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6}, // there is a ratio all the same
    };
    for (int k = 0; k < 3; k++) {
        check_recipe(&recipes[k], 1e-2, 1);
        check_recipe(&recipes[k], 1e-4, 0.125);
    }
}

// ---- PyTorch -------------------------------------------------------------------------------------------------------

static void must(bool ok, const error *err) {
    if (!ok) FATAL("%s", err->text);
}

// A dataset of lamb.h5, [n] or [STEPS, n]. Caller frees.
static float *read_dump(h5_file *file, const char *group, int k, bool steps) {
    error err = {0};
    char name[128];
    snprintf(name, sizeof name, "%s/%s", group, tensors[k].name);
    int64_t n = count_of(k);
    const int64_t zero[2] = {0, 0}, all[2] = {steps ? STEPS : n, steps ? n : 1};
    float *data = memory_allocate((size_t)(all[0] * all[1]), sizeof *data);
    must(h5_read(file, name, H5_FLOAT32, zero, all, data, all[1], &err), &err);
    return data;
}

static void test_against_pytorch(void **state) {
    (void)state;
    error err = {0};
    h5_file *file = h5_open("tests/reference/lamb.h5", &err);
    must(file, &err);
    problem given = {.tensors = DUMPED};
    for (int k = 0; k < given.tensors; k++) {
        given.start[k] = read_dump(file, "start", k, false);
        given.gradients[k] = read_dump(file, "gradients", k, true);
    }
    parameter_table table = build(&given);
    set_values(&table, &given);
    const optim_settings s = {.optimizer = OPTIM_LAMB,
                              .lr = 5e-3,
                              .schedule = SCHEDULE_POLYNOMIAL,
                              .power = 0.5,
                              .warmup = 5,
                              .weight_decay = 0.01,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .epsilon = 1e-6};
    for (int step = 0; step < STEPS; step++) {
        set_gradients(&table, &given, step);
        double factor = optim_clip_factor(optim_gradient_norm(&table, world), 1);
        optim_update(&table, &s, optim_learning_rate(&s, step, STEPS), step + 1, factor, world);
    }
    for (int k = 0; k < given.tensors; k++) {
        float *whole = read_dump(file, "updated", k, false), part[MOST];
        const parameter *p = &table.rows[k];
        take_part(part, whole, p);
        assert_norm_close(p->name, p->value, part, parameter_count(p), 2e-6);
        memory_free(whole);
    }
    check_copies(&table);
    parameter_destroy(&table);
    free_problem(&given);
    must(h5_close(file, &err), &err);
}

// ---- by hand -------------------------------------------------------------------------------------------------------

// A tensor moves by lr times its own length, whatever the size of its gradient, and keeps still where there is neither.
static void test_length_of_a_step(void **state) {
    (void)state;
    const optim_settings s = {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-9};
    problem given = draw_problem();
    parameter_table table = build(&given);
    set_values(&table, &given);
    set_gradients(&table, &given, 0);
    parameter *zero = &table.rows[ZERO];
    for (int64_t j = 0; j < parameter_count(zero); j++) zero->gradient[j] = 0;
    optim_lamb(&table, &s, 0.125, 1, 1, world);
    for (int k = 0; k < TENSORS; k++) {
        const parameter *p = &table.rows[k];
        float before[MOST];
        take_part(before, given.start[k], p);
        double squares[2] = {0};
        for (int64_t j = 0; p->writer && j < parameter_count(p); j++) {
            squares[0] += pow((double)p->value[j] - before[j], 2);
            squares[1] += pow(before[j], 2);
        }
        comm_sum_doubles(world, squares, 2);
        if (k == ZERO)
            assert_close("square of the step", squares[0], 0, 0);
        else if (tensors[k].decay)
            assert_close("length of the step", sqrt(squares[0]), 0.125 * sqrt(squares[1]), 1e-6 * sqrt(squares[1]));
    }
    parameter_destroy(&table);
    free_problem(&given);
}

// Neither gradient nor decay: no direction, and the values stay.
static void test_nothing_to_do(void **state) {
    (void)state;
    const optim_settings s = {.weight_decay = 0, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6};
    problem given = draw_problem();
    parameter_table table = build(&given), before = build(&given);
    set_values(&table, &given);
    set_values(&before, &given);
    optim_lamb(&table, &s, 0.1, 1, 1, world);
    assert_all_close("values", table.values, before.values, table.total, 0);
    parameter_destroy(&table);
    parameter_destroy(&before);
    free_problem(&given);
}

// A gradient that is no number on one rank makes the tensor none on all: they see it together.
static void test_not_a_number(void **state) {
    (void)state;
    const optim_settings s = {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6};
    problem given = draw_problem();
    parameter_table table = build(&given);
    set_values(&table, &given);
    set_gradients(&table, &given, 0);
    parameter *rows = &table.rows[0];
    if (rank == size - 1) rows->gradient[2] = NAN;
    optim_lamb(&table, &s, 0.1, 1, 1, world);
    for (int64_t j = 0; j < parameter_count(rows); j++) REQUIRE(isnan(rows->value[j]));
    parameter_destroy(&table);
    free_problem(&given);
}

// ---- train.optimizer -----------------------------------------------------------------------------------------------

static void test_choice(void **state) {
    (void)state;
    problem given = draw_problem();
    for (int i = 0; i < 2; i++) {
        optim_settings s = {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6};
        s.optimizer = (optim_kind)i;
        parameter_table chosen = build(&given), direct = build(&given);
        set_values(&chosen, &given);
        set_values(&direct, &given);
        set_gradients(&chosen, &given, 0);
        set_gradients(&direct, &given, 0);
        optim_update(&chosen, &s, 0.1, 1, 1, world);
        if (i == 0)
            optim_adamw(&direct, &s, 0.1, 1, 1);
        else
            optim_lamb(&direct, &s, 0.1, 1, 1, world);
        assert_all_close("values", chosen.values, direct.values, chosen.total, 0);
        parameter_destroy(&chosen);
        parameter_destroy(&direct);
    }
    free_problem(&given);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    test_rank = rank = comm_rank(world);
    size = comm_size(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_twin),     cmocka_unit_test(test_against_pytorch),
        cmocka_unit_test(test_length_of_a_step), cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_not_a_number),     cmocka_unit_test(test_choice),
    };
    int failed = cmocka_run_group_tests_name("LAMB", tests, NULL, NULL);
    comm_finish();
    return failed;
}
