#include "cli/cli.h"
#include "train/train.h"

static int run(int argc, char **argv) {
    pretrain_settings settings = {0};
    option_table tables[PRETRAIN_TABLES];
    pretrain_tables(tables, &settings);
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_pretrain, tables, PRETRAIN_TABLES, &argc, argv, &helped, &err))
        return cli_fail(&err);
    if (helped) return 0;
    if (argc > 1) error_set(&err, ERROR_INPUT, "pretrain: what is %s? Options begin with --", argv[1]);
    if (err.kind != ERROR_NONE || !train_pretrain(&settings, &err)) return cli_fail(&err);
    return 0;
}

const command command_pretrain = {
    .name = "pretrain",
    .usage = "pretrain [--config FILE.ini] [--section.key=value ...]",
    .summary = "train a masked language model on token shards",
    .details = "example: build/paf tokenize --tokenize.vocab=vocab.txt --tokenize.output=tokens TEXT\n"
               "         launch/mpi 2 build/paf pretrain --config configs/pretrain/small.ini --data.tokens tokens \\\n"
               "           --data.vocab vocab.txt --model.design=paf --run.out checkpoints/pretrained\n"
               "writes config.ini, metrics.jsonl, results.json and the best and last checkpoints into --run.out.\n"
               "USR1 (and TERM to launch/mpi) saves and ends; --run.resume=auto goes on. finetune --model.init takes\n"
               "it from there.",
    .run = run,
};
