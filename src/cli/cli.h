// cli: the program. main and one file a command.
#ifndef PAF_CLI_H
#define PAF_CLI_H

#include "base/base.h"

// A command gets the words behind its name in argv[1 ..] (argv[0] is the command's name), and returns the program's
// exit code (error_exit_code). MPI is started before and finished after it; every rank runs it.
typedef struct {
    const char *name;
    const char *usage;   // "finetune [--config FILE.ini] [--section.key=value ...]"
    const char *summary; // one line, for `paf --help`
    const char *details; // a few lines more, for `paf COMMAND --help`; NULL is none
    int (*run)(int argc, char **argv);
} command;

extern const command command_finetune, command_evaluate, command_predict, command_vocab, command_tokenize,
    command_pretrain, command_glue, command_import, command_export, command_checkpoint, command_bench;

// Sets defaults, then takes --help (prints the command's help from the tables; *helped = true), --config FILE (read
// first, wherever it stands; there may be several, read in their order) and the options; words that are no options are
// left in argv. Same result on every rank.
bool cli_read_options(const command *c, const option_table *tables, size_t n, int *argc, char **argv, bool *helped,
                      error *err);
// Prints the one message, on the root, and returns the exit code. Ranks have agreed on err before.
int cli_fail(const error *err);

#endif
