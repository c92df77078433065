// checkpoints/README.md is right: its reader in Python gets every bit, and xxhsum agrees with our checksums.
// ranks: 2

#include "tables.h"

#include "checkpoint/internal.h"

#include <sys/wait.h>

static comm *world;
static error err;

static bool root(void) { return comm_rank(world) == 0; }

// Holds what the reader prints of one part of one tensor against what was saved. False where there is no Python.
static bool check_part(const char *folder, size_t tensor, int part, int version) {
    const table_tensor *t = &table_tensors[tensor];
    char *command = memory_format("tests/checkpoint/read_with_python.sh '%s' '%s' '%s'", folder, t->name,
                                  manifest_part_names[part]);
    FILE *out = popen(command, "r");
    REQUIRE(out);
    char shape[64], wanted[64];
    bool there = fgets(shape, sizeof shape, out) != NULL;
    if (t->dimensions == 1)
        snprintf(wanted, sizeof wanted, "%lld\n", (long long)t->rows);
    else
        snprintf(wanted, sizeof wanted, "%lld %lld\n", (long long)t->rows, (long long)t->columns);
    REQUIRE(!there || !strcmp(shape, wanted));
    for (int64_t r = 0; there && r < t->rows; r++)
        for (int64_t c = 0; c < t->columns; c++) {
            float value = table_element(tensor, part, version, r, c);
            uint32_t bits, read;
            memcpy(&bits, &value, sizeof bits);
            REQUIRE(fscanf(out, "%8x", &read) == 1 && read == bits);
        }
    int status = pclose(out);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == (there ? 0 : 77));
    memory_free(command);
    return there;
}

// A matrix of two pieces in all its parts, and a vector.
static void the_reader_in_python(void **state) {
    (void)state;
    char *run = shared_folder(world), *folder = memory_format("%s/step-00000001", run);
    must(table_save(world, run, 1, 5, LAYOUT_COLUMNS, &err), &err);
    bool there = true;
    if (root()) {
        for (int part = 0; there && part < PARTS; part++) there = check_part(folder, 0, part, 5);
        there = there && check_part(folder, 3, PART_PARAMETERS, 5);
    }
    memory_free(folder);
    remove_shared_folder(world, run);
    if (!there) {
        printf("             (no python3 with h5py: skipped)\n");
        skip();
    }
}

static void xxhsum_agrees(void **state) {
    (void)state;
    char *run = shared_folder(world);
    must(table_save(world, run, 1, 1, LAYOUT_ROWS, &err), &err);
    int code = 77;
    if (root()) {
        char *command =
            memory_format("cd '%s/step-00000001' || exit 1; command -v xxhsum >/dev/null || exit 77; "
                          "xxhsum -c manifest.xxh3 >/dev/null 2>&1 && "
                          "for file in shard-*; do sum=$(xxhsum -H2 $file 2>/dev/null); "
                          "grep -q \"\\\"xxh3_128\\\": \\\"${sum%%%% *}\\\"\" manifest.json || exit 1; done",
                          run);
        int status = system(command);
        REQUIRE(WIFEXITED(status));
        code = WEXITSTATUS(status);
        REQUIRE(code == 0 || code == 77);
        memory_free(command);
    }
    remove_shared_folder(world, run);
    if (root() && code == 77) {
        printf("             (no xxhsum: skipped)\n");
        skip();
    }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_in_python),
        cmocka_unit_test(xxhsum_agrees),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
