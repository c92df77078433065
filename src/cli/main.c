#include "cli/cli.h"
#include "parallel/parallel.h"

#include <string.h>

static const command *const commands[] = {
    &command_vocab,   &command_tokenize, &command_pretrain, &command_finetune,   &command_glue,  &command_evaluate,
    &command_predict, &command_import,   &command_export,   &command_checkpoint, &command_bench,
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_usage(FILE *out) {
    fprintf(out, "paf " PAF_VERSION ": BERT-type encoders whose attention and feed-forward blocks run side by side\n\n"
                 "usage: paf COMMAND [--config FILE.ini] [--section.key=value ...]\n"
                 "       launch/mpi RANKS paf COMMAND ...\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out,
            "\n`paf COMMAND --help` lists a command's options. Exit codes: 0 done, 1 failure inside, 2 bad usage or "
            "input, 3 damaged checkpoint.\n");
}

static const command *find(const char *name, error *err) {
    const command *nearest = commands[0];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (!strcmp(name, commands[i]->name)) return commands[i];
        if (option_distance(name, commands[i]->name) < option_distance(name, nearest->name)) nearest = commands[i];
    }
    error_set(err, ERROR_INPUT, "there is no command %s; did you mean %s? `paf --help` lists them", name,
              nearest->name);
    return NULL;
}

static int run(int argc, char **argv) {
    bool root = comm_rank(comm_world()) == 0;
    error err = {0};
    if (argc < 2) {
        if (root) print_usage(stderr);
        return ERROR_INPUT;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        if (root) print_usage(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        if (root) printf("paf " PAF_VERSION "\n");
        return 0;
    }
    const command *c = find(argv[1], &err);
    if (!c) return cli_fail(&err);
    return c->run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    error err = {0};
    if (!comm_check_srun(&err)) return cli_fail(&err);
    comm_start(&argc, &argv);
    int code = comm_check_srun(&err) ? run(argc, argv) : cli_fail(&err);
    fflush(stdout);
    comm_finish();
    return code;
}
