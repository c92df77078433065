#include "analysis/analysis.h"
#include "cli/cli.h"
#include "parallel/parallel.h"

#include <string.h>

#define MOST_TABLES 3

// A benchmark: what it is called and tells of itself, the options that it takes, and what it does. All of them read
// into one struct of settings.
typedef struct {
    command command;                 // whose run is not looked at
    const option *rows[MOST_TABLES]; // NULL behind the last
    bool (*measure)(const bench_settings *settings, error *err);
} benchmark;

static const benchmark benchmarks[] = {
    {{.name = "kernels",
      .usage = "bench kernels [--config FILE.ini] [--section.key=value ...]",
      .summary = "each kernel of a training step on every rank at once, and how near it is to the machine's bounds",
      .details = "example: launch/mpi 2 build/paf bench kernels --write-profile=profile.json\n"
                 "FLOP are the model's, bytes those that move at least once; the bound is what the FMA peak or the\n"
                 "memory's bandwidth, measured in the same run, allow. --parallel.profile takes what write-profile\n"
                 "has written, and evens out the work of a team by it."},
     {bench_options, bench_kernels_options},
     bench_kernels},
    {{.name = "layer",
      .usage = "bench layer [--config FILE.ini] [--section.key=value ...]",
      .summary = "a stack of layers, forward and backward: one rank and a team, SAF and PAF; its blocks on one rank",
      .details = "example: launch/mpi 2 build/paf bench layer --bench.length=512 --json=layer.json\n"
                 "Ranks that a variant does not use sleep. attn, ffn, exch and idle are per cent of the ranks' time."},
     {bench_options, bench_team_options, bench_layer_options},
     bench_layer},
    {{.name = "exchange",
      .usage = "bench exchange [--config FILE.ini] [--section.key=value ...]",
      .summary =
          "what surrounds the blocks of a layer: sums over the team, dropout, LayerNorm; by window and by message",
      .details =
          "example: launch/mpi 2 build/paf bench exchange --bench.tokens=1024\n"
          "Without bench.tokens, several numbers of tokens; 1 is always there, as the latency. GB/s count the bytes\n"
          "that any way has to read and write at least, so that they compare as the times do."},
     {bench_options, bench_team_options, bench_exchange_options},
     bench_exchange},
    {{.name = "step",
      .usage = "bench step [--config FILE.ini] [--section.key=value ...]",
      .summary = "a whole training step: embeddings, layers, head, gradient reduction, clipping, optimizer",
      .details = "example: launch/mpi 2 build/paf bench step --bench.tokens=2048 --json=step.json\n"
                 "         launch/mpi 2 build/paf bench step --bench.tokens=2048 --bench.head=classifier \\\n"
                 "             --bench.task=mrpc --data.dir GLUE --data.vocab vocab.txt\n"
                 "The first has sequences of bench.length tokens; the second those of a task's training set, drawn at\n"
                 "random and packed without padding, as many as bench.tokens hold, each at most bench.length\n"
                 "long. FLOP are the model's, recomputation not counted. The columns from attn on are per cent of the\n"
                 "ranks' time."},
     {bench_options, bench_team_options, bench_step_options},
     bench_step},
};
#define N_BENCHMARKS (sizeof benchmarks / sizeof *benchmarks)

static void print_overview(FILE *out) {
    fprintf(out, "usage: paf %s\n\n%s\n\n", command_bench.usage, command_bench.summary);
    for (size_t i = 0; i < N_BENCHMARKS; i++)
        fprintf(out, "  %-10s %s\n", benchmarks[i].command.name, benchmarks[i].command.summary);
    fprintf(out, "\n`paf bench NAME --help` lists the options of one.\n");
}

static const benchmark *find(const char *name, error *err) {
    const char *nearest = benchmarks[0].command.name;
    for (size_t i = 0; i < N_BENCHMARKS; i++) {
        const char *other = benchmarks[i].command.name;
        if (!strcmp(name, other)) return &benchmarks[i];
        if (option_distance(name, other) < option_distance(name, nearest)) nearest = other;
    }
    error_set(err, ERROR_INPUT, "there is no bench %s; did you mean bench %s? `paf bench --help` lists them", name,
              nearest);
    return NULL;
}

static int run(int argc, char **argv) {
    bench_settings settings = {0};
    option_table tables[MOST_TABLES];
    error err = {0};
    bool helped = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    if (helped && comm_rank(comm_world()) == 0) print_overview(stdout);
    if (helped) return 0;
    if (argc < 2 || argv[1][0] == '-') {
        error_set(&err, ERROR_INPUT, "which one? paf %s; `paf bench --help` tells of each", command_bench.usage);
        return cli_fail(&err);
    }
    const benchmark *b = find(argv[1], &err);
    if (!b) return cli_fail(&err);
    size_t n = 0;
    for (; n < MOST_TABLES && b->rows[n]; n++) tables[n] = (option_table){b->rows[n], &settings};
    argc--, argv++;
    if (!cli_read_options(&b->command, tables, n, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc > 1) error_set(&err, ERROR_INPUT, "bench %s: what is %s? Options begin with --", argv[0], argv[1]);
    if (err.kind != ERROR_NONE || !b->measure(&settings, &err)) return cli_fail(&err);
    return 0;
}

const command command_bench = {
    .name = "bench",
    .usage = "bench kernels|layer|exchange|step [--section.key=value ...]",
    .summary = "how fast this machine is at what paf does: tables, and JSON with --json=FILE",
    .run = run,
};
