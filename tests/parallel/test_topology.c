// Teams: which texts mean which groups, what is refused and with what advice, and what auto chooses.
#include "../support.h"

#include "parallel/parallel.h"

typedef struct {
    int attention, ffn;
} team;

#define WORK 17.0, 32.0 // BERT-large at S = 128
#define HEADS 16

static team parse(const char *text, int ranks) {
    team t;
    error err = {0};
    if (!topology_parse_team(&t.attention, &t.ffn, "parallel.team", text, ranks, WORK, HEADS, &err))
        fail_msg("%s", err.text);
    return t;
}

static void assert_team(team t, int attention, int ffn) {
    assert_int_equal(t.attention, attention);
    assert_int_equal(t.ffn, ffn);
}

static void assert_refuses(const char *text, int ranks, const char *message) {
    team t;
    error err = {0};
    if (topology_parse_team(&t.attention, &t.ffn, "parallel.team", text, ranks, WORK, HEADS, &err))
        fail_msg("%s was taken", text);
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, message);
}

// ---- texts ---------------------------------------------------------------------------------------------------------

static void test_good_texts(void **state) {
    (void)state;
    assert_team(parse("1", 1), 0, 0);
    assert_team(parse("1+1", 2), 1, 1);
    assert_team(parse("2+4", 6), 2, 4);
    assert_team(parse("4+2", 6), 4, 2); // not the best, but asked for
    assert_team(parse("16+100", 116), 16, 100);
}

static void test_bad_texts(void **state) {
    (void)state;
    const char *const texts[] = {"",    "2",    "0",    "+",     "1+",    "+1",  "1+0",  "0+1",  "-1+2",
                                 "1-1", "1+1x", "1++1", "1+1+1", "1.5+1", "two", "1+1 ", "AUTO", "99999999999+1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *message = memory_format("parallel.team=%s: expected 1, auto, or A+F with A attention ranks and F FFN "
                                      "ranks, such as 1+1",
                                      texts[i]);
        assert_refuses(texts[i], 2, message);
        memory_free(message);
    }
}

// Numbers that wrap around to a team that would fit.
static void test_huge_numbers(void **state) {
    (void)state;
    const char *const texts[] = {"4294967297+1", "1+4294967297", "2147483647+2147483647", "18446744073709551617+1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        team t;
        error err = {0};
        assert_false(topology_parse_team(&t.attention, &t.ffn, "parallel.team", texts[i], 2, WORK, HEADS, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_non_null(strstr(err.text, texts[i]));
    }
}

static void test_wrong_number_of_ranks(void **state) {
    (void)state;
    assert_refuses("1+1", 1, "parallel.team=1+1 wants 2 ranks, but there is 1; start 2, or say --parallel.team=1");
    assert_refuses("1", 2, "parallel.team=1 wants 1 rank, but there are 2; start 1, or say --parallel.team=1+1");
    assert_refuses("2+1", 4, "parallel.team=2+1 wants 3 ranks, but there are 4; start 3, or say --parallel.team=2+2");
}

static void test_team_text(void **state) {
    (void)state;
    char text[32];
    topology_team_text(text, 0, 0);
    assert_string_equal(text, "1");
    topology_team_text(text, 2, 14);
    assert_string_equal(text, "2+14");
    topology_team_text(text, 1 << 24, 1 << 23);
    assert_string_equal(text, "16777216+8388608");
}

// ---- auto ----------------------------------------------------------------------------------------------------------

static double busier(double attention_work, double ffn_work, int attention, int ffn) {
    return fmax(attention_work / attention, ffn_work / ffn);
}

// One rank is a team of one; of more, no other cut leaves the busier group less to do, and the message's advice is the
// same cut.
static void check_auto(double attention_work, double ffn_work, int64_t heads, int ranks) {
    team t;
    error err = {0};
    assert_true(topology_parse_team(&t.attention, &t.ffn, "parallel.team", "auto", ranks, attention_work, ffn_work,
                                    heads, &err));
    if (ranks == 1) {
        assert_team(t, 0, 0);
        return;
    }
    assert_int_equal(t.attention + t.ffn, ranks);
    assert_in_range(t.attention, 1, heads);
    assert_true(t.ffn >= 1);
    for (int a = 1; a < ranks && a <= heads; a++) {
        double other = busier(attention_work, ffn_work, a, ranks - a);
        double chosen = busier(attention_work, ffn_work, t.attention, t.ffn);
        assert_true(chosen < other || (chosen == other && t.attention <= a));
    }
    char advice[64], text[32];
    topology_team_text(text, t.attention, t.ffn);
    snprintf(advice, sizeof advice, "--parallel.team=%s", text);
    assert_false(
        topology_parse_team(&t.attention, &t.ffn, "parallel.team", "1", ranks, attention_work, ffn_work, heads, &err));
    assert_non_null(strstr(err.text, advice));
}

static void test_auto(void **state) {
    (void)state;
    const double ratios[][2] = {{17, 32}, {5, 8}, {96, 64}, {1, 1}, {1, 1000}, {1000, 1}};
    for (size_t w = 0; w < sizeof ratios / sizeof *ratios; w++)
        for (int64_t heads = 1; heads <= 16; heads++)
            for (int ranks = 1; ranks <= 20; ranks++) check_auto(ratios[w][0], ratios[w][1], heads, ranks);
}

static void test_auto_for_bert_large(void **state) {
    (void)state;
    const team expected[] = {{0, 0}, {1, 1}, {1, 2}, {2, 2}, {2, 3}, {2, 4}};
    for (int ranks = 1; ranks <= 6; ranks++)
        assert_team(parse("auto", ranks), expected[ranks - 1].attention, expected[ranks - 1].ffn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_texts),          cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_huge_numbers),        cmocka_unit_test(test_wrong_number_of_ranks),
        cmocka_unit_test(test_team_text),           cmocka_unit_test(test_auto),
        cmocka_unit_test(test_auto_for_bert_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
