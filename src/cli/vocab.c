// paf vocab: rank 0 works; the others wait for its outcome.
#include "cli/cli.h"
#include "prepare/prepare.h"

static int run(int argc, char **argv) {
    vocab_settings settings;
    option_table table = {vocab_options, &settings};
    error err = {0};
    bool helped = false;
    if (!cli_read_options(&command_vocab, &table, 1, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return ERROR_NONE;
    if (comm_rank(comm_world()) == 0) prepare_vocabulary(&settings, argv + 1, (size_t)argc - 1, &err);
    return comm_agree(comm_world(), &err) ? ERROR_NONE : cli_fail(&err);
}

const command command_vocab = {
    .name = "vocab",
    .usage = "vocab [--vocab.kind=bpe] [--vocab.size=8000] [--vocab.output=vocab.txt] TEXT ...",
    .summary = "train a WordPiece or byte-level BPE vocabulary from text",
    .details =
        "TEXT is a file with one piece of text a line, or a folder of such files. Lines <doc ...> and </doc>, as\n"
        "WikiExtractor writes them, are skipped. The outcome does not depend on the order of the text; with bpe it\n"
        "is a folder with vocab.json and merges.txt.",
    .run = run,
};
