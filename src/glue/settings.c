// The options of a list of runs.
#include "glue/glue.h"

#include <stddef.h>

#define GLUE(key, type, field, ...)                                                                                    \
    { "glue." key, type, offsetof(glue_settings, field), __VA_ARGS__ }
static const option glue_options[] = {
    GLUE("tasks", OPTION_STRING, tasks, "cola,sst2,mrpc,stsb,qqp,mnli,qnli,rte,wnli",
         .help = "GLUE names or task files, separated by commas"),
    GLUE("designs", OPTION_STRING, designs, "saf,paf", .help = "saf, paf, or both"),
    GLUE("seeds", OPTION_INT, seeds, "3", .low = 1, .high = 1000,
         .help = "runs of a task and design: train.seed, the next, ..."),
    GLUE("recipes", OPTION_STRING, recipes, "",
         .help = "PREFIX: a task's own options are in PREFIX-TASK.ini, those that tasks share in PREFIX.ini, if there "
                 "is one"),
    GLUE("init_saf", OPTION_STRING, init_saf, "", .help = "model.init of the SAF runs, where it is not the same"),
    GLUE("init_paf", OPTION_STRING, init_paf, "", .help = "model.init of the PAF runs, where it is not the same"),
    GLUE("intermediate", OPTION_CHOICE, intermediate, "off", .words = OPTION_WORDS("off", "mnli"),
         .help = "mnli: RTE, MRPC and STS-B start from the MNLI run of the same design and seed, which is run first"),
    GLUE("predict", OPTION_BOOL, predict, "off",
         .help = "at the end, submission files by the seed that is best on dev, and AX by the MNLI model"),
    GLUE("keep", OPTION_CHOICE, keep, "best", .words = OPTION_WORDS("best", "all"),
         .help = "of a run that is over: the best checkpoint, without Adam's moments, or all as run.keep has them"),
    {0},
};

void glue_tables(option_table tables[GLUE_TABLES], glue_settings *s, finetune_settings *finetune) {
    tables[0] = (option_table){glue_options, s};
    finetune_tables(tables + 1, finetune);
}
