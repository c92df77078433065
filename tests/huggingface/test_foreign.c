// Tensors by the names that Hugging Face gave them over the years, as paf's; and the head that must be tied.
#include "../support.h"

#include "huggingface/internal.h"

enum { WORDS = 5, HIDDEN = 3 };

static char *folder;
static float values[WORDS * HIDDEN], others[WORDS * HIDDEN];

typedef struct {
    const char *name;
    int dimensions;
    int64_t rows, columns;
    const float *data;
} stored;

// A model of these tensors, the last of which has no name. Returns its path, until the next call.
static const char *write_model(const stored *all) {
    static char path[4096];
    safetensors_tensor tensors[16];
    size_t n = 0;
    error err;
    for (; all[n].name; n++)
        tensors[n] = (safetensors_tensor){
            .name = (char *)all[n].name, .dimensions = all[n].dimensions, .shape = {all[n].rows, all[n].columns}};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    safetensors_writer *w = safetensors_create(path, tensors, n, &err);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++)
        assert_true(
            safetensors_write(w, all[i].data, all[i].rows * (all[i].dimensions == 2 ? all[i].columns : 1), &err));
    assert_true(safetensors_finish(w, true, &err));
    return path;
}

// The rows of the words that a rank of three has, a LayerNorm, and a masked-LM head's bias.
static parameter_table make_table(void) {
    parameter_table t = {0};
    parameter_add(&t, "embeddings.word_embeddings.weight", 2, WORDS, HIDDEN, SPLIT_ROWS, 1, 3, true, true,
                  INITIAL_ZERO);
    parameter_add(&t, "encoder.layer.0.output.LayerNorm.weight", 1, HIDDEN, 1, SPLIT_NONE, 0, 0, true, false,
                  INITIAL_ZERO);
    parameter_add(&t, "cls.predictions.bias", 1, WORDS, 1, SPLIT_ROWS, 1, 3, true, false, INITIAL_ZERO);
    parameter_allocate(&t, false, false);
    return t;
}

static bool load(const char *path, parameter_table *t, error *err) {
    foreign f;
    error_clear(err);
    if (!foreign_open(&f, path, err)) return false;
    bool good = true;
    for (size_t i = 0; good && i < t->n; i++) good = foreign_check(&f, &t->rows[i], err);
    good = good && foreign_load(&f, t, err);
    foreign_close(&f);
    return good;
}

static void test_old_names(void **state) {
    (void)state;
    const char *path = write_model((stored[]){{"bert.embeddings.word_embeddings.weight", 2, WORDS, HIDDEN, values},
                                              {"bert.encoder.layer.0.output.LayerNorm.gamma", 1, HIDDEN, 1, values + 4},
                                              {"cls.predictions.decoder.weight", 2, WORDS, HIDDEN, values},
                                              {"cls.predictions.decoder.bias", 1, WORDS, 1, values + 7},
                                              {0}});
    error err;
    parameter_table t = make_table();
    if (!load(path, &t, &err)) fail_msg("%s", err.text);
    assert_memory_equal(t.rows[0].value, values + HIDDEN, 3 * HIDDEN * sizeof(float));
    assert_memory_equal(t.rows[1].value, values + 4, HIDDEN * sizeof(float));
    assert_memory_equal(t.rows[2].value, values + 8, 3 * sizeof(float));
    parameter_destroy(&t);
}

static void expect_refusal(const stored *all, const char *words) {
    error err;
    parameter_table t = make_table();
    assert_false(load(write_model(all), &t, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    if (!strstr(err.text, words)) fail_msg("\"%s\" does not say: %s", err.text, words);
    parameter_destroy(&t);
}

#define ENCODER                                                                                                        \
    {"embeddings.word_embeddings.weight", 2, WORDS, HIDDEN, values}, {                                                 \
        "encoder.layer.0.output.LayerNorm.weight", 1, HIDDEN, 1, values                                                \
    }

static void test_refusals(void **state) {
    (void)state;
    expect_refusal((stored[]){ENCODER, {0}}, "has no tensor cls.predictions.bias");
    expect_refusal((stored[]){ENCODER, {"cls.predictions.bias", 1, WORDS + 1, 1, values}, {0}}, "of 6 x 1");
    expect_refusal((stored[]){ENCODER, {"cls.predictions.bias", 2, WORDS, 1, values}, {0}}, "in 2 dimensions");
    expect_refusal((stored[]){ENCODER,
                              {"cls.predictions.bias", 1, WORDS, 1, values},
                              {"cls.predictions.decoder.weight", 2, WORDS, HIDDEN, others},
                              {0}},
                   "decoder.weight differs from embeddings.word_embeddings.weight");
    expect_refusal((stored[]){ENCODER,
                              {"cls.predictions.bias", 1, WORDS, 1, values},
                              {"cls.predictions.decoder.bias", 1, WORDS, 1, others},
                              {0}},
                   "decoder.bias differs from cls.predictions.bias");
    expect_refusal((stored[]){ENCODER, {"bert.embeddings.word_embeddings.weight", 2, WORDS, HIDDEN, values}, {0}},
                   "names of the same tensor");
}

static int setup(void **state) {
    (void)state;
    folder = test_folder();
    for (int i = 0; i < WORDS * HIDDEN; i++) others[i] = values[i] = (float)i;
    others[3] = -1; // row 1 or word 3: this rank's
    return 0;
}

static int teardown(void **state) {
    (void)state;
    error err;
    bool good = file_remove_tree(folder, &err);
    memory_free(folder);
    return good ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_old_names), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
