#include "parallel/parallel.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ROW(key, type, field, ...)                                                                                     \
    { "parallel." key, type, offsetof(parallel_settings, field), __VA_ARGS__ }
const option parallel_options[] = {
    ROW("team", OPTION_STRING, team, "auto", 0, 0, NULL, "ranks that share a layer: 1, A+F (attention + FFN), auto"),
    ROW("replicas", OPTION_INT, replicas, "1", 1, 1, NULL, "complete copies of the model"),
    ROW("stages", OPTION_INT, stages, "1", 1, 1, NULL, "cuts of the model, by layers"),
    ROW("balance", OPTION_BOOL, balance, "on", 0, 0, NULL, "let the group with less to do take a share of the other's"),
    ROW("profile", OPTION_STRING, profile, "", 0, 0, NULL,
        "balance, and team=auto, by times measured by `paf bench kernels --write-profile=FILE`"),
    ROW("exchange", OPTION_CHOICE, exchange, "auto", 0, 0, "auto local shared mpi",
        "how partial sums travel in a team"),
    ROW("ffn", OPTION_CHOICE, ffn, "split", 0, 0, "split pblas",
        "split: neurons of its own for each rank; pblas: matrices in tiles over a grid of the FFN ranks, balance off"),
    {0},
};

void topology_team_text(char *out, int attention, int ffn) {
    if (attention + ffn == 0)
        snprintf(out, 32, "1");
    else
        snprintf(out, 32, "%d+%d", attention, ffn);
}

// The attention ranks, of n, with which the busier group has least to do; ties go to fewer.
static int best_attention_ranks(int n, double attention_work, double ffn_work, int64_t heads) {
    int best = 1;
    double least = INFINITY;
    for (int a = 1; a < n && a <= heads; a++) {
        double busiest = fmax(attention_work / a, ffn_work / (n - a));
        if (busiest < least) {
            least = busiest;
            best = a;
        }
    }
    return best;
}

// The size of a group: digits alone, and a number of ranks that one could start.
static bool read_size(const char **at, int *size) {
    char *end;
    long n = isdigit((unsigned char)**at) ? strtol(*at, &end, 10) : 0;
    if (n < 1 || n > 1 << 24) return false;
    *at = end;
    *size = (int)n;
    return true;
}

// "A+F"
static bool read_groups(const char *text, int *attention, int *ffn) {
    return read_size(&text, attention) && *text++ == '+' && read_size(&text, ffn) && !*text;
}

bool topology_parse_team(int *attention, int *ffn, const char *option_name, const char *text, int ranks,
                         double attention_work, double ffn_work, int64_t heads, error *err) {
    char would[32];
    int suggested = ranks > 1 ? best_attention_ranks(ranks, attention_work, ffn_work, heads) : 0;
    topology_team_text(would, suggested, ranks > 1 ? ranks - suggested : 0);
    *attention = *ffn = 0;
    if (!strcmp(text, "auto")) {
        *attention = suggested;
        *ffn = ranks > 1 ? ranks - suggested : 0;
        return true;
    }
    bool pair = read_groups(text, attention, ffn);
    if (!pair && strcmp(text, "1"))
        return error_set(err, ERROR_INPUT,
                         "%s=%s: expected 1, auto, or A+F with A attention ranks and F FFN ranks, such as %s",
                         option_name, text, would);
    int wanted = pair ? *attention + *ffn : 1;
    if (!pair) *attention = *ffn = 0;
    if (wanted != ranks)
        return error_set(err, ERROR_INPUT, "%s=%s wants %d rank%s, but there %s %d; start %d, or say --%s=%s",
                         option_name, text, wanted, wanted == 1 ? "" : "s", ranks == 1 ? "is" : "are", ranks, wanted,
                         option_name, would);
    return true;
}

bool topology_create(topology *t, const parallel_settings *settings, double attention_work, double ffn_work,
                     int64_t heads, error *err) {
    *t = (topology){.replicas = (int)settings->replicas, .stages = (int)settings->stages, .world = comm_world()};
    int size = comm_size(t->world), rank = comm_rank(t->world), teams = t->replicas * t->stages;
    if (size % teams)
        return error_set(err, ERROR_INPUT,
                         "%d ranks cannot be cut into %d replicas x %d stages; start a multiple of %d", size,
                         t->replicas, t->stages, teams);
    t->team = size / teams;
    if (!topology_parse_team(&t->attention, &t->ffn, "parallel.team", settings->team, t->team, attention_work, ffn_work,
                             heads, err))
        return false;
    t->team_rank = rank % t->team;
    t->replica = rank / t->team % t->replicas;
    t->stage = rank / t->team / t->replicas;
    t->team_comm = comm_split(t->world, rank / t->team, t->team_rank);
    return true;
}

void topology_create_partial(topology *t, int attention, int ffn) {
    int rank = comm_rank(comm_world()), team = attention + ffn ? attention + ffn : 1;
    REQUIRE(team <= comm_size(comm_world()));
    bool inside = rank < team;
    *t = (topology){.replicas = 1, .stages = 1, .team = inside ? team : 1, .world = comm_world()};
    t->attention = inside ? attention : 0;
    t->ffn = inside ? ffn : 0;
    t->team_rank = inside ? rank : 0;
    t->team_comm = comm_split(t->world, inside ? 0 : rank, t->team_rank);
}

void topology_destroy(topology *t) { comm_free(t->team_comm); }
