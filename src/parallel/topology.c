#include "parallel/parallel.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *const exchange_words[] = {"auto", "shared", "mpi", "local", NULL};
const char *const parallel_ffn_words[] = {"split", "pblas", NULL};

#define ROW(key, type, field, ...)                                                                                     \
    { "parallel." key, type, offsetof(parallel_settings, field), __VA_ARGS__ }
const option parallel_options[] = {
    ROW("team", OPTION_STRING, team, "auto", .help = "ranks that share a layer: 1, A+F (attention + FFN), auto"),
    ROW("replicas", OPTION_INT, replicas, "1", .low = 1, .high = 1 << 20,
        .help = "complete copies of the model, which share each batch"),
    ROW("stages", OPTION_INT, stages, "1", .low = 1, .high = 1 << 20,
        .help = "parts of the model, by layers, which work as a pipeline"),
    ROW("zero", OPTION_INT, zero, "0", .high = 1,
        .help = "1: each replica keeps the optimizer's moments of a share of the model, and updates it"),
    ROW("overlap", OPTION_BOOL, overlap, "on",
        .help = "sum gradients over replicas behind the backward pass; off: after it, to see what that costs"),
    ROW("balance", OPTION_BOOL, balance, "on", .help = "let the group with less to do take a share of the other's"),
    ROW("profile", OPTION_STRING, profile, "",
        .help = "balance, and team=auto, by times measured by `paf bench kernels --write-profile=FILE`"),
    ROW("exchange", OPTION_CHOICE, exchange, "auto", .words = exchange_words,
        .help = "how partial sums travel in a team"),
    ROW("ffn", OPTION_CHOICE, ffn, "split", .words = parallel_ffn_words,
        .help = "split: neurons of its own for each rank; pblas: matrices in tiles over a grid of the FFN ranks, "
                "balance off"),
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

// What is left for a team when the ranks are cut into replicas and stages.
static bool size_of_team(topology *t, const char *text, error *err) {
    int size = comm_size(t->world), attention = 0, ffn = 0, wanted = !strcmp(text, "1");
    int64_t teams = (int64_t)t->replicas * t->stages;
    if (read_groups(text, &attention, &ffn)) wanted = attention + ffn;
    t->team = (int)(size / teams);
    if (teams == 1 || (size % teams == 0 && (!wanted || wanted == t->team))) return true;
    return error_set(err, ERROR_INPUT,
                     "parallel.replicas=%d x parallel.stages=%d x parallel.team=%s %s %lld ranks, but there %s %d; "
                     "start %lld, or say otherwise what to do with %d",
                     t->replicas, t->stages, text, wanted ? "are" : "take a multiple of",
                     (long long)teams * (wanted ? wanted : 1), size == 1 ? "is" : "are", size,
                     (long long)teams * (wanted ? wanted : 1), size);
}

// The communicators of a rank, whose place is known.
static void split(topology *t) {
    int rank = comm_rank(t->world), place = t->replica * t->team + t->team_rank;
    bool end = t->stage == 0 || t->stage == t->stages - 1;
    t->team_comm = comm_split(t->world, rank / t->team, rank);
    t->stage_comm = comm_split(t->world, t->stage, rank);
    t->model_comm = comm_split(t->world, t->replica, rank);
    t->replicas_comm = comm_split(t->world, t->stage * t->team + t->team_rank, rank);
    t->pipeline_comm = comm_split(t->world, place, rank);
    t->ends_comm = comm_split(t->pipeline_comm, end && t->stages > 1 ? 0 : 1 + t->stage, rank);
    if (end && t->stages > 1) return;
    comm_free(t->ends_comm);
    t->ends_comm = NULL;
}

comm *topology_stage_update(const topology *t) { return t->zero ? t->stage_comm : t->team_comm; }
comm *topology_update(const topology *t) { return t->zero ? t->world : t->model_comm; }

bool topology_create(topology *t, const parallel_settings *settings, double attention_work, double ffn_work,
                     int64_t heads, error *err) {
    *t = (topology){.replicas = (int)settings->replicas,
                    .stages = (int)settings->stages,
                    .zero = settings->zero && settings->replicas > 1,
                    .world = comm_world()};
    if (!size_of_team(t, settings->team, err)) return false;
    if (!topology_parse_team(&t->attention, &t->ffn, "parallel.team", settings->team, t->team, attention_work, ffn_work,
                             heads, err))
        return false;
    int rank = comm_rank(t->world);
    t->team_rank = rank % t->team;
    t->replica = rank / t->team % t->replicas;
    t->stage = rank / t->team / t->replicas;
    split(t);
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
    t->stage_comm = comm_split(t->world, inside ? 0 : rank, t->team_rank);
    t->model_comm = comm_split(t->world, inside ? 0 : rank, t->team_rank);
    t->replicas_comm = comm_split(t->world, rank, 0);
    t->pipeline_comm = comm_split(t->world, rank, 0);
}

void topology_destroy(topology *t) {
    comm *const all[] = {t->team_comm, t->stage_comm, t->model_comm, t->replicas_comm, t->pipeline_comm, t->ends_comm};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) comm_free(all[i]);
}
