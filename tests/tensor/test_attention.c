// Packed multi-head attention.
#include "numbers.h"

typedef struct {
    int64_t n, tokens, heads, first_head, head_size, longest;
    int32_t starts[9];
    int64_t *numbers;
    dropout drop;
    float *qkv, *out, *lse, *dout, *scratch;
} problem;

// lengths ends with 0.
static problem problem_create(const int64_t *lengths, int64_t heads, int64_t first_head, int64_t head_size, float p) {
    problem q = {.heads = heads, .first_head = first_head, .head_size = head_size};
    for (; lengths[q.n] > 0; q.n++) {
        q.tokens += lengths[q.n];
        q.starts[q.n + 1] = (int32_t)q.tokens;
        if (lengths[q.n] > q.longest) q.longest = lengths[q.n];
    }
    q.numbers = token_numbers(q.tokens, 77, 1);
    q.drop = test_dropout(p, 9, 2, RANDOM_DROPOUT_PROBABILITIES);
    q.qkv = random_floats(3 * q.tokens * heads * head_size, 1.5, 1);
    q.out = random_floats(q.tokens * heads * head_size, 1, 2);
    q.lse = random_floats(heads * q.tokens, 1, 3);
    q.dout = random_floats(q.tokens * heads * head_size, 1, 4);
    q.scratch = random_floats(attention_scratch_size(q.longest), 1, 5);
    return q;
}

static void problem_destroy(problem *q) {
    float *all[] = {q->qkv, q->out, q->lse, q->dout, q->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
    memory_free(q->numbers);
}

static void forward(problem *q) {
    attention_forward(q->out, q->lse, q->qkv, q->starts, q->n, q->numbers, q->heads, q->first_head, q->head_size,
                      q->drop, q->scratch);
}

static void backward(problem *q, float *dqkv) {
    attention_backward(dqkv, q->dout, q->qkv, q->out, q->lse, q->starts, q->n, q->numbers, q->heads, q->first_head,
                       q->head_size, q->drop, q->scratch);
}

static void check_against_twin(const int64_t *lengths, int64_t heads, int64_t head_size, float p) {
    problem q = problem_create(lengths, heads, 5, head_size, p);
    int64_t rows = q.tokens * heads * head_size;
    float *out = random_floats(rows, 1, 10), *lse = random_floats(heads * q.tokens, 1, 11);
    float *dqkv = random_floats(3 * rows, 1, 12), *dqkv2 = random_floats(3 * rows, 1, 13);
    forward(&q);
    naive_attention_forward(out, lse, q.qkv, q.starts, q.n, q.numbers, heads, 5, head_size, q.drop);
    assert_near(q.out, out, rows, 1e-5);
    assert_near(q.lse, lse, heads * q.tokens, 1e-5);
    backward(&q, dqkv);
    naive_attention_backward(dqkv2, q.dout, q.qkv, q.starts, q.n, q.numbers, heads, 5, head_size, q.drop);
    assert_near(dqkv, dqkv2, 3 * rows, 2e-5);
    memory_free(out);
    memory_free(lse);
    memory_free(dqkv);
    memory_free(dqkv2);
    problem_destroy(&q);
}

static void all_shapes_match_their_twin(void **state) {
    (void)state;
    static const int64_t lengths[][9] = {
        {0}, {1, 0}, {1, 2, 3, 4, 5, 6, 7, 0}, {13, 1, 16, 17, 0}, {31, 32, 33, 0}, {48, 49, 0}, {130, 1, 64, 0}};
    static const int64_t head_sizes[] = {5, 16, 32, 64, 80, 144};
    for (int i = 0; i < 7; i++)
        for (int j = i == 6 ? 2 : 0; j < (i == 6 ? 4 : 6); j++) // the longest with the commonest head sizes only
            for (int k = 0; k < 2; k++) check_against_twin(lengths[i], 1 + (i + j) % 3, head_sizes[j], k ? 0.2f : 0);
    check_against_twin((int64_t[]){95, 96, 97, 0}, 1, 64, 0.1f); // about one block of queries
    check_against_twin((int64_t[]){300, 0}, 1, 32, 0.1f);
    check_against_twin((int64_t[]){200, 0}, 2, 128, 0.1f);
    check_against_twin((int64_t[]){200, 0}, 2, 40, 0.1f);
    check_against_twin((int64_t[]){512, 0}, 1, 16, 0);
}

// Outputs only, as near as scores of hundreds allow.
static void check_large_scores(problem *q) {
    int64_t rows = q->tokens * q->heads * q->head_size;
    float *out = random_floats(rows, 1, 10), *lse = random_floats(q->heads * q->tokens, 1, 11);
    forward(q);
    naive_attention_forward(out, lse, q->qkv, q->starts, q->n, q->numbers, q->heads, 0, q->head_size, q->drop);
    assert_near(q->out, out, rows, 1e-3);
    assert_near(q->lse, lse, q->heads * q->tokens, 1e-5);
    memory_free(out);
    memory_free(lse);
    problem_destroy(q);
}

// Scores of a hundred and more: the largest is subtracted before exp. Scores of -1600: what pads a row is never the
// largest.
static void large_scores(void **state) {
    (void)state;
    problem high = problem_create((int64_t[]){9, 40, 0}, 2, 0, 16, 0),
            low = problem_create((int64_t[]){9, 40, 0}, 2, 0, 16, 0);
    int64_t rows = high.tokens * 32;
    for (int64_t i = 0; i < 3 * rows; i++) high.qkv[i] *= 10;
    for (int64_t i = 0; i < rows; i++) {
        low.qkv[i] = -20;                                 // queries
        low.qkv[rows + i] = 20 + low.qkv[rows + i] / 100; // keys
    }
    check_large_scores(&high);
    check_large_scores(&low);
}

static double attention_loss(void *context) {
    problem *q = context;
    forward(q);
    return weighted_sum(q->out, q->dout, q->tokens * q->heads * q->head_size);
}

static void gradients_match_differences(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        problem q = problem_create((int64_t[]){5, 1, 37, 0}, 2, 3, k < 2 ? 16 : 6, k % 2 ? 0.3f : 0);
        int64_t size = 3 * q.tokens * q.heads * q.head_size;
        float *dqkv = random_floats(size, 1, 10);
        forward(&q);
        backward(&q, dqkv);
        assert_gradient(q.qkv, dqkv, size, 7, 0.05, 1e-3, attention_loss, &q);
        memory_free(dqkv);
        problem_destroy(&q);
    }
}

// Where the rows of head h in queries (0), keys (1) or values (2) begin.
static int64_t head_at(const problem *q, int which, int64_t h) {
    return (which * q->heads + h) * q->tokens * q->head_size;
}

// The second of two sequences, once with all four heads and once alone with heads 2 and 3.
static void check_packing(int64_t length, int64_t head_size) {
    enum { HEADS = 4, FIRST = 2, FEWER = 2, BEFORE = 11 };
    problem both = problem_create((int64_t[]){BEFORE, length, 0}, HEADS, 0, head_size, 0.2f);
    problem alone = problem_create((int64_t[]){length, 0}, FEWER, FIRST, head_size, 0.2f);
    int64_t skipped = BEFORE * head_size, size = length * head_size, width = FEWER * head_size;
    float *dqkv_both = random_floats(3 * both.tokens * HEADS * head_size, 1, 10);
    float *dqkv_alone = random_floats(3 * FEWER * size, 1, 11);
    for (int which = 0; which < 3; which++)
        for (int64_t h = 0; h < FEWER; h++)
            memcpy(alone.qkv + head_at(&alone, which, h), both.qkv + head_at(&both, which, FIRST + h) + skipped,
                   (size_t)size * sizeof(float));
    for (int64_t t = 0; t < length; t++) {
        alone.numbers[t] = both.numbers[BEFORE + t];
        memcpy(alone.dout + t * width, both.dout + ((BEFORE + t) * HEADS + FIRST) * head_size,
               (size_t)width * sizeof(float));
    }
    forward(&both);
    forward(&alone);
    backward(&both, dqkv_both);
    backward(&alone, dqkv_alone);
    for (int64_t t = 0; t < length; t++)
        assert_same(alone.out + t * width, both.out + ((BEFORE + t) * HEADS + FIRST) * head_size, width);
    for (int which = 0; which < 3; which++)
        for (int64_t h = 0; h < FEWER; h++)
            assert_same(dqkv_alone + head_at(&alone, which, h), dqkv_both + head_at(&both, which, FIRST + h) + skipped,
                        size);
    memory_free(dqkv_both);
    memory_free(dqkv_alone);
    problem_destroy(&both);
    problem_destroy(&alone);
}

// A sequence's output and gradients do not depend on what it is packed with, nor a head's on which rank owns it.
static void packing_and_placement_change_nothing(void **state) {
    (void)state;
    check_packing(19, 16);
    check_packing(130, 64); // two blocks of queries
}

static void heads_split_and_merge(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{0, 2, 3}, {1, 1, 1}, {7, 3, 5}, {20, 4, 64}};
    for (int s = 0; s < 4; s++) {
        int64_t tokens = shapes[s][0], heads = shapes[s][1], head_size = shapes[s][2],
                size = tokens * heads * head_size;
        float *u = random_floats(size, 1, 1), *bias = random_floats(heads * head_size, 1, 2);
        float *part = random_floats(size, 1, 3), *back = random_floats(size, 1, 4);
        attention_split_heads(part, u, bias, tokens, heads, head_size);
        attention_merge_heads(back, part, tokens, heads, head_size);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t c = 0; c < heads * head_size; c++) {
                float right = u[t * heads * head_size + c] + bias[c];
                assert_close("part", part[(c / head_size * tokens + t) * head_size + c % head_size], right, 0);
                assert_close("back", back[t * heads * head_size + c], right, 0);
            }
        memory_free(u);
        memory_free(bias);
        memory_free(part);
        memory_free(back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shapes_match_their_twin), cmocka_unit_test(large_scores),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(packing_and_placement_change_nothing),
        cmocka_unit_test(heads_split_and_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
