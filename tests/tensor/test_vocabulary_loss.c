// Cross-entropy over a vocabulary that ranks share, held against the naive one over whole rows.
#include "numbers.h"

enum { RANKS_MOST = 4 };

// How a vocabulary is cut: rank r has the pieces cut[r] .. cut[r + 1] - 1.
typedef struct {
    int ranks;
    int64_t cut[RANKS_MOST + 1];
} division;

static const division divisions[] = {
    {1, {0, 45}},
    {2, {0, 31, 45}},
    {3, {0, 1, 40, 45}},
    {3, {0, 0, 17, 45}},  // the first has none,
    {3, {0, 20, 20, 45}}, // the middle one,
    {3, {0, 44, 45, 45}}, // the last
    {4, {0, 0, 45, 45, 45}},
};
enum { DIVISIONS = sizeof divisions / sizeof *divisions };

typedef struct {
    int64_t n, pieces;
    float *logits;   // [n, pieces]
    int32_t *labels; // [n]
} problem;

typedef struct {
    double loss;
    int64_t correct;
    float *dlogits; // [n, pieces]
} outcome;

// Labels go through the whole vocabulary, so that every rank has some.
static problem problem_create(int64_t n, int64_t pieces, double scale, uint32_t name) {
    problem q = {n, pieces, random_floats(n * pieces, scale, name), memory_allocate((size_t)n, sizeof *q.labels)};
    for (int64_t i = 0; i < n; i++) q.labels[i] = (int32_t)(i * 7 % pieces);
    return q;
}

static void problem_destroy(problem *q) {
    memory_free(q->logits);
    memory_free(q->labels);
}

// Copies columns first .. first + count - 1 of whole [n, pieces] to part [n, count], or back.
static void copy_columns(float *part, float *whole, const problem *q, int64_t first, int64_t count, bool back) {
    for (int64_t i = 0; i < q->n; i++)
        for (int64_t c = 0; c < count; c++) {
            float *a = &part[i * count + c], *b = &whole[i * q->pieces + first + c];
            *(back ? b : a) = *(back ? a : b);
        }
}

// What the ranks of a team do, one after the other.
static outcome solve(const problem *q, const division *d, float scale) {
    outcome o = {.dlogits = memory_allocate((size_t)(q->n * q->pieces), sizeof *o.dlogits)};
    vocabulary_statistics *stats = memory_allocate((size_t)(d->ranks * q->n), sizeof *stats);
    double *lse = memory_allocate((size_t)q->n, sizeof *lse);
    float *part[RANKS_MOST];
    for (int r = 0; r < d->ranks; r++) {
        int64_t count = d->cut[r + 1] - d->cut[r];
        part[r] = memory_allocate((size_t)(q->n * count), sizeof *part[r]);
        copy_columns(part[r], q->logits, q, d->cut[r], count, false);
        vocabulary_statistics_compute(stats + r * q->n, part[r], q->labels, q->n, d->cut[r], count);
    }
    o.loss = vocabulary_statistics_join(lse, &o.correct, stats, d->ranks, q->labels, q->n);
    for (int r = 0; r < d->ranks; r++) {
        int64_t count = d->cut[r + 1] - d->cut[r];
        vocabulary_cross_entropy_backward(part[r], lse, q->labels, q->n, d->cut[r], count, scale);
        copy_columns(part[r], o.dlogits, q, d->cut[r], count, true);
        memory_free(part[r]);
    }
    memory_free(stats);
    memory_free(lse);
    return o;
}

// The labels that are their row's first largest logit.
static int64_t best_guesses(const problem *q) {
    int64_t correct = 0;
    for (int64_t i = 0; i < q->n; i++) {
        int64_t best = 0;
        for (int64_t c = 1; c < q->pieces; c++)
            if (q->logits[i * q->pieces + c] > q->logits[i * q->pieces + best]) best = c;
        correct += best == q->labels[i];
    }
    return correct;
}

static void check(const problem *q, const division *d, float scale) {
    outcome o = solve(q, d, scale);
    float *twin = memory_allocate((size_t)(q->n * q->pieces), sizeof *twin);
    double right = naive_cross_entropy(twin, q->logits, q->labels, q->n, q->pieces, scale);
    assert_close("loss", o.loss, right, 1e-6 * fmax(right, 1));
    assert_int_equal(o.correct, best_guesses(q));
    assert_near(o.dlogits, twin, q->n * q->pieces, 1e-6);
    memory_free(twin);
    memory_free(o.dlogits);
}

static void matches_its_twin(void **state) {
    (void)state;
    static const double scales[] = {0.1, 3, 100, 1e4, 1e30};
    for (int k = 0; k < 5; k++) {
        problem q = problem_create(90, 45, scales[k], (uint32_t)k);
        for (int i = 0; i < DIVISIONS; i++) check(&q, &divisions[i], 0.5f);
        problem_destroy(&q);
    }
}

// Rows that are longer than what is summed at a time, and work enough for several threads.
static void a_real_vocabulary(void **state) {
    (void)state;
    static const division real[] = {{1, {0, 30522}}, {2, {0, 15261, 30522}}, {3, {0, 257, 30000, 30522}}};
    problem q = problem_create(12, 30522, 8, 1);
    for (int64_t i = 0; i < q.n; i++) q.labels[i] = (int32_t)(i * 2774);
    for (int i = 0; i < 3; i++) check(&q, &real[i], 0.125f);
    problem_destroy(&q);
}

static void no_rows(void **state) {
    (void)state;
    problem q = problem_create(0, 45, 1, 1);
    for (int i = 0; i < DIVISIONS; i++) {
        outcome o = solve(&q, &divisions[i], 1);
        assert_close("loss", o.loss, 0, 0);
        assert_int_equal(o.correct, 0);
        memory_free(o.dlogits);
    }
    problem_destroy(&q);
}

// Of equal logits, of one rank's or of several, the first piece is the guess.
static void ties_go_to_the_first(void **state) {
    (void)state;
    problem q = problem_create(45, 45, 1, 1);
    for (int64_t i = 0; i < q.n; i++) q.labels[i] = (int32_t)i;
    for (int64_t i = 0; i < q.n; i++) // row i: the largest at i, i + 9, i + 18, ...
        for (int64_t c = 0; c < q.pieces; c++) q.logits[i * q.pieces + c] = c >= i && (c - i) % 9 == 0 ? 2 : -1;
    for (int i = 0; i < DIVISIONS; i++) {
        outcome o = solve(&q, &divisions[i], 1);
        assert_int_equal(o.correct, 45);
        memory_free(o.dlogits);
    }
    for (int64_t i = 0; i < q.n; i++) q.labels[i] = (int32_t)(i + 9) % 45; // as large, but not the first
    for (int i = 0; i < DIVISIONS; i++) {
        outcome o = solve(&q, &divisions[i], 1);
        assert_int_equal(o.correct, 0);
        memory_free(o.dlogits);
    }
    problem_destroy(&q);
}

// A certain answer, whatever its size: nothing to lose, nothing to learn; a wrong one: all of the distance.
static void a_certain_answer(void **state) {
    (void)state;
    problem q = problem_create(2, 45, 0, 1);
    int64_t cells = q.n * q.pieces;
    for (int64_t c = 0; c < cells; c++) q.logits[c] = -12345.678f;
    q.labels[0] = 3, q.labels[1] = 44;
    q.logits[3] = q.logits[q.pieces + 3] = 12345.678f;
    for (int i = 0; i < DIVISIONS; i++) {
        outcome o = solve(&q, &divisions[i], 1);
        assert_close("loss", o.loss, 2 * (double)12345.678f, 0);
        assert_int_equal(o.correct, 1);
        for (int64_t c = 0; c < cells; c++)
            assert_close("dlogits", o.dlogits[c], c == q.pieces + 3 ? 1 : c == q.pieces + 44 ? -1 : 0, 0);
        memory_free(o.dlogits);
    }
    problem_destroy(&q);
}

// One logit that is no number spoils the loss, whichever rank has it: the run can see it and stop.
static void not_a_number(void **state) {
    (void)state;
    for (int64_t piece = 0; piece < 45; piece += 4) {
        problem q = problem_create(1, 45, 1, 1);
        q.logits[piece] = NAN;
        for (int i = 0; i < DIVISIONS; i++) {
            outcome o = solve(&q, &divisions[i], 1);
            assert_true(isnan(o.loss));
            memory_free(o.dlogits);
        }
        problem_destroy(&q);
    }
}

static double loss_of(void *context) {
    outcome o = solve(context, &divisions[2], 1);
    memory_free(o.dlogits);
    return 0.25 * o.loss;
}

static void gradient_matches_differences(void **state) {
    (void)state;
    problem q = problem_create(7, 45, 2, 1);
    outcome o = solve(&q, &divisions[2], 0.25f);
    assert_gradient(q.logits, o.dlogits, q.n * q.pieces, 1, 0.03, 1e-4, loss_of, &q);
    memory_free(o.dlogits);
    problem_destroy(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_its_twin),
        cmocka_unit_test(a_real_vocabulary),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(ties_go_to_the_first),
        cmocka_unit_test(a_certain_answer),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(gradient_matches_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
