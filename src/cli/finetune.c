#include "cli/cli.h"
#include "train/train.h"

static int run(int argc, char **argv) {
    finetune_settings settings = {0};
    option_table tables[FINETUNE_TABLES];
    finetune_tables(tables, &settings);
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_finetune, tables, FINETUNE_TABLES, &argc, argv, &helped, &err))
        return cli_fail(&err);
    if (helped) return 0;
    if (argc > 1) error_set(&err, ERROR_INPUT, "finetune: what is %s? Options begin with --", argv[1]);
    if (err.kind != ERROR_NONE || !train_finetune(&settings, &err)) return cli_fail(&err);
    return 0;
}

const command command_finetune = {
    .name = "finetune",
    .usage = "finetune [--config FILE.ini] [--section.key=value ...]",
    .summary = "train on one GLUE task, or on any TSV task described by a task file",
    .details = "example: launch/mpi 2 build/paf finetune --config configs/finetune/sst2-small.ini --data.dir GLUE \\\n"
               "           --data.vocab vocab.txt --model.design=paf --parallel.team=1+1 --run.out checkpoints/sst2\n"
               "writes config.ini, metrics.jsonl, results.json and the best and last checkpoints into --run.out.\n"
               "--model.init=RUN starts from a pretrained model, which brings its config and vocabulary.\n"
               "USR1 (and TERM to launch/mpi) saves and ends; --run.resume=auto goes on.",
    .run = run,
};
