// The names of tensors against those that Hugging Face's files have.
#include "../support.h"

#include "model/model.h"

static void check(model_family family, model_tensor part, int64_t layer, const char *end, const char *want) {
    assert_string_equal(model_tensor_name(family, part, layer, end).text, want);
}

static void names_are_hugging_faces(void **state) {
    (void)state;
    check(FAMILY_BERT, TENSOR_WORDS, 3, "weight", "embeddings.word_embeddings.weight");
    check(FAMILY_ROBERTA, TENSOR_QUERY, 0, "bias", "encoder.layer.0.attention.self.query.bias");
    check(FAMILY_BERT, TENSOR_OUTPUT_NORM, 11, "weight", "encoder.layer.11.output.LayerNorm.weight");
    check(FAMILY_BERT, TENSOR_POOLER, 0, "weight", "pooler.dense.weight");
    check(FAMILY_ROBERTA, TENSOR_POOLER, 0, "weight", "classifier.dense.weight");
    check(FAMILY_ROBERTA, TENSOR_CLASSIFIER, 0, "bias", "classifier.out_proj.bias");
    check(FAMILY_BERT, TENSOR_MASKED, 0, "bias", "cls.predictions.bias");
    check(FAMILY_ROBERTA, TENSOR_MASKED_NORM, 0, "bias", "lm_head.layer_norm.bias");
    check(FAMILY_BERT, TENSOR_ATTENTION_NORM, 0, "weight", model_saf_tensor());
}

static void a_name_says_where_it_belongs(void **state) {
    (void)state;
    assert_true(model_name_in_layer("encoder.layer.1.output.dense.weight", 1));
    assert_false(model_name_in_layer("encoder.layer.11.output.dense.weight", 1));
    assert_int_equal(model_name_head("encoder.layer.1.output.dense.weight"), 0);
    assert_int_equal(model_name_head("lm_head.dense.weight"), 7);
    assert_true(model_name_of_head("pooler.dense.weight"));
    assert_true(model_name_of_head("cls.predictions.bias"));
    assert_true(model_name_of_head("classifier.out_proj.bias"));
    assert_false(model_name_of_head("embeddings.LayerNorm.bias"));
    assert_false(model_name_of_head("class.weight"));
    assert_false(model_name_of_head("lm_head"));
}

static void prefixes_come_and_go(void **state) {
    (void)state;
    assert_string_equal(model_name_prefix(FAMILY_BERT, "encoder.layer.0.output.dense.bias"), "bert.");
    assert_string_equal(model_name_prefix(FAMILY_ROBERTA, "embeddings.LayerNorm.bias"), "roberta.");
    assert_string_equal(model_name_prefix(FAMILY_BERT, "pooler.dense.bias"), "bert.");
    assert_string_equal(model_name_prefix(FAMILY_BERT, "classifier.bias"), "");
    assert_string_equal(model_name_plain("roberta.encoder.x"), "encoder.x");
    assert_string_equal(model_name_plain("bert.pooler.dense.bias"), "pooler.dense.bias");
    assert_string_equal(model_name_plain("lm_head.bias"), "lm_head.bias");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_hugging_faces),
        cmocka_unit_test(a_name_says_where_it_belongs),
        cmocka_unit_test(prefixes_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
