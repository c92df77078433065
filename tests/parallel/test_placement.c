// Placement: everything is owned exactly once, by ranks in order, and the work is even where it can be.
#include "../support.h"

#include "model/model.h"
#include "parallel/parallel.h"

#define NEURON_BLOCK 16 // neurons change hands in whole blocks

static placement create(const placement_request *q) {
    placement p;
    error err = {0};
    if (!placement_create(&p, q, &err)) fail_msg("%d+%d: %s", q->attention, q->ffn, err.text);
    return p;
}

// ---- what holds for all --------------------------------------------------------------------------------------------

// Adds a rank's range to the ranges before it; the ranges follow one another without a gap.
static void follow(int64_t *end, range next) {
    assert_true(next.count >= 0);
    assert_int_equal(next.first, *end);
    *end += next.count;
}

static void check_ownership(const placement *p, const placement_request *q) {
    int64_t heads = 0, neurons = 0, words = 0;
    double work = 0;
    assert_int_equal(p->team, q->attention + q->ffn ? q->attention + q->ffn : 1);
    for (int r = 0; r < p->team; r++) {
        const placement_share *s = &p->shares[r];
        follow(&heads, s->heads);
        follow(&neurons, s->neurons);
        follow(&words, s->vocabulary);
        assert_true(s->heads.count + s->neurons.count > 0);
        assert_int_equal(p->owns_heads[r], s->heads.count > 0);
        assert_int_equal(p->owns_neurons[r], s->neurons.count > 0);
        assert_int_equal(p->owns_words[r], s->vocabulary.count > 0);
        assert_true(p->everyone[r]);
        work += s->work;
    }
    assert_int_equal(heads, q->heads);
    assert_int_equal(neurons, q->neurons);
    assert_int_equal(words, q->vocabulary);
    assert_close("work of all", work, 1, 1e-12);
}

typedef enum { HEADS, NEURONS, WORDS } property;

static int64_t count_of(const placement_share *s, property what) {
    return what == HEADS ? s->heads.count : what == NEURONS ? s->neurons.count : s->vocabulary.count;
}

// Counts of ranks first .. first + n - 1 differ by at most one, the larger ones come first, and nobody else has any.
static void check_even(const placement *p, property what, int first, int n) {
    int64_t most = count_of(&p->shares[first], what), before = most;
    for (int r = 0; r < p->team; r++) {
        int64_t count = count_of(&p->shares[r], what);
        if (r < first || r >= first + n) {
            assert_int_equal(count, 0);
            continue;
        }
        assert_in_range(count, most - 1 > 0 ? most - 1 : 0, before);
        before = count;
    }
}

static double total_work(const placement_request *q) {
    return (double)q->heads * q->head_work + (double)q->neurons * q->neuron_work;
}

// What the busiest rank takes; and the share of the work that each is said to have.
static double busiest(const placement *p, const placement_request *q) {
    double most = 0;
    for (int r = 0; r < p->team; r++) {
        int64_t heads = p->shares[r].heads.count, neurons = p->shares[r].neurons.count;
        double work = (double)heads * q->head_work + (double)neurons * q->neuron_work;
        assert_close("share of the work", p->shares[r].work, work / total_work(q), 1e-12);
        most = fmax(most, placement_rank_cost(&q->cost, heads, neurons));
    }
    return most;
}

// The busiest rank is within one head or one block of neurons of the mean, if every rank pays the bases of both blocks;
// only where a single head, which every attention rank keeps, is more than that, it may do as much.
static void check_balance(const placement *p, const placement_request *q) {
    const placement_cost *c = &q->cost;
    double bases = c->attention + c->ffn, unit = fmax(c->head, NEURON_BLOCK * c->neuron);
    double mean = ((double)q->heads * c->head + (double)q->neurons * c->neuron) / p->team + bases;
    double allowed = fmax(mean + unit, c->attention + c->head) * (1 + 1e-12);
    double most = busiest(p, q);
    if (most > allowed)
        fail_msg("%d+%d of %lld heads, %lld neurons: the busiest takes %.4g, the mean is %.4g, a unit %.4g",
                 q->attention, q->ffn, (long long)q->heads, (long long)q->neurons, most, mean, unit);
}

static void check_no_worse(const placement *balanced, const placement *pure, const placement_request *q) {
    assert_true(busiest(balanced, q) <= busiest(pure, q));
}

// How work was evened out before pieces had costs of their own: heads to the nearest mean of FLOP, then neurons to the
// ranks that have least. Nothing may be worse than this.
static double busiest_by_work(const placement_request *q) {
    int team = q->attention + q->ffn;
    int64_t heads[64] = {0}, neurons[64] = {0}, left = q->neurons;
    int64_t kept = llround(q->attention * total_work(q) / team / q->head_work);
    kept = kept < q->attention ? q->attention : kept < q->heads ? kept : q->heads;
    for (int64_t i = 0; i < kept; i++) heads[i % q->attention]++;
    for (int64_t i = 0; i < q->heads - kept; i++) heads[q->attention + i % q->ffn]++;
    while (left > 0) {
        int least = 0;
        for (int r = 1; r < team; r++)
            if ((double)heads[r] * q->head_work + (double)neurons[r] * q->neuron_work <
                (double)heads[least] * q->head_work + (double)neurons[least] * q->neuron_work)
                least = r;
        int64_t piece = left < NEURON_BLOCK ? left : NEURON_BLOCK;
        neurons[least] += piece;
        left -= piece;
    }
    double most = 0;
    for (int r = 0; r < team; r++) most = fmax(most, placement_rank_cost(&q->cost, heads[r], neurons[r]));
    return most;
}

// ---- many cases ----------------------------------------------------------------------------------------------------

static const struct {
    int64_t heads, neurons, vocabulary, hidden;
} models[] = {
    {16, 4096, 30522, 1024}, {12, 3072, 30522, 768}, {12, 1536, 30522, 384}, {4, 512, 5, 128},
    {2, 256, 30522, 64},     {8, 40, 3, 64},         {3, 17, 100, 48},       {1, 64, 50, 32},
};
enum { MODELS = sizeof models / sizeof *models, MOST_RANKS = 9 };

// Costs that are nothing but the work.
static placement_request by_work(placement_request q) {
    q.cost = (placement_cost){.head = q.head_work, .neuron = q.neuron_work};
    return q;
}

static placement_request request(int model, int attention, int ffn, double length) {
    double hidden = (double)models[model].hidden;
    return by_work(
        (placement_request){.attention = attention,
                            .ffn = ffn,
                            .groups = true,
                            .heads = models[model].heads,
                            .neurons = models[model].neurons,
                            .vocabulary = models[model].vocabulary,
                            .head_work = (8 * hidden * hidden + 4 * length * hidden) / (double)models[model].heads,
                            .neuron_work = 4 * hidden});
}

// Calls check for every model, sequence length and team that the model allows.
static void for_all(void (*check)(placement_request q)) {
    const double lengths[] = {8, 128, 512, 4096};
    for (int m = 0; m < MODELS; m++)
        for (int l = 0; l < 4; l++)
            for (int a = 1; a < MOST_RANKS && a <= models[m].heads; a++)
                for (int f = 1; a + f <= MOST_RANKS; f++)
                    if (a + f <= models[m].neurons / NEURON_BLOCK) check(request(m, a, f, lengths[l]));
}

static void check_pure(placement_request q) {
    placement p = create(&q);
    check_ownership(&p, &q);
    check_even(&p, HEADS, 0, q.attention);
    check_even(&p, NEURONS, q.attention, q.ffn);
    check_even(&p, WORDS, 0, p.team);
    placement_destroy(&p);
}

static void check_balanced(placement_request q) {
    placement pure = create(&q);
    q.balance = true;
    // By work alone; with heads that take longer, with neurons that do; with bases of half a head, and of ten.
    const placement_cost costs[] = {q.cost,
                                    {.head = 3 * q.head_work, .neuron = q.neuron_work},
                                    {.head = q.head_work, .neuron = 2.5 * q.neuron_work},
                                    {q.head_work / 2, q.head_work, q.head_work / 2, q.neuron_work},
                                    {10 * q.head_work, q.head_work, q.head_work, q.neuron_work}};
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        q.cost = costs[i];
        placement p = create(&q);
        check_ownership(&p, &q);
        for (int r = 0; r < q.attention; r++) assert_true(p.owns_heads[r]);
        check_balance(&p, &q);
        check_no_worse(&p, &pure, &q);
        // A last, smaller block may have gone elsewhere.
        double rest = q.neurons % NEURON_BLOCK ? NEURON_BLOCK * q.cost.neuron : 0;
        assert_true(busiest(&p, &q) <= busiest_by_work(&q) * (1 + 1e-12) + rest);
        placement_destroy(&p);
    }
    placement_destroy(&pure);
}

// SAF: no groups, everyone has an even share of both, whatever balance says.
static void check_shared(placement_request q) {
    q.groups = false;
    for (int b = 0; b < 2; b++) {
        q.balance = b;
        placement p = create(&q);
        check_ownership(&p, &q);
        check_even(&p, HEADS, 0, p.team);
        check_even(&p, NEURONS, 0, p.team);
        placement_destroy(&p);
    }
}

// Tiles of a matrix of any size: everything is in one of them, in rank order, and they are no larger than is said.
static void check_tiles(const placement *p, int64_t rows, int64_t columns) {
    grid_shape g = p->grid;
    char *taken = memory_allocate((size_t)(rows * columns), 1);
    int64_t count = 0;
    int place = 0;
    for (int r = 0; r < p->team; r++) {
        tile t = placement_tile(p, r, rows, columns);
        assert_true(p->owns_neurons[r] || (!t.rows.count && !t.columns.count));
        assert_int_equal(t.rows.count > 0, t.columns.count > 0);
        assert_true(t.rows.count <= placement_tile_size(rows, g.rows));
        assert_true(t.columns.count <= placement_tile_size(columns, g.columns));
        if (t.rows.count) {
            assert_int_equal(t.rows.first, place / g.columns * placement_tile_size(rows, g.rows));
            assert_int_equal(t.columns.first, place % g.columns * placement_tile_size(columns, g.columns));
        }
        for (int64_t i = t.rows.first; i < t.rows.first + t.rows.count; i++)
            for (int64_t j = t.columns.first; j < t.columns.first + t.columns.count; j++) {
                assert_int_equal(taken[i * columns + j]++, 0);
                count++;
            }
        place += p->owns_neurons[r];
    }
    assert_int_equal(count, rows * columns);
    memory_free(taken);
}

static void check_grid(placement_request q) {
    placement pure = create(&q);
    q.balance = q.tiles = true;
    placement p = create(&q);
    assert_memory_equal(p.shares, pure.shares, (size_t)p.team * sizeof *p.shares);
    assert_int_equal(pure.grid.rows, 0);
    assert_int_equal(p.grid.rows * p.grid.columns, q.ffn);
    assert_true(p.grid.rows >= p.grid.columns);
    for (int c = p.grid.columns + 1; c * c <= q.ffn; c++) assert_true(q.ffn % c); // none is nearer to a square
    const int64_t lengths[] = {1, 2, 3, 7, 12, 25};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) check_tiles(&p, lengths[i], lengths[j]);
    placement_destroy(&p);
    placement_destroy(&pure);
}

static void test_grids(void **state) {
    (void)state;
    for_all(check_grid);
}

static void test_groups(void **state) {
    (void)state;
    for_all(check_pure);
}

static void test_balance(void **state) {
    (void)state;
    for_all(check_balanced);
}

static void test_no_groups(void **state) {
    (void)state;
    for_all(check_shared);
}

// A placement is a function of its request: every rank works it out for itself.
static void check_same_again(placement_request q) {
    q.balance = true;
    placement p = create(&q), again = create(&q);
    assert_memory_equal(p.shares, again.shares, (size_t)p.team * sizeof *p.shares);
    placement_destroy(&p);
    placement_destroy(&again);
}

static void test_same_again(void **state) {
    (void)state;
    for_all(check_same_again);
}

// ---- particular ones -----------------------------------------------------------------------------------------------

static placement_request bert_large(int attention, int ffn, double length, bool balance) {
    const model_config c = {.hidden = 1024, .heads = 16, .intermediate = 4096};
    return by_work((placement_request){.attention = attention,
                                       .ffn = ffn,
                                       .groups = true,
                                       .balance = balance,
                                       .heads = 16,
                                       .neurons = 4096,
                                       .vocabulary = 30522,
                                       .head_work = model_attention_work(&c, length) / 16,
                                       .neuron_work = model_ffn_work(&c) / 4096});
}

static void test_team_of_one(void **state) {
    (void)state;
    for (int b = 0; b < 2; b++) {
        placement_request q = bert_large(0, 0, 128, b);
        placement p = create(&q);
        check_ownership(&p, &q);
        assert_int_equal(p.team, 1);
        assert_close("share of the work", p.shares[0].work, 1, 0);
        placement_destroy(&p);
    }
}

// H = 1024, S = 128, attention : FFN = 17 : 32, so the attention rank gets (49/2 - 17) / 32 = 0.234 of the neurons.
static void test_bert_large(void **state) {
    (void)state;
    placement_request q = bert_large(1, 1, 128, true);
    placement p = create(&q);
    assert_int_equal(p.shares[0].heads.count, 16);
    assert_int_equal(p.shares[0].neurons.count, 960);
    assert_close("share of the work", p.shares[0].work, 0.5, 0.001);
    placement_destroy(&p);

    q.balance = false;
    p = create(&q);
    assert_int_equal(p.shares[0].neurons.count, 0);
    assert_int_equal(p.shares[1].heads.count, 0);
    assert_close("share of the work", p.shares[0].work, 17.0 / 49, 1e-12);
    placement_destroy(&p);
}

// Too many attention ranks: then heads change hands too.
static void test_attention_gives_nothing_away_that_it_needs(void **state) {
    (void)state;
    placement_request q = bert_large(1, 3, 4096, true); // attention : FFN = 96 : 64, the mean is 40
    placement p = create(&q);
    assert_int_equal(p.shares[0].heads.count, 6); // 6/16 of 96 are 36, 4 are 24; 7 would be 42
    assert_int_equal(p.shares[1].heads.count, 4);
    assert_true(busiest(&p, &q) < 42.0 / 160 * total_work(&q));
    check_balance(&p, &q);
    placement_destroy(&p);
}

// 4 heads of 10, 128 neurons of 1 in 8 blocks of 16: 168 in all.
static placement_request small(int attention, int ffn, placement_cost cost) {
    return (placement_request){.attention = attention,
                               .ffn = ffn,
                               .groups = true,
                               .balance = true,
                               .heads = 4,
                               .neurons = 128,
                               .vocabulary = 8,
                               .head_work = 10,
                               .neuron_work = 1,
                               .cost = cost};
}

static void assert_dealt(placement_request q, const int64_t *heads, const int64_t *neurons, double most) {
    placement p = create(&q);
    for (int r = 0; r < p.team; r++) {
        assert_int_equal(p.shares[r].heads.count, heads[r]);
        assert_int_equal(p.shares[r].neurons.count, neurons[r]);
    }
    assert_close("busiest rank", busiest(&p, &q), most, 1e-9);
    placement_destroy(&p);
}

static void test_costs(void **state) {
    (void)state;
    // Two blocks of neurons bring the attention rank, 15 + 40, to 87 beside 96; two heads and half of the neurons would
    // bring both to 15 + 20 + 64.
    assert_dealt(small(1, 1, (placement_cost){15, 10, 0, 1}), (int64_t[]){4, 0}, (int64_t[]){32, 96}, 96);
    // Without that base they would be better off with 20 + 64.
    assert_dealt(small(1, 1, (placement_cost){0, 10, 0, 1}), (int64_t[]){2, 2}, (int64_t[]){64, 64}, 84);
    // Heads take twice as long: one block is left to give, 15 + 80 + 16 beside 112.
    assert_dealt(small(1, 1, (placement_cost){15, 20, 0, 1}), (int64_t[]){4, 0}, (int64_t[]){16, 112}, 112);
    // A second block is not worth its base: 100 + 40 + 100 and more, beside 100 + 128 without.
    assert_dealt(small(1, 1, (placement_cost){100, 10, 100, 1}), (int64_t[]){4, 0}, (int64_t[]){0, 128}, 228);
    // The FFN group has too little, and takes heads although it pays a base for them.
    assert_dealt(small(1, 1, (placement_cost){30, 100, 0, 1}), (int64_t[]){2, 2}, (int64_t[]){64, 64}, 294);
    // Three heads of 60 on two attention ranks would be 120; one goes to the FFN rank, and everyone takes neurons.
    placement_request odd = small(2, 1, (placement_cost){0, 60, 0, 0.5});
    odd.heads = 3;
    assert_dealt(odd, (int64_t[]){1, 1, 1}, (int64_t[]){48, 48, 32}, 84);
}

static void test_uneven_heads(void **state) {
    (void)state;
    placement_request q = bert_large(3, 2, 128, false);
    placement p = create(&q);
    const int64_t heads[] = {6, 5, 5, 0, 0};
    for (int r = 0; r < 5; r++) assert_int_equal(p.shares[r].heads.count, heads[r]);
    placement_destroy(&p);
}

// ---- errors --------------------------------------------------------------------------------------------------------

static void assert_refuses(const placement_request *q, const char *message) {
    placement p;
    error err = {0};
    assert_false(placement_create(&p, q, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, message);
    placement_destroy(&p); // nothing is left to free
}

static void test_too_many_ranks(void **state) {
    (void)state;
    placement_request q = request(4, 3, 1, 128);
    const char *heads = "3 attention ranks cannot share 2 heads; a team of 4 ranks can be 2+2";
    assert_refuses(&q, heads);
    q.balance = true;
    assert_refuses(&q, heads);
    q = request(5, 1, 41, 128);
    assert_refuses(&q, "rank 41 of a team of 42 would own neither heads (8 in all) nor neurons (40 in all); use fewer "
                       "ranks a team");
    q = request(5, 1, 60, 128);
    q.groups = false;
    assert_refuses(&q, "rank 40 of a team of 61 would own neither heads (8 in all) nor neurons (40 in all); use fewer "
                       "ranks a team");
}

// As long as there is a neuron for everyone, balance leaves no one out.
static void test_balance_in_large_teams(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++)
        for (int a = 1; a <= 4 && a <= models[m].heads; a++)
            for (int f = 1; a + f <= 40 && f <= models[m].neurons; f++) {
                placement_request q = request(m, a, f, 128);
                q.balance = true;
                placement p = create(&q);
                check_ownership(&p, &q);
                placement_destroy(&p);
            }
}

// ---- tokens --------------------------------------------------------------------------------------------------------

static void test_tokens(void **state) {
    (void)state;
    for (int team = 1; team <= MOST_RANKS; team++) {
        placement p = {.team = team};
        for (int64_t tokens = 0; tokens < 300; tokens++) {
            int64_t end = 0, least = tokens, most = 0;
            for (int r = 0; r < team; r++) {
                range slice = placement_tokens(&p, r, tokens);
                follow(&end, slice);
                least = slice.count < least ? slice.count : least;
                most = slice.count > most ? slice.count : most;
            }
            assert_int_equal(end, tokens);
            assert_true(most - least <= 1);
        }
    }
}

// ---- stages --------------------------------------------------------------------------------------------------------

static double busiest_stage(const range *layers, int stages, double last) {
    double most = 0;
    for (int s = 0; s < stages; s++) most = fmax(most, (double)layers[s].count + (s == stages - 1 ? last : 0));
    return most;
}

// The least that the busiest of `stages` stages may have, over all ways to cut: with the last stage's layers given, the
// others share what is left evenly.
static double least_busiest(int stages, int64_t n, double last) {
    if (stages == 1) return (double)n + last;
    double least = INFINITY;
    int before = stages - 1;
    for (int64_t b = 1; n - b >= before; b++)
        least = fmin(least, fmax((double)((n - b + before - 1) / before), (double)b + last));
    return least;
}

static void test_stages(void **state) {
    (void)state;
    const double costs[] = {0, 0.4, 1, 3.5};
    range layers[8];
    for (int stages = 1; stages <= 8; stages++)
        for (int64_t n = stages; n <= 24; n++)
            for (int c = 0; c < 4; c++) {
                placement_stages(layers, stages, n, costs[c]);
                int64_t at = 0;
                for (int s = 0; s < stages; s++) {
                    assert_int_equal(layers[s].first, at);
                    assert_true(layers[s].count >= 1);
                    at += layers[s].count;
                }
                assert_int_equal(at, n);
                assert_close("busiest stage", busiest_stage(layers, stages, costs[c]),
                             least_busiest(stages, n, costs[c]), 1e-9);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),         cmocka_unit_test(test_grids),
        cmocka_unit_test(test_balance),        cmocka_unit_test(test_no_groups),
        cmocka_unit_test(test_same_again),     cmocka_unit_test(test_team_of_one),
        cmocka_unit_test(test_bert_large),     cmocka_unit_test(test_attention_gives_nothing_away_that_it_needs),
        cmocka_unit_test(test_costs),          cmocka_unit_test(test_uneven_heads),
        cmocka_unit_test(test_too_many_ranks), cmocka_unit_test(test_balance_in_large_teams),
        cmocka_unit_test(test_tokens),         cmocka_unit_test(test_stages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
