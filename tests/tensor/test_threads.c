// Threads inside a rank change no bit of what our own kernels compute: sums go over fixed blocks in a fixed order.

#include "../support.h"

#include "numbers.h"
#include "tensor/tensor.h"

#include <omp.h>

enum { TOKENS = 300, WIDTH = 768, ELEMENTS = TOKENS * WIDTH, HEADS = 12, HEAD_SIZE = 64 };

// Everything that one thread count made, in one row of floats: [RESULTS, ELEMENTS], each kernel where it likes.
enum { RESULTS = 24 };
static float *run_kernels(int threads) {
    omp_set_num_threads(threads);
    float *all = memory_allocate(RESULTS * (size_t)ELEMENTS, sizeof *all), *out[RESULTS];
    for (int i = 0; i < RESULTS; i++) out[i] = all + (int64_t)i * ELEMENTS;
    float *x = random_floats(ELEMENTS, 1, 1), *dy = random_floats(ELEMENTS, 1, 2),
          *part = random_floats(ELEMENTS, 1, 3);
    float *vector = random_floats(WIDTH, 1, 4);
    int64_t *numbers = memory_allocate(TOKENS, sizeof *numbers);
    int32_t *ids = memory_allocate(TOKENS, sizeof *ids);
    for (int i = 0; i < TOKENS; i++) {
        numbers[i] = 7 * i;
        ids[i] = i * 37 % 50;
    }
    dropout drop = {.p = 0.1f, .stream = random_stream_create(1, RANDOM_TEST, 2, 3)};

    bias_gelu_forward(out[0], out[1], x, vector, TOKENS, WIDTH);
    bias_gelu_backward(out[2], out[3], dy, out[1], TOKENS, WIDTH);
    dropout_apply(out[4], x, numbers, TOKENS, WIDTH, drop);
    const float *parts[] = {x, part};
    layernorm_branch branches[] = {{parts, 2, vector, drop}, {parts + 1, 1, NULL, drop}};
    sum_layernorm_forward(out[5], out[6], out[7], dy, branches, 2, numbers, vector, vector, 1e-5f, TOKENS, WIDTH);
    sum_layernorm_backward(out[8], out[9], out[10], dy, parts, 2, out[6], out[7], vector, TOKENS, WIDTH);
    column_sum_accumulate(out[11], x, TOKENS, WIDTH);
    sum_parts(out[12], dy, parts, 2, TOKENS, WIDTH);
    word_embedding_forward(out[13], ids, x, 3, 40, TOKENS, WIDTH);
    place_embedding_forward(out[14], ids, ids, x, dy, TOKENS, WIDTH);
    attention_merge_heads(out[15], x, TOKENS, HEADS, HEAD_SIZE);

    // Short sequences take our own products, long ones the library's; both are one thread's work each.
    const int32_t starts[] = {0, 20, 40, 41, 70, 100, 228, TOKENS};
    float *qkv = random_floats(3 * ELEMENTS, 1, 5), *dqkv = out[18];
    float *scratch = memory_allocate_aligned((size_t)attention_scratch_size(128), sizeof *scratch);
    attention_split_heads(qkv, x, vector, TOKENS, HEADS, HEAD_SIZE);
    attention_forward(out[16], out[17], qkv, starts, 7, numbers, HEADS, 0, HEAD_SIZE, drop, scratch);
    attention_backward(dqkv, dy, qkv, out[16], out[17], starts, 7, numbers, HEADS, 0, HEAD_SIZE, drop, scratch);
    void *temporary[] = {x, dy, part, vector, numbers, ids, qkv, scratch};
    for (size_t i = 0; i < sizeof temporary / sizeof *temporary; i++) memory_free(temporary[i]);
    return all;
}

static void test_same_bits(void **state) {
    (void)state;
    float *one = run_kernels(1);
    for (int threads = 2; threads <= 5; threads++) {
        float *several = run_kernels(threads);
        for (int64_t i = 0; i < (int64_t)RESULTS * ELEMENTS; i++)
            if (memcmp(&one[i], &several[i], sizeof *one))
                fail_msg("%d threads: result %d, element %d is %.9g, not %.9g", threads, (int)(i / ELEMENTS),
                         (int)(i % ELEMENTS), several[i], one[i]);
        memory_free(several);
    }
    memory_free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
