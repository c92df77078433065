#include "cli/cli.h"
#include "parallel/parallel.h"

#include <string.h>

static void print_help(const command *c, const option_table *tables, size_t n) {
    printf("usage: paf %s\n\n%s\n", c->usage, c->summary);
    if (c->details) printf("\n%s\n", c->details);
    printf("\noptions (in a file: [section] key = value; the command line wins) [default]:\n\n");
    printf("  --%-26s %s\n\n", "config", "an INI file with options, read first");
    option_print_help(stdout, tables, n);
}

// Takes --help and --config out of argv. A word after `--config` belongs to it.
static bool take_own(int *argc, char **argv, bool *helped, const char **config, error *err) {
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        bool is_config = !strcmp(argv[i], "--config") || !strncmp(argv[i], "--config=", 9);
        if (is_config && *config) return error_set(err, ERROR_INPUT, "command line: --config stands there twice");
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            *helped = true;
        else if (!strncmp(argv[i], "--config=", 9))
            *config = argv[i] + 9;
        else if (!strcmp(argv[i], "--config")) {
            if (++i == *argc) return error_set(err, ERROR_INPUT, "command line: --config wants a file");
            *config = argv[i];
        } else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return true;
}

bool cli_read_options(const command *c, const option_table *tables, size_t n, int *argc, char **argv, bool *helped,
                      error *err) {
    const char *config = NULL;
    *helped = false;
    option_set_defaults(tables, n);
    bool ok = take_own(argc, argv, helped, &config, err);
    if (ok && *helped) {
        if (comm_rank(comm_world()) == 0) print_help(c, tables, n);
        return true;
    }
    ok = ok && (!config || option_read_file(tables, n, config, err)) &&
         option_read_arguments(tables, n, argc, argv, err);
    return comm_agree(comm_world(), err) && ok;
}

int cli_fail(const error *err) {
    log_error("%s", err->text);
    return (int)err->kind;
}
