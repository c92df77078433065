// The sum over parts with dropout, residual and LayerNorm.
#include "numbers.h"

#include <sys/mman.h>

enum { BRANCHES = 2, PARTS = 3 };

// One call's worth of random inputs and room for its outputs.
typedef struct {
    int64_t tokens, hidden;
    float *residual, *part[BRANCHES][PARTS], *bias[BRANCHES], *gain, *shift;
    const float *parts[BRANCHES][PARTS];
    layernorm_branch branches[BRANCHES];
    int n_branches;
    int64_t *numbers;
    float *y, *normalised, *rstd, *dy;
} problem;

static const float eps = 1e-5f;

static problem problem_create(int64_t tokens, int64_t hidden, int n_branches, int count, float p) {
    int64_t size = tokens * hidden;
    problem q = {.tokens = tokens, .hidden = hidden, .n_branches = n_branches};
    q.residual = random_floats(size, 2, 1);
    q.gain = random_floats(hidden, 1, 2);
    q.shift = random_floats(hidden, 1, 3);
    q.numbers = token_numbers(tokens, 123, 5);
    for (int b = 0; b < BRANCHES; b++) {
        for (int i = 0; i < PARTS; i++)
            q.parts[b][i] = q.part[b][i] = random_floats(size, 1, (uint32_t)(10 + 3 * b + i));
        q.bias[b] = random_floats(hidden, 1, (uint32_t)(20 + b));
        random_purpose purpose = b == 0 ? RANDOM_DROPOUT_ATTENTION : RANDOM_DROPOUT_FFN;
        q.branches[b] = (layernorm_branch){NULL, count, q.bias[b], test_dropout(p, 4, 1, purpose)};
    }
    q.y = random_floats(size, 1, 30);
    q.normalised = random_floats(size, 1, 31);
    q.rstd = random_floats(tokens, 1, 32);
    q.dy = random_floats(size, 1, 33);
    return q;
}

static void problem_destroy(problem *q) {
    float *all[] = {q->residual, q->gain, q->shift, q->y, q->normalised, q->rstd, q->dy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
    for (int b = 0; b < BRANCHES; b++) {
        for (int i = 0; i < PARTS; i++) memory_free(q->part[b][i]);
        memory_free(q->bias[b]);
    }
    memory_free(q->numbers);
}

static void forward(problem *q) {
    for (int b = 0; b < BRANCHES; b++) q->branches[b].parts = q->parts[b];
    sum_layernorm_forward(q->y, q->normalised, q->rstd, q->residual, q->branches, q->n_branches, q->numbers, q->gain,
                          q->shift, eps, q->tokens, q->hidden);
}

static void check_forward(problem *q) {
    int64_t size = q->tokens * q->hidden;
    float *y = random_floats(size, 1, 40), *normalised = random_floats(size, 1, 41);
    float *rstd = random_floats(q->tokens, 1, 42);
    forward(q);
    naive_sum_layernorm_forward(y, normalised, rstd, q->residual, q->branches, q->n_branches, q->numbers, q->gain,
                                q->shift, eps, q->tokens, q->hidden);
    assert_near(q->y, y, size, 1e-5);
    assert_near(q->normalised, normalised, size, 1e-5);
    assert_near(q->rstd, rstd, q->tokens, 1e-5);

    sum_layernorm_forward(y, NULL, NULL, q->residual, q->branches, q->n_branches, q->numbers, q->gain, q->shift, eps,
                          q->tokens, q->hidden);
    assert_same(y, q->y, size);
    if (q->residual) {
        float *in_place = copy_floats(q->residual, size);
        sum_layernorm_forward(in_place, normalised, rstd, in_place, q->branches, q->n_branches, q->numbers, q->gain,
                              q->shift, eps, q->tokens, q->hidden);
        assert_same(in_place, q->y, size);
        memory_free(in_place);
    }
    memory_free(y);
    memory_free(normalised);
    memory_free(rstd);
}

// What a backward pass writes.
typedef struct {
    float *ds, *dgain, *dshift;
    layernorm_branch_gradient branches[BRANCHES];
} gradients;

static gradients gradients_create(const problem *q) {
    gradients g = {random_floats(q->tokens * q->hidden, 1, 50),
                   random_floats(q->hidden, 1, 52),
                   random_floats(q->hidden, 1, 53),
                   {{0}}};
    for (int b = 0; b < BRANCHES; b++) {
        g.branches[b] =
            (layernorm_branch_gradient){random_floats(q->tokens * q->hidden, 1, 54),
                                        random_floats(q->hidden, 1, (uint32_t)(55 + b)), q->branches[b].drop};
    }
    return g;
}

static void gradients_destroy(gradients *g) {
    memory_free(g->ds);
    memory_free(g->dgain);
    memory_free(g->dshift);
    for (int b = 0; b < BRANCHES; b++) {
        memory_free(g->branches[b].d);
        memory_free(g->branches[b].dbias);
    }
}

// With tolerance 0 all bits are to be the same.
static void assert_gradients(const gradients *g, const gradients *right, const problem *q, double tolerance) {
    int64_t size = q->tokens * q->hidden;
    assert_near(g->ds, right->ds, size, tolerance);
    assert_near(g->dgain, right->dgain, q->hidden, tolerance);
    assert_near(g->dshift, right->dshift, q->hidden, tolerance);
    for (int b = 0; b < q->n_branches; b++) {
        assert_near(g->branches[b].d, right->branches[b].d, size, tolerance);
        assert_near(g->branches[b].dbias, right->branches[b].dbias, q->hidden, tolerance);
    }
}

static void check_backward(const problem *q, const float *residual_gradient, int count) {
    gradients g = gradients_create(q), twin = gradients_create(q), in_place = gradients_create(q);
    sum_layernorm_backward(g.ds, g.dgain, g.dshift, g.branches, q->n_branches, residual_gradient, q->parts[0], count,
                           q->normalised, q->rstd, q->gain, q->numbers, q->tokens, q->hidden);
    naive_sum_layernorm_backward(twin.ds, twin.dgain, twin.dshift, twin.branches, q->n_branches, residual_gradient,
                                 q->parts[0], count, q->normalised, q->rstd, q->gain, q->numbers, q->tokens, q->hidden);
    assert_gradients(&g, &twin, q, 1e-5);
    if (residual_gradient) {
        memcpy(in_place.ds, residual_gradient, (size_t)(q->tokens * q->hidden) * sizeof *residual_gradient);
        sum_layernorm_backward(in_place.ds, in_place.dgain, in_place.dshift, in_place.branches, q->n_branches,
                               in_place.ds, q->parts[0], count, q->normalised, q->rstd, q->gain, q->numbers, q->tokens,
                               q->hidden);
        assert_gradients(&in_place, &g, q, 0);
    }
    gradients_destroy(&g);
    gradients_destroy(&twin);
    gradients_destroy(&in_place);
}

static void all_shapes_match_their_twin(void **state) {
    (void)state;
    static const int64_t tokens[] = {0, 1, 3, 70}, hidden[] = {2, 5, 8, 17, 128, 300, 1024, 1500, LAYERNORM_WIDEST};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 9; j++) {
            if (tokens[i] > 3 && hidden[j] > 1500) continue;
            for (int n = 0; n <= BRANCHES; n++) {
                problem q = problem_create(tokens[i], hidden[j], n, 1 + (i + j + n) % PARTS, j % 2 ? 0.3f : 0);
                if (n == 2 && j % 3 == 0) q.branches[1].bias = NULL;
                float *residual = q.residual;
                if (n == 1) q.residual = NULL;
                check_forward(&q);
                q.residual = residual;
                check_backward(&q, n == 1 ? NULL : q.dy, n == 0 ? 0 : PARTS);
                problem_destroy(&q);
            }
        }
    }
}

// A mean a thousand times the deviation, where the one-pass formula would lose everything.
static void large_means(void **state) {
    (void)state;
    problem q = problem_create(3, 1000, 0, 1, 0);
    for (int64_t i = 0; i < q.tokens * q.hidden; i++) q.residual[i] += 1000;
    float *y = random_floats(3000, 1, 40);
    forward(&q);
    naive_sum_layernorm_forward(y, NULL, NULL, q.residual, NULL, 0, q.numbers, q.gain, q.shift, eps, 3, 1000);
    assert_near(q.y, y, 3000, 1e-4); // the mean itself is rounded to 6e-5 of the deviation
    memory_free(y);
    problem_destroy(&q);
}

static double layernorm_loss(void *context) {
    problem *q = context;
    forward(q);
    return weighted_sum(q->y, q->dy, q->tokens * q->hidden);
}

// The gradient of a branch's part is the gradient at the sum, dropped by the same mask.
static void check_gradients(int n_branches, float p) {
    problem q = problem_create(5, 19, n_branches, 2, p);
    int64_t size = q.tokens * q.hidden;
    gradients g = gradients_create(&q);
    memset(g.dgain, 0, (size_t)q.hidden * sizeof *g.dgain);
    memset(g.dshift, 0, (size_t)q.hidden * sizeof *g.dshift);
    for (int b = 0; b < n_branches; b++) memset(g.branches[b].dbias, 0, (size_t)q.hidden * sizeof(float));
    forward(&q);
    sum_layernorm_backward(g.ds, g.dgain, g.dshift, g.branches, n_branches, q.dy, NULL, 0, q.normalised, q.rstd, q.gain,
                           q.numbers, q.tokens, q.hidden);
    assert_gradient(q.residual, g.ds, size, 1, 0.03, 1e-3, layernorm_loss, &q);
    assert_gradient(q.gain, g.dgain, q.hidden, 1, 0.1, 1e-3, layernorm_loss, &q);
    assert_gradient(q.shift, g.dshift, q.hidden, 1, 0.1, 1e-3, layernorm_loss, &q);
    for (int b = 0; b < n_branches; b++) {
        for (int i = 0; i < 2; i++)
            assert_gradient(q.part[b][i], g.branches[b].d, size, 1, 0.03, 1e-3, layernorm_loss, &q);
        assert_gradient(q.bias[b], g.branches[b].dbias, q.hidden, 1, 0.03, 1e-3, layernorm_loss, &q);
    }
    gradients_destroy(&g);
    problem_destroy(&q);
}

static void gradients_match_differences(void **state) {
    (void)state;
    for (int n = 0; n <= BRANCHES; n++) {
        check_gradients(n, 0);
        check_gradients(n, 0.4f);
    }
}

// Slice by slice, activations' gradients have the bits that they have when all rows are done together.
static void check_backward_by_slices(const problem *q) {
    gradients g = gradients_create(q), whole = gradients_create(q);
    const float *const parts[] = {q->part[0][0], q->part[0][1]};
    sum_layernorm_backward(whole.ds, whole.dgain, whole.dshift, whole.branches, 2, q->dy, parts, 2, q->normalised,
                           q->rstd, q->gain, q->numbers, q->tokens, q->hidden);
    for (int64_t first = 0; first < q->tokens; first += 11) {
        int64_t rows = smaller(11, q->tokens - first), at = first * q->hidden;
        layernorm_branch_gradient branches[] = {g.branches[0], g.branches[1]};
        for (int b = 0; b < BRANCHES; b++) branches[b].d += at;
        const float *const slices[] = {parts[0] + at, parts[1] + at};
        sum_layernorm_backward(g.ds + at, g.dgain, g.dshift, branches, 2, q->dy + at, slices, 2, q->normalised + at,
                               q->rstd + first, q->gain, q->numbers + first, rows, q->hidden);
    }
    assert_same(g.ds, whole.ds, q->tokens * q->hidden);
    for (int b = 0; b < BRANCHES; b++) assert_same(g.branches[b].d, whole.branches[b].d, q->tokens * q->hidden);
    gradients_destroy(&g);
    gradients_destroy(&whole);
}

// What the shared and mpi exchanges rely on: the same bits whether parts lie in a shared mapping (only 8-byte aligned,
// as Open MPI's windows are) or in copies, and whether rows are done together or slice by slice.
static void the_same_bits_everywhere(void **state) {
    (void)state;
    problem q = problem_create(41, 333, 2, 2, 0.1f);
    int64_t size = q.tokens * q.hidden;
    forward(&q);
    float *y = copy_floats(q.y, size), *normalised = copy_floats(q.normalised, size);

    size_t bytes = (size_t)(5 * size + 2) * sizeof(float);
    float *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    float *window = shared + 2;
    for (int k = 0; k < 4; k++) {
        memcpy(window + k * size, q.part[k / 2][k % 2], (size_t)size * sizeof(float));
        q.parts[k / 2][k % 2] = window + k * size;
    }
    float *kept = q.y;
    q.y = window + 4 * size;
    forward(&q);
    assert_same(q.y, y, size);
    assert_same(q.normalised, normalised, size);

    for (int64_t first = 0; first < q.tokens; first += 11) {
        int64_t rows = first + 11 < q.tokens ? 11 : q.tokens - first, at = first * q.hidden;
        const float *parts[BRANCHES][PARTS];
        for (int b = 0; b < BRANCHES; b++) {
            for (int i = 0; i < 2; i++) parts[b][i] = q.part[b][i] + at;
            q.branches[b].parts = parts[b];
        }
        sum_layernorm_forward(kept + at, q.normalised + at, q.rstd + first, q.residual + at, q.branches, 2,
                              q.numbers + first, q.gain, q.shift, eps, rows, q.hidden);
    }
    assert_same(kept, y, size);
    assert_same(q.normalised, normalised, size);
    q.y = kept;
    munmap(shared, bytes);
    check_backward_by_slices(&q);
    memory_free(y);
    memory_free(normalised);
    problem_destroy(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shapes_match_their_twin),
        cmocka_unit_test(large_means),
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(the_same_bits_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
