// Losses and their gradients, and softmax.
#include "numbers.h"

typedef struct {
    int64_t n, classes;
    float *logits, *dlogits;
    int32_t *labels;
} problem;

static problem problem_create(int64_t n, int64_t classes, double scale) {
    problem q = {n, classes, random_floats(n * classes, scale, 1), random_floats(n * classes, 1, 2),
                 memory_allocate((size_t)n, sizeof *q.labels)};
    for (int64_t i = 0; i < n; i++) q.labels[i] = (int32_t)(i * 7 % classes);
    return q;
}

static void problem_destroy(problem *q) {
    memory_free(q->logits);
    memory_free(q->dlogits);
    memory_free(q->labels);
}

static void cross_entropy_matches_its_twin(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{0, 2}, {1, 1}, {5, 2}, {9, 3}, {4, 45}, {3, 257}, {2, 30522}};
    static const double scales[] = {3, 100, 1e4};
    for (int s = 0; s < 7; s++) {
        for (int k = 0; k < 3; k++) {
            problem q = problem_create(shapes[s][0], shapes[s][1], scales[k]);
            int64_t size = q.n * q.classes;
            float *twin = random_floats(size, 1, 3);
            double loss = cross_entropy(q.dlogits, q.logits, q.labels, q.n, q.classes, 0.125f);
            double right = naive_cross_entropy(twin, q.logits, q.labels, q.n, q.classes, 0.125f);
            assert_close("loss", loss, right, 1e-6 * fmax(right, 1));
            assert_near(q.dlogits, twin, size, 1e-6);
            assert_close("loss alone", cross_entropy(NULL, q.logits, q.labels, q.n, q.classes, 1), right,
                         1e-6 * fmax(right, 1));
            assert_close("loss in place", cross_entropy(q.logits, q.logits, q.labels, q.n, q.classes, 0.125f), loss, 0);
            assert_same(q.logits, q.dlogits, size);
            memory_free(twin);
            problem_destroy(&q);
        }
    }
}

static void a_certain_loss(void **state) {
    (void)state;
    float logits[] = {1e4f, -1e4f}, dlogits[2];
    const float certain[] = {0, 0}, wrong[] = {1, -1};
    assert_close("loss", cross_entropy(dlogits, logits, ((int32_t[]){0}), 1, 2, 1), 0, 0);
    assert_all_close("dlogits", dlogits, certain, 2, 0);
    assert_close("loss", cross_entropy(dlogits, logits, ((int32_t[]){1}), 1, 2, 1), 2e4, 0);
    assert_all_close("dlogits", dlogits, wrong, 2, 0);
    assert_true(isnan(cross_entropy(dlogits, (float[]){NAN, 1}, (int32_t[]){1}, 1, 2, 1)));
}

static double cross_entropy_loss(void *context) {
    problem *q = context;
    return 0.25 * cross_entropy(NULL, q->logits, q->labels, q->n, q->classes, 1);
}

static void gradient_matches_differences(void **state) {
    (void)state;
    problem q = problem_create(6, 9, 2);
    cross_entropy(q.dlogits, q.logits, q.labels, q.n, q.classes, 0.25f);
    assert_gradient(q.logits, q.dlogits, q.n * q.classes, 1, 0.03, 1e-4, cross_entropy_loss, &q);
    problem_destroy(&q);
}

typedef struct {
    float *prediction, *target, *d;
} regression;

static double squared_error_loss(void *context) {
    regression *r = context;
    float ignored[50];
    return 0.5 * squared_error(ignored, r->prediction, r->target, 50, 1);
}

static void squared_errors(void **state) {
    (void)state;
    regression r = {random_floats(50, 2, 1), random_floats(50, 2, 2), random_floats(50, 1, 3)};
    double right = 0, loss = squared_error(r.d, r.prediction, r.target, 50, 0.5f);
    for (int i = 0; i < 50; i++) right += pow((double)r.prediction[i] - r.target[i], 2);
    assert_close("loss", loss, right, 1e-6 * fmax(right, 1));
    assert_gradient(r.prediction, r.d, 50, 1, 0.05, 1e-4, squared_error_loss, &r);
    assert_close("loss of nothing", squared_error(NULL, NULL, NULL, 0, 1), 0, 0);
    memory_free(r.prediction);
    memory_free(r.target);
    memory_free(r.d);
}

static void softmax_sums_to_one(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{0, 3}, {1, 1}, {5, 2}, {4, 45}, {3, 1000}};
    for (int s = 0; s < 5; s++) {
        problem q = problem_create(shapes[s][0], shapes[s][1], 50);
        softmax_rows(q.dlogits, q.logits, q.n, q.classes);
        for (int64_t i = 0; i < q.n; i++) {
            double most = -INFINITY, sum = 0;
            for (int64_t c = 0; c < q.classes; c++) most = fmax(most, q.logits[i * q.classes + c]);
            for (int64_t c = 0; c < q.classes; c++) sum += exp(q.logits[i * q.classes + c] - most);
            for (int64_t c = 0; c < q.classes; c++)
                assert_close("probability", q.dlogits[i * q.classes + c], exp(q.logits[i * q.classes + c] - most) / sum,
                             1e-6);
        }
        softmax_rows(q.logits, q.logits, q.n, q.classes);
        assert_same(q.logits, q.dlogits, q.n * q.classes);
        problem_destroy(&q);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy_matches_its_twin),
        cmocka_unit_test(a_certain_loss),
        cmocka_unit_test(gradient_matches_differences),
        cmocka_unit_test(squared_errors),
        cmocka_unit_test(softmax_sums_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
