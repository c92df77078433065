#include "parallel/parallel.h"

#include <math.h>
#include <string.h>

#define NEURON_BLOCK 16 // a cache line of floats: neurons change hands in whole blocks

// total units to the ranks first .. first + n - 1, counts that differ by at most one, the larger ones first.
static void deal_evenly(int64_t *counts, int first, int n, int64_t total) {
    for (int r = 0; r < n; r++) counts[first + r] = total / n + (r < total % n);
}

double placement_rank_cost(const placement_cost *c, int64_t heads, int64_t neurons) {
    return (heads ? c->attention + (double)heads * c->head : 0) + (neurons ? c->ffn + (double)neurons * c->neuron : 0);
}

static double busiest(const placement_cost *c, int team, const int64_t *heads, const int64_t *neurons) {
    double most = 0;
    for (int r = 0; r < team; r++) most = fmax(most, placement_rank_cost(c, heads[r], neurons[r]));
    return most;
}

static bool leaves_no_one_out(int team, const int64_t *heads, const int64_t *neurons) {
    for (int r = 0; r < team; r++)
        if (!heads[r] && !neurons[r]) return false;
    return true;
}

// total neurons in whole blocks, one after the other to the rank that would be done with it first; ties go to the
// first. Of all ways to deal out blocks to ranks with these heads the busiest has least to do with this one. The last
// block may be smaller.
static void deal_to_level(int64_t *neurons, const placement_cost *c, int team, const int64_t *heads, int64_t total) {
    for (int r = 0; r < team; r++) neurons[r] = 0;
    while (total > 0) {
        int64_t piece = total < NEURON_BLOCK ? total : NEURON_BLOCK;
        int first = 0;
        double least = INFINITY;
        for (int r = 0; r < team; r++) {
            double then = placement_rank_cost(c, heads[r], neurons[r] + piece);
            if (then < least) {
                least = then;
                first = r;
            }
        }
        neurons[first] += piece;
        total -= piece;
    }
}

// From the pure groups, which are dealt out already, to whatever is better: every number of heads that the attention
// group may keep is tried, the largest first, each with the best use of the neurons.
static void even_out(const placement_request *q, int team, int64_t *heads, int64_t *neurons) {
    size_t size = (size_t)team * sizeof *heads;
    int64_t *other_heads = memory_allocate((size_t)team, sizeof *heads);
    int64_t *other_neurons = memory_allocate((size_t)team, sizeof *neurons);
    double least = busiest(&q->cost, team, heads, neurons);
    for (int64_t kept = q->heads; kept >= q->attention; kept--) {
        deal_evenly(other_heads, 0, q->attention, kept);
        deal_evenly(other_heads, q->attention, q->ffn, q->heads - kept);
        deal_to_level(other_neurons, &q->cost, team, other_heads, q->neurons);
        double cost = busiest(&q->cost, team, other_heads, other_neurons);
        if (cost >= least || !leaves_no_one_out(team, other_heads, other_neurons)) continue;
        least = cost;
        memcpy(heads, other_heads, size);
        memcpy(neurons, other_neurons, size);
    }
    memory_free(other_heads);
    memory_free(other_neurons);
}

static void deal(const placement_request *q, int team, int64_t *heads, int64_t *neurons) {
    bool groups = q->groups && team > 1;
    int first = groups ? q->attention : 0; // of those who own neurons
    deal_evenly(heads, 0, groups ? q->attention : team, q->heads);
    deal_evenly(neurons, first, team - first, q->neurons);
    if (groups && q->balance && !q->tiles) even_out(q, team, heads, neurons);
}

// Nearest to a square, for tiles with the shortest borders. Measured at T = H = 1024 on two ranks, 2 x 1 takes about
// 0.9 of the time of 1 x 2.
static grid_shape most_square(int ranks) {
    int columns = 1;
    for (int c = 1; c * c <= ranks; c++)
        if (ranks % c == 0) columns = c;
    return (grid_shape){ranks / columns, columns};
}

static bool check(const placement_request *q, int team, const int64_t *heads, const int64_t *neurons, error *err) {
    if (q->groups && q->attention > q->heads)
        return error_set(err, ERROR_INPUT,
                         "%d attention ranks cannot share %lld heads; a team of %d ranks can be %lld+%lld",
                         q->attention, (long long)q->heads, team, (long long)q->heads, (long long)(team - q->heads));
    for (int r = 0; r < team; r++)
        if (!heads[r] && !neurons[r])
            return error_set(err, ERROR_INPUT,
                             "rank %d of a team of %d would own neither heads (%lld in all) nor neurons (%lld in all); "
                             "use fewer ranks a team",
                             r, team, (long long)q->heads, (long long)q->neurons);
    return true;
}

bool placement_create(placement *p, const placement_request *q, error *err) {
    int team = q->attention + q->ffn ? q->attention + q->ffn : 1;
    size_t n = (size_t)team;
    int64_t *heads = memory_allocate(n, sizeof *heads), *neurons = memory_allocate(n, sizeof *neurons);
    int64_t *rows = memory_allocate(n, sizeof *rows);
    *p = (placement){.team = team};
    p->shares = memory_allocate(n, sizeof *p->shares);
    p->owns_heads = memory_allocate(n, sizeof *p->owns_heads);
    p->owns_neurons = memory_allocate(n, sizeof *p->owns_neurons);
    p->owns_words = memory_allocate(n, sizeof *p->owns_words);
    p->everyone = memory_allocate(n, sizeof *p->everyone);
    deal(q, team, heads, neurons);
    deal_evenly(rows, 0, team, q->vocabulary);
    bool ok = check(q, team, heads, neurons, err);
    double total = (double)q->heads * q->head_work + (double)q->neurons * q->neuron_work;
    int64_t head = 0, neuron = 0, row = 0;
    int owners = 0; // of neurons
    for (int r = 0; ok && r < team; r++) {
        p->shares[r] = (placement_share){
            .heads = {head, heads[r]},
            .neurons = {neuron, neurons[r]},
            .vocabulary = {row, rows[r]},
            .work = ((double)heads[r] * q->head_work + (double)neurons[r] * q->neuron_work) / total,
        };
        p->owns_heads[r] = heads[r] > 0;
        p->owns_neurons[r] = neurons[r] > 0;
        p->owns_words[r] = rows[r] > 0;
        p->everyone[r] = true;
        owners += p->owns_neurons[r];
        head += heads[r];
        neuron += neurons[r];
        row += rows[r];
    }
    if (ok && q->tiles) p->grid = most_square(owners);
    memory_free(heads);
    memory_free(neurons);
    memory_free(rows);
    if (!ok) placement_destroy(p);
    return ok;
}

void placement_destroy(placement *p) {
    memory_free(p->shares);
    memory_free(p->owns_heads);
    memory_free(p->owns_neurons);
    memory_free(p->owns_words);
    memory_free(p->everyone);
    *p = (placement){0};
}

void placement_stages(range *layers, int stages, int64_t n, double last) {
    REQUIRE(n >= stages);
    for (int s = 0; s < stages; s++) layers[s].count = 1;
    for (int64_t left = n - stages; left > 0; left--) { // to the stage that would be done with it first
        int least = 0;
        double soonest = INFINITY;
        for (int s = 0; s < stages; s++) {
            double then = (double)layers[s].count + 1 + (s == stages - 1 ? last : 0);
            if (then >= soonest) continue;
            soonest = then;
            least = s;
        }
        layers[least].count++;
    }
    layers[0].first = 0;
    for (int s = 1; s < stages; s++) layers[s].first = layers[s - 1].first + layers[s - 1].count;
}

range placement_tokens(const placement *p, int rank, int64_t tokens) {
    int64_t first = tokens * rank / p->team;
    return (range){first, tokens * (rank + 1) / p->team - first};
}

int64_t placement_tile_size(int64_t n, int parts) { return (n + parts - 1) / parts; }

static range block(int64_t n, int parts, int i) {
    int64_t size = placement_tile_size(n, parts), first = smaller(i * size, n);
    return (range){first, smaller(size, n - first)};
}

tile placement_tile(const placement *p, int rank, int64_t rows, int64_t columns) {
    REQUIRE(p->grid.rows > 0);
    if (!p->owns_neurons[rank]) return (tile){0};
    int place = 0;
    for (int r = 0; r < rank; r++) place += p->owns_neurons[r];
    tile t = {block(rows, p->grid.rows, place / p->grid.columns),
              block(columns, p->grid.columns, place % p->grid.columns)};
    return t.rows.count && t.columns.count ? t : (tile){0};
}
