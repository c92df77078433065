#include "glue/glue.h"
#include "cli/cli.h"

#include <string.h>

// The recipe that tasks share need not be there. The root looks, so that ranks do not differ. Collective over the
// world.
static bool root_has(const char *path) {
    bool there = file_exists(path);
    comm_broadcast(comm_world(), &there, sizeof there, 0);
    return there;
}

// What belongs to the list as a whole would do nothing in a recipe.
static bool refuse_list_option(void *unused, const char *section, const char *key, const char *value, const char *where,
                               error *err) {
    (void)unused, (void)value;
    char name[512];
    snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key);
    if (strncmp(name, "glue.", 5) && strcmp(name, "run.out")) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: %s is the whole list's, not a recipe's; give it on the command line or in --config's file",
                     where, name);
}

// Reads the options of one task: those of the whole command with the recipe's files behind --config's, so that the
// command line wins over both. The words of argv stay as they are.
static bool read_recipe(glue_task *t, const char *prefix, int argc, char **argv, error *err) {
    glue_settings unused;
    option_table tables[GLUE_TABLES];
    glue_tables(tables, &unused, &t->settings);
    char config[] = "--config", *paths[2];
    paths[0] = memory_format("%s.ini", prefix);
    paths[1] = memory_format("%s-%s.ini", prefix, t->task.name);
    char **words = memory_allocate((size_t)argc + 4, sizeof *words);
    bool helped, ok = true;
    memcpy(words, argv, (size_t)argc * sizeof *words);
    for (int i = *prefix && root_has(paths[0]) ? 0 : 1; *prefix && i < 2; i++) {
        ok = ok && ini_read(paths[i], refuse_list_option, NULL, err);
        words[argc++] = config;
        words[argc++] = paths[i];
    }
    ok = comm_agree(comm_world(), err) &&
         cli_read_options(&command_glue, tables, GLUE_TABLES, &argc, words, &helped, err);
    memory_free(words);
    memory_free(paths[1]);
    memory_free(paths[0]);
    return ok;
}

static bool run_list(const glue_settings *settings, const char *out, int argc, char **argv, error *err) {
    glue_list list;
    glue_list_create(&list, settings, err);
    bool ok = comm_agree(comm_world(), err);
    for (size_t i = 0; ok && i < list.n; i++) ok = read_recipe(&list.tasks[i], settings->recipes, argc, argv, err);
    ok = ok && glue_run_list(&list, out, err);
    glue_list_destroy(&list);
    return ok;
}

static int run(int argc, char **argv) {
    glue_settings settings = {0};
    finetune_settings common = {0};
    option_table tables[GLUE_TABLES];
    glue_tables(tables, &settings, &common);
    error err = {0};
    bool helped;
    int kept = argc;
    char **words = memory_allocate((size_t)argc, sizeof *words);
    memcpy(words, argv, (size_t)argc * sizeof *words);
    bool ok = cli_read_options(&command_glue, tables, GLUE_TABLES, &kept, words, &helped, &err);
    if (ok && !helped && kept > 1)
        ok = error_set(&err, ERROR_INPUT, "glue: what is %s? Options begin with --", words[1]);
    memory_free(words);
    ok = ok && (helped || run_list(&settings, common.run.out, argc, argv, &err));
    return ok ? 0 : cli_fail(&err);
}

const command command_glue = {
    .name = "glue",
    .usage = "glue --glue.tasks=mrpc,rte,... [--glue.designs=saf,paf] [--glue.seeds=3] [--section.key=value ...]",
    .summary = "fine-tune tasks by designs and seeds, and end in one table",
    .details =
        "example: launch/mpi 2 build/paf glue --glue.tasks=mrpc,rte --glue.recipes=configs/finetune/bert-large \\\n"
        "           --data.dir GLUE --model.init=checkpoints/bert-large --run.out checkpoints/glue\n"
        "Every run is one of finetune's, in TASK-DESIGN-SEED below --run.out (or checkpoints/glue), and takes\n"
        "its options. data.task, model.design and run.resume are set by the list; train.seed is the first seed.\n"
        "Options come from --config's files, then PREFIX.ini and PREFIX-TASK.ini of --glue.recipes, then the command\n"
        "line; the later wins. Recipes cannot set run.out and what is [glue]'s, and no run of a list is traced.\n"
        "The same command goes on where it was cut off: what has a results.json is not run again, what was begun is\n"
        "gone on with, and settings that have changed meanwhile are refused. USR1 (and TERM to launch/mpi) saves and\n"
        "ends the list.\n"
        "The table is of each run's best evaluation, which the dev split has chosen: median, and least to largest,\n"
        "over seeds. It is printed after each run, and is in table.csv (fractions) and table.md (percent).",
    .run = run,
};
