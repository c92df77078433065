#include "checkpoint/checkpoint.h"
#include "cli/cli.h"

#include <string.h>

typedef struct {
    int64_t keep;
} checkpoint_settings;

static const option checkpoint_options[] = {
    {.name = "checkpoint.keep",
     .type = OPTION_INT,
     .offset = offsetof(checkpoint_settings, keep),
     .fallback = "1",
     .low = 1,
     .high = 1e9,
     .help = "prune: newest checkpoints to keep, besides the best; must be given"},
    {0},
};

// Under the run's lock: to someone who is writing it, what looks like a leftover is work in progress.
static bool prune(const char *run, const checkpoint_settings *settings, error *err) {
    if (!option_is_set("checkpoint.keep"))
        return error_set(err, ERROR_INPUT, "prune removes files: say how many to keep, --checkpoint.keep=N");
    if (!checkpoint_exists(run)) return error_set(err, ERROR_INPUT, "no checkpoint in %s", run);
    char *path = memory_format("%s/lock", run);
    int lock = file_lock(path, err);
    memory_free(path);
    if (lock < 0) return false;
    bool good = checkpoint_prune(run, settings->keep, err) && checkpoint_list(run, stdout, err);
    file_unlock(lock);
    return good;
}

static bool act(const char *action, const char *path, const checkpoint_settings *settings, error *err) {
    if (!strcmp(action, "list")) return checkpoint_list(path, stdout, err);
    if (!strcmp(action, "show")) return checkpoint_show(path, stdout, err);
    if (!strcmp(action, "verify")) return checkpoint_verify(path, stdout, err);
    if (!strcmp(action, "prune")) return prune(path, settings, err);
    return error_set(err, ERROR_INPUT, "checkpoint cannot %s; it can list, show, verify and prune", action);
}

static int run(int argc, char **argv) {
    checkpoint_settings settings;
    const option_table table = {checkpoint_options, &settings};
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_checkpoint, &table, 1, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc != 3)
        error_set(&err, ERROR_INPUT, "checkpoint wants what to do and a folder: paf %s", command_checkpoint.usage);
    else if (comm_rank(comm_world()) == 0)
        act(argv[1], argv[2], &settings, &err);
    return comm_agree(comm_world(), &err) ? 0 : cli_fail(&err);
}

const command command_checkpoint = {
    .name = "checkpoint",
    .usage = "checkpoint list|show|verify|prune RUN|CHECKPOINT [--checkpoint.keep=N]",
    .summary = "what a run has saved: list it, show one, check every file, remove old ones",
    .details = "list RUN      a line a checkpoint, those to be trusted first coming first\n"
               "show PATH     counters, settings, files, tensors and where their pieces lie\n"
               "verify PATH   every file against its checksum; exit code 3 if one is damaged,\n"
               "              2 if one is of a version that this paf does not read\n"
               "prune RUN     removes all but the newest N, the best, and nothing that is not a checkpoint\n"
               "PATH is a checkpoint folder or a run folder; of a run, show takes the newest and verify takes all.",
    .run = run,
};
