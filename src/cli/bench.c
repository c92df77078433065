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
    const char *what = argc == 2 ? argv[1] : "";
    if (!strcmp(what, "kernels")) return bench_kernels(&settings, &err) ? 0 : cli_fail(&err);
    if (!strcmp(what, "layer")) return bench_layer(&settings, &err) ? 0 : cli_fail(&err);
    error_set(&err, ERROR_INPUT, "bench wants one of: kernels, layer");
    return cli_fail(&err);
}

const command command_bench = {
    .name = "bench",
    .usage = "bench kernels|layer [--section.key=value ...]",
    .summary = "how fast a layer is, one rank and a team, SAF and PAF, side by side; and each of its kernels",
    .details = "example: launch/mpi 2 build/paf bench layer --bench.length=128\n"
               "Ranks that a variant does not use sleep. attn, ffn, exch and idle are per cent of the ranks' time.",
    .run = run,
};
