// config.json: what is read, what is refused and how, what is written; and the work of a layer.
#include "../support.h"

#include "model/model.h"
#include "storage/storage.h"

static const char *const plain = "{\"model_type\": \"bert\", \"vocab_size\": 100, \"hidden_size\": 64, "
                                 "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"intermediate_size\": 200, "
                                 "\"max_position_embeddings\": 32}";

// The plain config with one key set to a piece of JSON, or without the key where that is NULL.
static json_t *with(const char *key, const char *value) {
    json_t *json = json_loads(plain, 0, NULL);
    assert_non_null(json);
    if (value)
        json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(json, key);
    return json;
}

static model_config take(json_t *json, model_design design) {
    model_config c;
    error err = {0};
    if (!model_config_from_json(&c, json, design, "c.json", &err)) fail_msg("%s", err.text);
    json_decref(json);
    return c;
}

static void assert_refuses(const char *key, const char *value, const char *message) {
    model_config c;
    error err = {0};
    json_t *json = with(key, value);
    if (model_config_from_json(&c, json, DESIGN_AUTO, "c.json", &err)) fail_msg("%s %s was taken", key, value);
    json_decref(json);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, message);
}

// ---- reading -------------------------------------------------------------------------------------------------------

static void assert_dropouts(const model_config *c, double hidden, double attention, double classifier) {
    assert_close("hidden dropout", c->hidden_dropout, hidden, 0);
    assert_close("attention dropout", c->attention_dropout, attention, 0);
    assert_close("classifier dropout", c->classifier_dropout, classifier, 0);
}

static void test_plain(void **state) {
    (void)state;
    model_config c = take(json_loads(plain, 0, NULL), DESIGN_AUTO);
    assert_int_equal(c.design, DESIGN_SAF);
    assert_int_equal(c.vocabulary, 100);
    assert_int_equal(c.hidden, 64);
    assert_int_equal(c.layers, 3);
    assert_int_equal(c.heads, 4);
    assert_int_equal(c.intermediate, 200);
    assert_int_equal(c.positions, 32);
    // BERT's own, where the file says nothing
    assert_int_equal(c.types, 2);
    assert_close("norm epsilon", c.norm_epsilon, 1e-12, 0);
    assert_close("initializer range", c.initializer_range, 0.02, 0);
    assert_dropouts(&c, 0.1, 0.1, 0.1);
}

static void test_rates(void **state) {
    (void)state;
    model_config c = take(with("hidden_dropout_prob", "0.25"), DESIGN_AUTO);
    assert_dropouts(&c, 0.25, 0.1, 0.25);
    c = take(with("classifier_dropout", "0"), DESIGN_AUTO);
    assert_dropouts(&c, 0.1, 0.1, 0);
    c = take(with("classifier_dropout", "null"), DESIGN_AUTO); // as transformers writes it
    assert_dropouts(&c, 0.1, 0.1, 0.1);
    c = take(with("attention_probs_dropout_prob", "0"), DESIGN_AUTO);
    assert_dropouts(&c, 0.1, 0, 0.1);
    c = take(with("layer_norm_eps", "1e-5"), DESIGN_AUTO);
    assert_close("norm epsilon", c.norm_epsilon, 1e-5, 0);
}

static void test_keys_that_do_not_matter(void **state) {
    (void)state;
    take(with("architectures", "[\"BertForMaskedLM\"]"), DESIGN_AUTO);
    take(with("is_decoder", "false"), DESIGN_AUTO);
    take(with("hidden_act", "\"gelu\""), DESIGN_AUTO);
    take(with("position_embedding_type", "\"absolute\""), DESIGN_AUTO);
    take(with("model_type", NULL), DESIGN_AUTO);
}

static void test_exported_types(void **state) {
    (void)state;
    assert_int_equal(take(with("model_type", "\"paf-bert\""), DESIGN_AUTO).family, FAMILY_BERT);
    assert_int_equal(take(with("model_type", "\"paf-roberta\""), DESIGN_AUTO).family, FAMILY_ROBERTA);
    assert_refuses("model_type", "\"paf-gpt2\"",
                   "c.json: model_type is \"paf-gpt2\"; paf can do \"bert\" and \"roberta\" only");
}

static void test_shipped_models(void **state) {
    (void)state;
    const struct {
        const char *name;
        int64_t layers, hidden, heads, intermediate, vocabulary, longest;
    } shipped[] = {
        {"bert-large-uncased", 24, 1024, 16, 4096, 30522, 512},
        {"bert-base-uncased", 12, 768, 12, 3072, 30522, 512},
        {"roberta-large", 24, 1024, 16, 4096, 50265, 512},
        {"roberta-base", 12, 768, 12, 3072, 50265, 512},
        {"minilm-l6", 6, 384, 12, 1536, 30522, 512},
        {"small", 2, 128, 4, 512, 30522, 512},
        {"small-8k", 2, 128, 4, 512, 8000, 512},
        {"small-256", 2, 256, 4, 1024, 8000, 512},
        {"tiny", 2, 64, 2, 256, 30522, 512},
    };
    size_t n;
    error err = {0};
    char **files = file_list("configs/models", &n, &err);
    assert_non_null(files);
    assert_int_equal(n, sizeof shipped / sizeof *shipped); // a new one belongs in the list above
    for (size_t i = 0; i < n; i++) memory_free(files[i]);
    memory_free(files);
    for (size_t i = 0; i < n; i++) {
        model_config c;
        char *path = memory_format("configs/models/%s.json", shipped[i].name);
        if (!model_config_read(&c, path, DESIGN_AUTO, &err)) fail_msg("%s", err.text);
        assert_int_equal(c.layers, shipped[i].layers);
        assert_int_equal(c.hidden, shipped[i].hidden);
        assert_int_equal(c.heads, shipped[i].heads);
        assert_int_equal(c.intermediate, shipped[i].intermediate);
        assert_int_equal(c.vocabulary, shipped[i].vocabulary);
        assert_int_equal(model_longest(&c), shipped[i].longest);
        memory_free(path);
    }
}

static void test_files(void **state) {
    (void)state;
    model_config c;
    error err = {0};
    char *folder = test_folder(), *path = memory_format("%s/config.json", folder), *message;
    assert_false(model_config_read(&c, path, DESIGN_AUTO, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    message = memory_format("cannot open %s: No such file or directory", path);
    assert_string_equal(err.text, message);
    memory_free(message);

    assert_true(file_write_atomic(path, plain, strlen(plain), &err));
    assert_true(model_config_read(&c, path, DESIGN_PAF, &err));
    assert_int_equal(c.design, DESIGN_PAF);

    assert_true(file_write_atomic(path, "{\"vocab_size\": }", 16, &err));
    assert_false(model_config_read(&c, path, DESIGN_AUTO, &err));
    message = memory_format("%s:1: ", path);
    assert_memory_equal(err.text, message, strlen(message));
    memory_free(message);
    memory_free(path);
    memory_free(folder);
}

// ---- design --------------------------------------------------------------------------------------------------------

static void test_design(void **state) {
    (void)state;
    const struct {
        const char *own;
        model_design asked, design;
    } cases[] = {
        {NULL, DESIGN_AUTO, DESIGN_SAF},      {NULL, DESIGN_SAF, DESIGN_SAF},       {NULL, DESIGN_PAF, DESIGN_PAF},
        {"\"saf\"", DESIGN_AUTO, DESIGN_SAF}, {"\"paf\"", DESIGN_AUTO, DESIGN_PAF}, {"\"paf\"", DESIGN_SAF, DESIGN_SAF},
        {"\"saf\"", DESIGN_PAF, DESIGN_PAF},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        assert_int_equal(take(with("layer_design", cases[k].own), cases[k].asked).design, cases[k].design);
    assert_string_equal(model_design_name(DESIGN_SAF), "saf");
    assert_string_equal(model_design_name(DESIGN_PAF), "paf");
    assert_refuses("layer_design", "\"parallel\"", "c.json: layer_design is \"parallel\", expected saf or paf");
    assert_refuses("layer_design", "1", "c.json: \"layer_design\" should be text");
}

// ---- refusals ------------------------------------------------------------------------------------------------------

static void test_sizes_refused(void **state) {
    (void)state;
    const char *const keys[] = {"vocab_size",          "hidden_size",       "num_hidden_layers",
                                "num_attention_heads", "intermediate_size", "max_position_embeddings"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *missing = memory_format("c.json: \"%s\" is missing", keys[i]);
        char *kind = memory_format("c.json: \"%s\" should be a whole number", keys[i]);
        assert_refuses(keys[i], NULL, missing);
        assert_refuses(keys[i], "\"12\"", kind);
        assert_refuses(keys[i], "12.0", kind);
        assert_refuses(keys[i], "null", kind);
        memory_free(missing);
        memory_free(kind);
    }
    assert_refuses("vocab_size", "0", "c.json: vocab_size is 0, expected 1 to 16777216");
    assert_refuses("vocab_size", "16777217", "c.json: vocab_size is 16777217, expected 1 to 16777216");
    assert_refuses("hidden_size", "8200", "c.json: hidden_size is 8200, expected 1 to 8192");
    assert_refuses("num_hidden_layers", "-1", "c.json: num_hidden_layers is -1, expected 1 to 4096");
    assert_refuses("num_attention_heads", "4097", "c.json: num_attention_heads is 4097, expected 1 to 4096");
    assert_refuses("intermediate_size", "9223372036854775807",
                   "c.json: intermediate_size is 9223372036854775807, expected 1 to 1048576");
    assert_refuses("max_position_embeddings", "0", "c.json: max_position_embeddings is 0, expected 1 to 1048576");
    assert_refuses("type_vocab_size", "0", "c.json: type_vocab_size is 0, expected 1 to 1024");
    assert_refuses("num_attention_heads", "5", "c.json: hidden_size 64 is not a multiple of num_attention_heads 5");
}

static void test_rates_refused(void **state) {
    (void)state;
    const char *const keys[] = {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"};
    for (int i = 0; i < 3; i++) {
        char *kind = memory_format("c.json: \"%s\" should be a number", keys[i]);
        assert_refuses(keys[i], "1", "c.json: a dropout probability is 1, expected 0 or more and below 1");
        assert_refuses(keys[i], "0.99999999", "c.json: a dropout probability is 1, expected 0 or more and below 1");
        assert_refuses(keys[i], "-0.1", "c.json: a dropout probability is -0.1, expected 0 or more and below 1");
        assert_refuses(keys[i], "\"0.1\"", kind);
        memory_free(kind);
    }
    assert_refuses("layer_norm_eps", "0", "c.json: layer_norm_eps is 0, expected more than 0 and less than 1");
    assert_refuses("layer_norm_eps", "1", "c.json: layer_norm_eps is 1, expected more than 0 and less than 1");
    assert_refuses("initializer_range", "-1", "c.json: initializer_range is -1, expected 0 to 10");
}

static void test_variants_refused(void **state) {
    (void)state;
    assert_refuses("model_type", "\"gpt2\"",
                   "c.json: model_type is \"gpt2\"; paf can do \"bert\" and \"roberta\" only");
    assert_refuses("hidden_act", "\"gelu_new\"", "c.json: hidden_act is \"gelu_new\"; paf can do \"gelu\" only");
    assert_refuses("position_embedding_type", "\"relative_key\"",
                   "c.json: position_embedding_type is \"relative_key\"; paf can do \"absolute\" only");
    assert_refuses("is_decoder", "true", "c.json: is_decoder is true; paf trains encoders only");
}

static void test_what_is_no_object(void **state) {
    (void)state;
    const char *const texts[] = {"[]", "12", "\"bert\"", "null"};
    for (int i = 0; i < 4; i++) {
        model_config c;
        error err = {0};
        json_t *json = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        assert_false(model_config_from_json(&c, json, DESIGN_AUTO, "c.json", &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        json_decref(json);
    }
}

// ---- writing -------------------------------------------------------------------------------------------------------

static void assert_same(const model_config *a, const model_config *b) {
    assert_int_equal(a->design, b->design);
    assert_int_equal(a->vocabulary, b->vocabulary);
    assert_int_equal(a->positions, b->positions);
    assert_int_equal(a->types, b->types);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->intermediate, b->intermediate);
    assert_int_equal(a->family, b->family);
    assert_close("norm epsilon", a->norm_epsilon, b->norm_epsilon, 0);
    assert_close("initializer range", a->initializer_range, b->initializer_range, 0);
    assert_dropouts(a, b->hidden_dropout, b->attention_dropout, b->classifier_dropout);
}

// Written as text and read again: the same, to the bit.
static void test_round_trip(void **state) {
    (void)state;
    const model_config configs[] = {
        {DESIGN_PAF, FAMILY_BERT, 101, 33, 3, 5, 66, 6, 77, 1e-12, 0.02, 0.1, 0.2, 0.3},
        {DESIGN_SAF, FAMILY_ROBERTA, 1 << 24, 1 << 20, 1 << 10, 1 << 12, 1 << 13, 1, 1 << 20, 1.0 / 3, 1.0 / 7, 0, 0,
         0},
    };
    for (int i = 0; i < 2; i++) {
        error err = {0};
        json_t *json = model_config_to_json(&configs[i]);
        size_t size;
        char *text = json_format(json, true, &size);
        json_decref(json);
        model_config back = take(json_parse(text, size, "text", &err), DESIGN_AUTO);
        assert_same(&back, &configs[i]);
        memory_free(text);
    }
}

// Others read it too: these keys say all that makes it a BERT, and that a PAF is none.
static void test_keys_for_others(void **state) {
    (void)state;
    const model_config c = {DESIGN_PAF, FAMILY_BERT, 101, 33, 3, 5, 66, 6, 77, 1e-12, 0.02, 0.1, 0.2, 0.3};
    json_t *json = model_config_to_json(&c);
    assert_string_equal(json_string_value(json_object_get(json, "model_type")), "bert");
    assert_string_equal(json_string_value(json_object_get(json, "hidden_act")), "gelu");
    assert_string_equal(json_string_value(json_object_get(json, "layer_design")), "paf");
    json_decref(json);
}

// ---- work ----------------------------------------------------------------------------------------------------------

// The design's first figures: attention : FFN = 17 : 32 at S = 128, 5 : 8 at S = 512.
static void test_work_of_bert_large(void **state) {
    (void)state;
    model_config c;
    error err = {0};
    assert_true(model_config_read(&c, "configs/models/bert-large-uncased.json", DESIGN_AUTO, &err));
    assert_close("attention : FFN at 128", model_attention_work(&c, 128) / model_ffn_work(&c), 17.0 / 32, 0);
    assert_close("attention : FFN at 512", model_attention_work(&c, 512) / model_ffn_work(&c), 5.0 / 8, 0);
    assert_close("FFN work", model_ffn_work(&c), 16.0 * 1024 * 1024, 0);
    assert_close("attention work", model_attention_work(&c, 0), 8.0 * 1024 * 1024, 0);
}

// An FFN of another width than four times the hidden size.
static void test_work_of_others(void **state) {
    (void)state;
    const model_config c = {.hidden = 10, .intermediate = 7, .heads = 2, .layers = 3};
    assert_close("FFN work", model_ffn_work(&c), 4 * 10 * 7, 0);
    assert_close("attention work", model_attention_work(&c, 5), 8 * 100 + 4 * 5 * 10, 0);
    // A step is a forward pass and a backward pass of twice its work, for every layer; the pooler works on sequences.
    double layer = 4 * 10 * 7 + 8 * 100 + 4 * 5 * 10;
    assert_close("step work", model_step_work(&c, 40, 5), 3 * 40 * 3 * layer, 0);
    assert_close("classifier work", model_classifier_work(&c), 2 * 100, 0);
    assert_close("masked work", model_masked_work(&c), 2 * 100 + 2 * 10 * (double)c.vocabulary, 0);
    assert_close("step work of nothing", model_step_work(&c, 0, 5), 0, 0);
}

// What runs slower than large products only ever costs more than its work, most of all for short heads.
static void test_cost(void **state) {
    (void)state;
    const model_config c = {.hidden = 100, .intermediate = 300, .heads = 4};
    placement_cost cost = model_cost(&c, 50);
    assert_close("attention cost", cost.attention, 2 * 40 * 100, 0);
    assert_close("FFN cost", cost.ffn, cost.attention, 0);
    assert_close("head cost", cost.head, (80000 + 1.4 * 4 * 50 * 100 + 5 * 40 * 100) / 4 + 4000, 1e-6);
    assert_close("neuron cost", cost.neuron, 400 + 40, 1e-9);
    topology team = {.attention = 1, .ffn = 1};
    placement_request q = model_placement_request(&c, &team, true, 50);
    assert_close("head cost", q.cost.head, cost.head, 0);
    assert_close("neuron cost", q.cost.neuron, cost.neuron, 0);
    assert_close("work of heads", q.head_work * 4, model_attention_work(&c, 50), 0);
    assert_close("work of neurons", q.neuron_work * 300, model_ffn_work(&c), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_keys_that_do_not_matter),
        cmocka_unit_test(test_exported_types),
        cmocka_unit_test(test_shipped_models),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_design),
        cmocka_unit_test(test_sizes_refused),
        cmocka_unit_test(test_rates_refused),
        cmocka_unit_test(test_variants_refused),
        cmocka_unit_test(test_what_is_no_object),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_keys_for_others),
        cmocka_unit_test(test_work_of_bert_large),
        cmocka_unit_test(test_work_of_others),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
