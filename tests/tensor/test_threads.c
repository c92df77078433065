// Threads inside a rank change no bit of what our own kernels compute: 1, 2 and 3 threads, each twice.
#include "numbers.h"

#include <omp.h>

// Enough elements to be worth threads, in numbers that neither threads nor blocks divide; rows of more than one strip.
enum { TOKENS = 200, WIDTH = 1100, ELEMENTS = TOKENS * WIDTH, HEADS = 11, HEAD_SIZE = 100, THREADS = 3 };
enum { ROWS = 40, LONG = 500 }; // rows of a table of embeddings, tokens of a sequence

typedef struct {
    float *x, *y, *z, *vector; // [TOKENS, WIDTH]; vector [WIDTH]
    int64_t *numbers;          // [LONG]
    int32_t ids[TOKENS];       // from 0 to 49: some are beyond the table, some below
    dropout drop;
} inputs;

static inputs given;

static int create_inputs(void **state) {
    (void)state;
    given = (inputs){random_floats(ELEMENTS, 1, 1),        random_floats(ELEMENTS, 1, 2), random_floats(ELEMENTS, 1, 3),
                     random_floats(WIDTH, 1, 4),           token_numbers(LONG, 11, 7),    {0},
                     test_dropout(0.1f, 2, 3, RANDOM_TEST)};
    for (int t = 0; t < TOKENS; t++) given.ids[t] = t * 37 % 50;
    return 0;
}

static int destroy_inputs(void **state) {
    (void)state;
    float *all[] = {given.x, given.y, given.z, given.vector};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
    memory_free(given.numbers);
    return 0;
}

// ---- every kernel, by how its work is shared -----------------------------------------------------------------------

enum { OUTPUTS = 10 };
// What is computed goes to out [OUTPUTS, ELEMENTS], which starts zeroed.
typedef void (*computation)(float (*out)[ELEMENTS], const inputs *in);

static void rows_shared(float (*out)[ELEMENTS], const inputs *in) {
    const float *parts[] = {in->x, in->z};
    const layernorm_branch branches[] = {{parts, 2, in->vector, in->drop}, {parts + 1, 1, NULL, in->drop}};
    bias_gelu_forward(out[0], out[1], in->x, in->vector, TOKENS, WIDTH);
    dropout_apply(out[2], in->x, in->numbers, TOKENS, WIDTH, in->drop);
    sum_layernorm_forward(out[3], out[4], out[5], in->y, branches, 2, in->numbers, in->vector, in->vector, 1e-5f,
                          TOKENS, WIDTH);
    sum_parts(out[6], in->y, parts, 2, TOKENS, WIDTH);
    attention_split_heads(out[7], in->x, in->vector, TOKENS, HEADS, HEAD_SIZE);
    attention_merge_heads(out[8], in->x, TOKENS, HEADS, HEAD_SIZE);
}

static void sums_over_rows(float (*out)[ELEMENTS], const inputs *in) {
    const float *parts[] = {in->x, in->z};
    const layernorm_branch_gradient branches[] = {{out[6], out[7], in->drop},
                                                  {out[8], out[9], test_dropout(0, 2, 3, RANDOM_TEST)}};
    bias_gelu_backward(out[0], out[1], in->y, in->x, TOKENS, WIDTH);
    sum_layernorm_backward(out[2], out[3], out[4], branches, 2, in->y, parts, 2, in->z, in->x, in->vector, in->numbers,
                           TOKENS, WIDTH);
    column_sum_accumulate(out[5], in->x, TOKENS, WIDTH);
}

static void embeddings(float (*out)[ELEMENTS], const inputs *in) {
    word_embedding_forward(out[0], in->ids, in->x, 3, ROWS, TOKENS, WIDTH);
    word_embedding_backward(out[1], in->ids, in->y, 3, ROWS, TOKENS, WIDTH);
    place_embedding_forward(out[2], in->ids, in->ids, in->x, in->y, TOKENS, WIDTH);
    place_embedding_backward(out[3], out[4], in->ids, in->ids, in->y, TOKENS, WIDTH);
}

static void loss(float (*out)[ELEMENTS], const inputs *in) {
    enum { CLASSES = 500, EXAMPLES = ELEMENTS / CLASSES };
    int32_t labels[EXAMPLES];
    for (int i = 0; i < EXAMPLES; i++) labels[i] = i * 7 % CLASSES;
    double sum = cross_entropy(out[0], in->x, labels, EXAMPLES, CLASSES, 0.5f);
    double again = cross_entropy(NULL, in->x, labels, EXAMPLES, CLASSES, 0.5f);
    memcpy(out[1], &sum, sizeof sum);
    memcpy(out[2], &again, sizeof again);
}

static void attend(float (*out)[ELEMENTS], const inputs *in, const int32_t *starts, int64_t n, int64_t heads,
                   int64_t head_size) {
    int64_t longest = 0, size = starts[n] * heads * head_size;
    for (int64_t i = 0; i < n; i++)
        if (starts[i + 1] - starts[i] > longest) longest = starts[i + 1] - starts[i];
    float *qkv = random_floats(3 * size, 1, 5);
    float *scratch = memory_allocate_aligned((size_t)attention_scratch_size(longest), sizeof *scratch);
    attention_forward(out[0], out[1], qkv, starts, n, in->numbers, heads, 4, head_size, in->drop, scratch);
    attention_backward(out[2], in->y, qkv, out[0], out[1], starts, n, in->numbers, heads, 4, head_size, in->drop,
                       scratch);
    memory_free(qkv);
    memory_free(scratch);
}

// A head size that is no multiple of 16 uses the library's products, which get one thread each.
static void attention_library(float (*out)[ELEMENTS], const inputs *in) {
    attend(out, in, (const int32_t[]){0, 130, 131, 165, 200}, 4, 3, 40);
}

// Too little for threads; still its products get one each (with more they would round differently).
static void attention_single(float (*out)[ELEMENTS], const inputs *in) {
    attend(out, in, (const int32_t[]){0, LONG}, 1, 1, 40);
}

// Others use our own, over long sequences and short ones.
static void attention_long(float (*out)[ELEMENTS], const inputs *in) {
    attend(out, in, (const int32_t[]){0, 130, 131, 165, 200}, 4, 3, 48);
}

static void attention_short(float (*out)[ELEMENTS], const inputs *in) {
    int32_t starts[31];
    for (int i = 0; i < 31; i++) starts[i] = (int32_t)(i % 2 ? 10 * i + 3 : 10 * i);
    attend(out, in, starts, 30, 5, 16);
}

// Where several threads ask for a product each, each is as if it had been alone.
static void products_side_by_side(float (*out)[ELEMENTS], const inputs *in) {
#pragma omp parallel for
    for (int i = 0; i < OUTPUTS; i++)
        gemm(i % 2, false, 96, 300, 96, 1, in->x + 1000 * i, 96, in->y, 300, 0, out[i], 300);
}

// ---- 1, 2 and 3 threads --------------------------------------------------------------------------------------------

static float (*computed(computation compute, int threads))[ELEMENTS] {
    float(*out)[ELEMENTS] = memory_allocate(OUTPUTS, sizeof *out);
    omp_set_num_threads(threads);
    compute(out, &given);
    assert_int_equal(omp_get_max_threads(), threads);
    return out;
}

static void check(computation compute) {
    float(*right)[ELEMENTS] = computed(compute, 1);
    for (int run = 0; run < 2 * THREADS; run++) {
        int threads = 1 + run % THREADS;
        float(*out)[ELEMENTS] = computed(compute, threads);
        for (int i = 0; i < OUTPUTS; i++)
            if (memcmp(out[i], right[i], sizeof *out)) fail_msg("output %d differs with %d threads", i, threads);
        memory_free(out);
    }
    memory_free(right);
}

static void kernels_that_share_rows(void **state) {
    (void)state;
    check(rows_shared);
}

static void kernels_that_sum_over_rows(void **state) {
    (void)state;
    check(sums_over_rows);
}

static void tables_of_embeddings(void **state) {
    (void)state;
    check(embeddings);
}

static void losses(void **state) {
    (void)state;
    check(loss);
}

static void attention(void **state) {
    (void)state;
    check(attention_library);
    check(attention_single);
    check(attention_long);
    check(attention_short);
}

static void products_in_threads(void **state) {
    (void)state;
    check(products_side_by_side);
}

// A product's own threads may change its rounding, though not from run to run.
static void products_with_threads(void **state) {
    (void)state;
    enum { SIDE = 500, SIZE = SIDE * SIDE };
    float *right = memory_allocate(SIZE, sizeof *right);
    omp_set_num_threads(1);
    linear_backward_weight(right, NULL, given.y, given.x, TOKENS, SIDE, SIDE);
    for (int threads = 2; threads <= THREADS; threads++) {
        float *dw = memory_allocate(SIZE, sizeof *dw), *again = memory_allocate(SIZE, sizeof *again);
        omp_set_num_threads(threads);
        linear_backward_weight(dw, NULL, given.y, given.x, TOKENS, SIDE, SIDE);
        linear_backward_weight(again, NULL, given.y, given.x, TOKENS, SIDE, SIDE);
        assert_norm_close("dw", dw, right, SIZE, 1e-6);
        assert_same(dw, again, SIZE);
        memory_free(dw);
        memory_free(again);
    }
    memory_free(right);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_share_rows),
        cmocka_unit_test(kernels_that_sum_over_rows),
        cmocka_unit_test(tables_of_embeddings),
        cmocka_unit_test(losses),
        cmocka_unit_test(attention),
        cmocka_unit_test(products_in_threads),
        cmocka_unit_test(products_with_threads),
    };
    return cmocka_run_group_tests(tests, create_inputs, destroy_inputs);
}
