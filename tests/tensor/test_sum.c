// The plain sum over parts.
#include "numbers.h"

enum { PARTS = 3, TOKENS = 7, HIDDEN = 13, SIZE = TOKENS * HIDDEN };

static void parts_are_summed_in_order(void **state) {
    (void)state;
    const float *parts[PARTS];
    float *part[PARTS], *residual = random_floats(SIZE, 1, 9), *out = random_floats(SIZE, 1, 10);
    for (int i = 0; i < PARTS; i++) parts[i] = part[i] = random_floats(SIZE, 1, (uint32_t)i);
    for (int count = 0; count <= PARTS; count++) {
        for (int with = 0; with < 2; with++) {
            sum_parts(out, with ? residual : NULL, parts, count, TOKENS, HIDDEN);
            for (int i = 0; i < SIZE; i++) {
                float right = with ? residual[i] : 0;
                for (int k = 0; k < count; k++) right += part[k][i];
                assert_close("sum", out[i], right, 0);
            }
        }
    }
    sum_parts(residual, residual, parts, PARTS, TOKENS, HIDDEN); // in place
    assert_same(residual, out, SIZE);
    sum_parts(out, NULL, parts, PARTS, 0, HIDDEN);
    assert_same(residual, out, SIZE);
    for (int i = 0; i < PARTS; i++) memory_free(part[i]);
    memory_free(residual);
    memory_free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_are_summed_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
