// Matrix products and linear layers.
#include "numbers.h"

#include <omp.h>

// One product in all four transpositions, with padded rows whose padding must stay as it is, and garbage in c where it
// is to be overwritten.
static void check_product(int64_t m, int64_t n, int64_t k, float alpha, float beta) {
    for (int transposes = 0; transposes < 4; transposes++) {
        bool ta = transposes & 1, tb = transposes & 2;
        int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
        float *a = random_floats((ta ? k : m) * lda, 1, 1), *b = random_floats((tb ? n : k) * ldb, 1, 2);
        float *c = random_floats(m * ldc, 1, 3);
        if (beta == 0)
            for (int64_t i = 0; i < m * ldc; i++)
                if (i % ldc < n) c[i] = NAN;
        float *twin = copy_floats(c, m * ldc);
        gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        naive_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, twin, ldc);
        assert_near(c, twin, m * ldc, 1e-6 * sqrt((double)k + 1));
        memory_free(a);
        memory_free(b);
        memory_free(c);
        memory_free(twin);
    }
}

static void products_match_their_twin(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 7, 16, 33, 70};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            for (int k = 0; k < 6; k++) check_product(sizes[i], sizes[j], sizes[k], 1, (i + j + k) % 2 ? 1 : 0);
    check_product(5, 6, 7, 0.25f, -0.5f);
    check_product(130, 65, 300, -1.5f, 0);
}

// Few rows by a long, transposed b: on one thread, oneDNN is asked for a dozen rows at a time, on two for all at once.
static void few_rows(void **state) {
    (void)state;
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 2; threads++) {
        omp_set_num_threads(threads);
        check_product(16, 40, 256, 1, 0);     // in one block of b
        check_product(29, 700, 300, 0.5f, 1); // in two
        check_product(200, 140, 4000, 1, 0);  // a large b
    }
    omp_set_num_threads(before);
}

static void empty_products(void **state) {
    (void)state;
    check_product(0, 5, 5, 1, 1);
    check_product(5, 0, 5, 1, 0);
    check_product(5, 6, 0, 1, 0);
    check_product(5, 6, 0, 1, 0.5f);
    check_product(0, 0, 0, 1, 0);
}

typedef struct {
    float *x, *w, *bias, *y, *dy;
    int64_t tokens, in, out;
} linear;

static double linear_loss(void *context) {
    linear *l = context;
    linear_forward(l->y, l->x, l->w, l->bias, l->tokens, l->in, l->out);
    return weighted_sum(l->y, l->dy, l->tokens * l->out);
}

static void check_linear(int64_t tokens, int64_t in, int64_t out) {
    linear l = {random_floats(tokens * in, 1, 1),
                random_floats(out * in, 1, 2),
                random_floats(out, 1, 3),
                random_floats(tokens * out, 1, 4),
                random_floats(tokens * out, 1, 5),
                tokens,
                in,
                out};
    float *twin = memory_allocate((size_t)(tokens * out), sizeof *twin);
    linear_loss(&l);
    naive_gemm(false, true, tokens, out, in, 1, l.x, in, l.w, in, 0, twin, out);
    float *without = copy_floats(twin, tokens * out);
    for (int64_t i = 0; i < tokens * out; i++) twin[i] += l.bias[i % out];
    assert_near(l.y, twin, tokens * out, 1e-5);
    linear_forward(l.y, l.x, l.w, NULL, tokens, in, out);
    assert_near(l.y, without, tokens * out, 1e-5);

    float *dx = random_floats(tokens * in, 1, 6), *dw = random_floats(out * in, 1, 7), *db = random_floats(out, 1, 8);
    float *dx0 = copy_floats(dx, tokens * in), *dw0 = copy_floats(dw, out * in), *db0 = copy_floats(db, out);
    linear_backward_input(dx, l.dy, l.w, tokens, in, out, true);
    linear_backward_weight(dw, db, l.dy, l.x, tokens, in, out);
    for (int64_t i = 0; i < tokens * in; i++) dx[i] -= dx0[i]; // they had accumulated
    for (int64_t i = 0; i < out * in; i++) dw[i] -= dw0[i];
    for (int64_t i = 0; i < out; i++) db[i] -= db0[i];
    assert_gradient(l.x, dx, tokens * in, 1, 0.25, 1e-4, linear_loss, &l);
    assert_gradient(l.w, dw, out * in, 3, 0.25, 1e-4, linear_loss, &l);
    assert_gradient(l.bias, db, out, 1, 0.25, 1e-4, linear_loss, &l);
    linear_backward_input(dx0, l.dy, l.w, tokens, in, out, false);
    assert_near(dx0, dx, tokens * in, 1e-5);
    linear_backward_input(NULL, l.dy, l.w, tokens, in, out, false);
    linear_backward_weight(dw, NULL, l.dy, l.x, tokens, in, out);

    float *all[] = {l.x, l.w, l.bias, l.y, l.dy, twin, without, dx, dw, db, dx0, dw0, db0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
}

static void linear_layers(void **state) {
    (void)state;
    check_linear(0, 4, 3);
    check_linear(1, 7, 5);
    check_linear(9, 16, 32);
    check_linear(70, 12, 1);
}

static void columns_are_summed(void **state) {
    (void)state;
    static const int64_t rows[] = {0, 1, 63, 64, 65, 200}, columns[] = {1, 7, 64, 1024, 1500};
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < 5; j++) {
            int64_t m = rows[i], n = columns[j];
            float *x = random_floats(m * n, 1, 1), *sum = random_floats(n, 1, 2), *twin = copy_floats(sum, n);
            column_sum_accumulate(sum, x, m, n);
            for (int64_t c = 0; c < n; c++) {
                double total = twin[c];
                for (int64_t t = 0; t < m; t++) total += x[t * n + c];
                twin[c] = (float)total;
            }
            assert_near(sum, twin, n, 1e-5);
            memory_free(x);
            memory_free(sum);
            memory_free(twin);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_match_their_twin),
        cmocka_unit_test(few_rows),
        cmocka_unit_test(empty_products),
        cmocka_unit_test(linear_layers),
        cmocka_unit_test(columns_are_summed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
