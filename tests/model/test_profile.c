// Profiles: written and read back, refused where they do not fit, and what costs they make.
#include "../support.h"

#include "model/model.h"

static const model_config shape = {.hidden = 8, .heads = 2, .intermediate = 32, .vocabulary = 50};

static model_profile made(void) {
    return (model_profile){.hidden = 8,
                           .heads = 2,
                           .intermediate = 32,
                           .vocabulary = 50,
                           .tokens = 64,
                           .lengths = 3,
                           .attention = {{16, 1e-6, 4e-6}, {32, 2e-6, 6e-6}, {64, 6e-6, 7e-6}},
                           .ffn = 3e-6,
                           .neuron = 5e-7,
                           .adamw = 1e-9,
                           .lamb = 2e-9,
                           .embedding = 1e-7,
                           .word = 1e-10};
}

static void test_round_trip(void **state) {
    (void)state;
    model_profile p = made(), again;
    error err = {0};
    json_t *json = model_profile_to_json(&p);
    assert_true(model_profile_from_json(&again, json, &shape, "p.json", &err));
    json_decref(json);
    assert_int_equal(again.tokens, 64);
    assert_int_equal(again.lengths, 3);
    for (int i = 0; i < 3; i++) {
        assert_close("length", again.attention[i].length, p.attention[i].length, 0);
        assert_close("base", again.attention[i].base, p.attention[i].base, 0);
        assert_close("head", again.attention[i].head, p.attention[i].head, 0);
    }
    assert_close("ffn", again.ffn, p.ffn, 0);
    assert_close("neuron", again.neuron, p.neuron, 0);
    assert_close("adamw", again.adamw, p.adamw, 0);
    assert_close("lamb", again.lamb, p.lamb, 0);
    assert_close("embedding", again.embedding, p.embedding, 0);
    assert_close("word", again.word, p.word, 0);
}

static void assert_cost(double length, double attention, double head) {
    model_profile p = made();
    placement_cost c = model_profile_cost(&p, length, 0);
    assert_close("attention", c.attention, attention, 1e-12 * attention);
    assert_close("head", c.head, head, 1e-12 * head);
    assert_close("ffn", c.ffn, 3e-6, 0);
    assert_close("neuron", c.neuron, 5e-7, 0);
}

static void test_lengths(void **state) {
    (void)state;
    assert_cost(16, 1e-6, 4e-6);
    assert_cost(32, 2e-6, 6e-6);
    assert_cost(20, 1.25e-6, 4.5e-6);
    assert_cost(56, 5e-6, 6.75e-6);
    assert_cost(64, 6e-6, 7e-6);
    assert_cost(3, 1e-6, 4e-6); // outside, the nearest
    assert_cost(500, 6e-6, 7e-6);
}

// A head has 4 x 8 x 4 weights and 3 x 4 biases, a neuron 2 x 8 weights and a bias.
static void test_optimizer(void **state) {
    (void)state;
    model_profile p = made();
    placement_cost c = model_profile_cost(&p, 16, p.adamw / 10);
    assert_close("head", c.head, 4e-6 + 140 * 1e-9 / 10, 1e-18);
    assert_close("neuron", c.neuron, 5e-7 + 17 * 1e-9 / 10, 1e-19);
    c = model_profile_cost(&p, 16, p.lamb / 10);
    assert_close("head", c.head, 4e-6 + 140 * 2e-9 / 10, 1e-18);
    assert_close("neuron", c.neuron, 5e-7 + 17 * 2e-9 / 10, 1e-19);
    assert_close("attention", c.attention, 1e-6, 0);
    assert_close("ffn", c.ffn, 3e-6, 0);
}

static void assert_refused(const json_t *json, const model_config *c, const char *says) {
    model_profile p;
    error err = {0};
    assert_false(model_profile_from_json(&p, json, c, "p.json", &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, "p.json"));
    if (!strstr(err.text, says)) fail_msg("\"%s\" does not say \"%s\"", err.text, says);
    error_clear(&err);
}

static void test_other_shapes(void **state) {
    (void)state;
    model_profile p = made();
    json_t *json = model_profile_to_json(&p);
    for (int i = 0; i < 4; i++) {
        model_config c = shape;
        *(int64_t *[]){&c.hidden, &c.heads, &c.intermediate, &c.vocabulary}[i] *= 2;
        assert_refused(json, &c, "--write-profile=FILE");
    }
    json_decref(json);
}

// Each member missing, and each that could be wrong.
static void test_damaged(void **state) {
    (void)state;
    model_profile p = made();
    json_t *whole = model_profile_to_json(&p);
    const char *key;
    json_t *value;
    json_object_foreach(whole, key, value) {
        json_t *json = json_deep_copy(whole);
        json_object_del(json, key);
        assert_refused(json, &shape, key);
        json_object_set_new(json, key, json_string("much"));
        assert_refused(json, &shape, key);
        json_decref(json);
    }
    const struct {
        const char *key;
        double value;
    } wrong[] = {{"neuron_s", 0}, {"neuron_s", -1e-9}, {"ffn_base_s", -1e-9}, {"adamw_s", 1.5}, {"profile", 2}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = json_deep_copy(whole);
        bool integer = !strcmp(wrong[i].key, "profile");
        json_object_set_new(json, wrong[i].key, integer ? json_integer(2) : json_real(wrong[i].value));
        assert_refused(json, &shape, wrong[i].key);
        json_decref(json);
    }
    json_t *rows = json_object_get(whole, "attention");
    json_object_set_new(json_array_get(rows, 2), "length", json_real(32));
    assert_refused(whole, &shape, "do not grow");
    json_object_set_new(json_array_get(rows, 2), "length", json_real(64));
    json_object_set_new(json_array_get(rows, 1), "head_s", json_real(0));
    assert_refused(whole, &shape, "head_s");
    json_array_clear(rows);
    assert_refused(whole, &shape, "attention");
    for (int i = 0; i <= PROFILE_LENGTHS; i++) json_array_append_new(rows, json_object());
    assert_refused(whole, &shape, "attention");
    json_decref(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_lengths), cmocka_unit_test(test_optimizer),
        cmocka_unit_test(test_other_shapes), cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
