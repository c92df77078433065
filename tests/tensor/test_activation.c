// GELU and tanh.
#include "numbers.h"

static void gelu_matches_its_twin(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{0, 4}, {1, 1}, {3, 5}, {65, 33}, {130, 1100}, {7, 2048}};
    for (int i = 0; i < 6; i++) {
        int64_t tokens = shapes[i][0], n = shapes[i][1], size = tokens * n;
        float *u = random_floats(size, 7, 1), *bias = random_floats(n, 1, 2), *dact = random_floats(size, 2, 3);
        float *act = random_floats(size, 1, 4), *slope = random_floats(size, 1, 5), *du = random_floats(size, 1, 6);
        float *act2 = random_floats(size, 1, 7), *slope2 = random_floats(size, 1, 8), *du2 = random_floats(size, 1, 9);
        float *db = random_floats(n, 1, 10), *db2 = copy_floats(db, n);
        bias_gelu_forward(act, slope, u, bias, tokens, n);
        naive_bias_gelu_forward(act2, slope2, u, bias, tokens, n);
        assert_near(act, act2, size, 1e-6);
        assert_near(slope, slope2, size, 1e-6);
        bias_gelu_backward(du, db, dact, slope, tokens, n);
        naive_bias_gelu_backward(du2, db2, dact, slope, tokens, n);
        assert_near(du, du2, size, 1e-6);
        assert_near(db, db2, n, 1e-5);

        bias_gelu_forward(act2, NULL, u, bias, tokens, n); // without a backward pass
        assert_same(act2, act, size);
        bias_gelu_forward(u, slope2, u, bias, tokens, n); // in place
        assert_same(u, act, size);
        assert_same(slope2, slope, size);
        bias_gelu_backward(dact, db2, dact, slope, tokens, n);
        assert_same(dact, du, size);
        float *all[] = {u, bias, dact, act, slope, du, act2, slope2, du2, db, db2};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) memory_free(all[k]);
    }
}

static void gelu_of_large_numbers(void **state) {
    (void)state;
    float u[] = {-1e4f, -50, -6, 6, 50, 1e4f}, bias[6] = {0}, act[6], kept[6], db[6] = {0}, du[6];
    float one[] = {1, 1, 1, 1, 1, 1}, right[] = {0, 0, 0, 6, 50, 1e4f}, slope[] = {0, 0, 0, 1, 1, 1};
    bias_gelu_forward(act, kept, u, bias, 1, 6);
    bias_gelu_backward(du, db, one, kept, 1, 6);
    assert_near(act, right, 6, 1e-7);
    assert_near(du, slope, 6, 1e-6);
}

typedef struct {
    float *u, *bias, *act, *slope, *dact;
    int64_t tokens, n;
} gelu;

static double gelu_loss(void *context) {
    gelu *g = context;
    bias_gelu_forward(g->act, g->slope, g->u, g->bias, g->tokens, g->n);
    return weighted_sum(g->act, g->dact, g->tokens * g->n);
}

static double tanh_loss(void *context) {
    gelu *g = context;
    tanh_forward(g->act, g->u, g->tokens * g->n);
    return weighted_sum(g->act, g->dact, g->tokens * g->n);
}

static void gradients_match_differences(void **state) {
    (void)state;
    int64_t tokens = 9, n = 20, size = tokens * n;
    gelu g = {random_floats(size, 3, 1),
              random_floats(n, 1, 2),
              random_floats(size, 1, 3),
              random_floats(size, 1, 4),
              random_floats(size, 1, 5),
              tokens,
              n};
    float *du = random_floats(size, 1, 6), *db = memory_allocate((size_t)n, sizeof *db);
    gelu_loss(&g);
    bias_gelu_backward(du, db, g.dact, g.slope, tokens, n);
    assert_gradient(g.u, du, size, 1, 0.03, 1e-4, gelu_loss, &g);
    assert_gradient(g.bias, db, n, 1, 0.03, 1e-4, gelu_loss, &g);
    tanh_loss(&g);
    tanh_backward(du, g.dact, g.act, size);
    for (int64_t i = 0; i < size; i++) assert_close("act", g.act[i], tanh(g.u[i]), 1e-6);
    assert_gradient(g.u, du, size, 1, 0.03, 1e-4, tanh_loss, &g);
    float *all[] = {g.u, g.bias, g.act, g.slope, g.dact, du, db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gelu_matches_its_twin),
        cmocka_unit_test(gelu_of_large_numbers),
        cmocka_unit_test(gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
