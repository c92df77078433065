#include "analysis/analysis.h"
#include "cli/cli.h"

#include <string.h>

static int run(int argc, char **argv) {
    bench_settings settings = {0};
    option_table table = {bench_options, &settings};
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_bench, &table, 1, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc != 2 || strcmp(argv[1], "layer")) error_set(&err, ERROR_INPUT, "bench wants one of: layer");
    if (err.kind != ERROR_NONE || !bench_layer(&settings, &err)) return cli_fail(&err);
    return 0;
}

const command command_bench = {
    .name = "bench",
    .usage = "bench layer [--section.key=value ...]",
    .summary = "how fast a layer is: one rank and a team, SAF and PAF, side by side",
    .details = "example: launch/mpi 2 build/paf bench layer --bench.length=128\n"
               "Ranks that a variant does not use sleep. attn, ffn, exch and idle are per cent of the ranks' time.",
    .run = run,
};
