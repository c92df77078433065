#include "cli/cli.h"
#include "prepare/prepare.h"

static int run(int argc, char **argv) {
    tokenize_settings settings = {0};
    option_table table = {tokenize_options, &settings};
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_tokenize, &table, 1, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return ERROR_NONE;
    if (!prepare_tokens(comm_world(), &settings, argv + 1, (size_t)argc - 1, &err)) return cli_fail(&err);
    return ERROR_NONE;
}

const command command_tokenize = {
    .name = "tokenize",
    .usage = "tokenize --tokenize.vocab=VOCAB [--tokenize.output=tokens] [--section.key=value ...] TEXT ...",
    .summary = "text files to HDF5 token shards, for pretraining",
    .details =
        "example: launch/mpi 2 build/paf tokenize --tokenize.vocab=vocab.txt --tokenize.output=tokens wiki books\n"
        "VOCAB is a vocab.txt, or a folder with vocab.json and merges.txt.\n"
        "TEXT is a file, or a folder whose files are all read, those in folders below it too. Ranks share the\n"
        "files; the bytes that they write do not depend on their number. Of a novel whose paragraphs stand\n"
        "between blank lines, each is a document unless --tokenize.documents=file.\n"
        "OUTPUT/train and OUTPUT/heldout are specified in checkpoints/TOKENS.md. Shards that were in OUTPUT are\n"
        "replaced when the new ones are whole.",
    .run = run,
};
