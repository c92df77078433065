#include "cli/cli.h"
#include "parallel/parallel.h"

#include <string.h>

static void print_help(const command *c, const option_table *tables, size_t n) {
    printf("usage: paf %s\n\n%s\n", c->usage, c->summary);
    if (c->details) printf("\n%s\n", c->details);
    printf("\noptions (in a file: [section] key = value; the command line wins) [default]:\n\n");
    printf("  --%-26s %s\n\n", "config", "an INI file with options, read first; of several the later wins");
    option_print_help(stdout, tables, n);
}

// The --config files, in order; all borrowed.
typedef struct {
    const char **paths;
    size_t n;
} config_list;

// Takes --help and --config out of argv. A word after `--config` belongs to it.
static bool take_own(int *argc, char **argv, bool *helped, config_list *configs, error *err) {
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            *helped = true;
        else if (!strncmp(argv[i], "--config=", 9))
            configs->paths[configs->n++] = argv[i] + 9;
        else if (!strcmp(argv[i], "--config")) {
            if (++i == *argc) return error_set(err, ERROR_INPUT, "command line: --config wants a file");
            configs->paths[configs->n++] = argv[i];
        } else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return true;
}

bool cli_read_options(const command *c, const option_table *tables, size_t n, int *argc, char **argv, bool *helped,
                      error *err) {
    config_list configs = {memory_allocate((size_t)*argc, sizeof *configs.paths), 0};
    *helped = false;
    option_set_defaults(tables, n);
    bool ok = take_own(argc, argv, helped, &configs, err), show = ok && *helped;
    if (show && comm_rank(comm_world()) == 0) print_help(c, tables, n);
    for (size_t i = 0; ok && !show && i < configs.n; i++) ok = option_read_file(tables, n, configs.paths[i], err);
    ok = ok && (show || option_read_arguments(tables, n, argc, argv, err));
    memory_free(configs.paths);
    return show || (comm_agree(comm_world(), err) && ok);
}

int cli_fail(const error *err) {
    log_error("%s", err->text);
    return error_exit_code(err->kind);
}
