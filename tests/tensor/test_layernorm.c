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

static void check_backward(problem *q, const float *residual_gradient, int count) {
    int64_t size = q->tokens * q->hidden, hidden = q->hidden;
    float *ds = random_floats(size, 1, 50), *ds2 = random_floats(size, 1, 51);
    float *dgain = random_floats(hidden, 1, 52), *dshift = random_floats(hidden, 1, 53);
    float *dgain2 = copy_floats(dgain, hidden), *dshift2 = copy_floats(dshift, hidden);
    float *dgain3 = copy_floats(dgain, hidden), *dshift3 = copy_floats(dshift, hidden);
    sum_layernorm_backward(ds, dgain, dshift, residual_gradient, q->parts[0], count, q->normalised, q->rstd, q->gain,
                           q->tokens, hidden);
    naive_sum_layernorm_backward(ds2, dgain2, dshift2, residual_gradient, q->parts[0], count, q->normalised, q->rstd,
                                 q->gain, q->tokens, hidden);
    assert_near(ds, ds2, size, 1e-5);
    assert_near(dgain, dgain2, hidden, 1e-5);
    assert_near(dshift, dshift2, hidden, 1e-5);
    if (residual_gradient) {
        float *in_place = copy_floats(residual_gradient, size);
        sum_layernorm_backward(in_place, dgain3, dshift3, in_place, q->parts[0], count, q->normalised, q->rstd, q->gain,
                               q->tokens, hidden);
        assert_same(in_place, ds, size);
        assert_same(dgain3, dgain, hidden);
        memory_free(in_place);
    }
    float *all[] = {ds, ds2, dgain, dshift, dgain2, dshift2, dgain3, dshift3};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
}

static void all_shapes_match_their_twin(void **state) {
    (void)state;
    static const int64_t tokens[] = {0, 1, 3, 70}, hidden[] = {2, 5, 8, 17, 128, 300, 1024, 1500, 4096};
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
    float *ds = random_floats(size, 1, 50), *dpart = random_floats(size, 1, 51);
    float *dgain = memory_allocate((size_t)q.hidden, sizeof *dgain);
    float *dshift = memory_allocate((size_t)q.hidden, sizeof *dshift);
    forward(&q);
    sum_layernorm_backward(ds, dgain, dshift, q.dy, NULL, 0, q.normalised, q.rstd, q.gain, q.tokens, q.hidden);
    assert_gradient(q.residual, ds, size, 1, 0.03, 1e-3, layernorm_loss, &q);
    assert_gradient(q.gain, dgain, q.hidden, 1, 0.1, 1e-3, layernorm_loss, &q);
    assert_gradient(q.shift, dshift, q.hidden, 1, 0.1, 1e-3, layernorm_loss, &q);
    for (int b = 0; b < n_branches; b++) {
        dropout_apply(dpart, ds, q.numbers, q.tokens, q.hidden, q.branches[b].drop);
        for (int i = 0; i < 2; i++) assert_gradient(q.part[b][i], dpart, size, 1, 0.03, 1e-3, layernorm_loss, &q);
        float *dbias = memory_allocate((size_t)q.hidden, sizeof *dbias);
        column_sum_accumulate(dbias, dpart, q.tokens, q.hidden);
        assert_gradient(q.bias[b], dbias, q.hidden, 1, 0.03, 1e-3, layernorm_loss, &q);
        memory_free(dbias);
    }
    memory_free(ds);
    memory_free(dpart);
    memory_free(dgain);
    memory_free(dshift);
    problem_destroy(&q);
}

static void gradients_match_differences(void **state) {
    (void)state;
    for (int n = 0; n <= BRANCHES; n++) {
        check_gradients(n, 0);
        check_gradients(n, 0.4f);
    }
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
