#include "cli/cli.h"
#include "train/train.h"

// evaluate and predict read the same words and options; they differ in what they do with the session.
static int run_on_checkpoint(const command *c, int argc, char **argv,
                             bool (*work)(const char *run, const evaluate_settings *settings, error *err)) {
    evaluate_settings settings = {0};
    option_table tables[EVALUATE_TABLES];
    evaluate_tables(tables, &settings);
    error err = {0};
    bool helped;
    if (!cli_read_options(c, tables, EVALUATE_TABLES, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc != 2) error_set(&err, ERROR_INPUT, "%s wants one run or checkpoint folder: paf %s", c->name, c->usage);
    if (err.kind != ERROR_NONE || !work(argv[1], &settings, &err)) return cli_fail(&err);
    return 0;
}

static int run_evaluate(int argc, char **argv) {
    return run_on_checkpoint(&command_evaluate, argc, argv, train_evaluate);
}

static int run_predict(int argc, char **argv) { return run_on_checkpoint(&command_predict, argc, argv, train_predict); }

const command command_evaluate = {
    .name = "evaluate",
    .usage = "evaluate RUN --data.dir=DIR [--evaluate.split=dev] [--section.key=value ...]",
    .summary = "metrics of a run or checkpoint folder on a labelled split",
    .details = "The checkpoint has everything but the data. Any number of ranks may read what any number wrote.",
    .run = run_evaluate,
};

const command command_predict = {
    .name = "predict",
    .usage = "predict RUN --data.dir=DIR [--evaluate.split=test] [--evaluate.out=FILE.tsv] [--section.key=value ...]",
    .summary = "a submission file in GLUE's format for any split",
    .details = "Without --evaluate.out the file lies in RUN under the name that GLUE wants.",
    .run = run_predict,
};
