#include "parallel/parallel.h"

#include <math.h>

#define NEURON_BLOCK 16 // a cache line of floats: neurons change hands in whole blocks

// total units to the ranks first .. first + n - 1, counts that differ by at most one, the larger ones first.
static void deal_evenly(int64_t *counts, int first, int n, int64_t total) {
    for (int r = 0; r < n; r++) counts[first + r] = total / n + (r < total % n);
}

// total units in whole blocks to n ranks so that work[r] + counts[r] * unit_work comes out as even as it can, by
// filling up the ranks with least to do first. The last, smaller block goes where the next would.
static void deal_to_level(int64_t *counts, const double *work, int n, int64_t total, int64_t block, double unit_work) {
    for (int r = 0; r < n; r++) counts[r] = 0;
    while (total > 0) {
        int least = 0;
        for (int r = 1; r < n; r++)
            if (work[r] + (double)counts[r] * unit_work < work[least] + (double)counts[least] * unit_work) least = r;
        int64_t piece = total < block ? total : block;
        counts[least] += piece;
        total -= piece;
    }
}

// How many heads the attention group keeps when the work is evened out: what brings its ranks nearest to the mean.
static int64_t heads_kept(const placement_request *q) {
    int team = q->attention + q->ffn;
    double mean = ((double)q->heads * q->head_work + (double)q->neurons * q->neuron_work) / team;
    int64_t kept = llround(q->attention * mean / q->head_work);
    if (kept < q->attention) kept = q->attention;
    return kept < q->heads ? kept : q->heads;
}

static void deal(const placement_request *q, int team, int64_t *heads, int64_t *neurons) {
    if (!q->groups || team == 1) {
        deal_evenly(heads, 0, team, q->heads);
        deal_evenly(neurons, 0, team, q->neurons);
    } else if (!q->balance) {
        deal_evenly(heads, 0, q->attention, q->heads);
        deal_evenly(neurons, q->attention, q->ffn, q->neurons);
    } else {
        int64_t kept = heads_kept(q);
        deal_evenly(heads, 0, q->attention, kept);
        deal_evenly(heads, q->attention, q->ffn, q->heads - kept);
        double *work = memory_allocate((size_t)team, sizeof *work);
        for (int r = 0; r < team; r++) work[r] = (double)heads[r] * q->head_work;
        deal_to_level(neurons, work, team, q->neurons, NEURON_BLOCK, q->neuron_work);
        memory_free(work);
    }
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
        head += heads[r];
        neuron += neurons[r];
        row += rows[r];
    }
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

range placement_tokens(const placement *p, int rank, int64_t tokens) {
    int64_t first = tokens * rank / p->team;
    return (range){first, tokens * (rank + 1) / p->team - first};
}
