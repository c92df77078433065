// A save that fails on one rank or on rank 0 leaves nothing behind, and what was there stays good.
// ranks: 1 2 3

#include "tables.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static comm *world;
static error err;
static char *run;

// ---- a disk that loses what it was given --------------------------------------------------------------------------

static const char *spoil; // files with this in their path change when they are fsynced; NULL is none
static int spoiled;

// Stands in front of the C library's: storage calls it.
int fsync(int descriptor) {
    char link[64], path[4096] = "", byte;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if (spoil && readlink(link, path, sizeof path - 1) > 0 && strstr(path, spoil)) {
        int file = open(path, O_RDWR);
        off_t middle = lseek(file, 0, SEEK_END) / 2;
        REQUIRE(pread(file, &byte, 1, middle) == 1);
        byte ^= 1;
        REQUIRE(pwrite(file, &byte, 1, middle) == 1);
        close(file);
        spoiled++;
    }
    return (int)syscall(SYS_fsync, descriptor);
}

// ---- saves that fail ----------------------------------------------------------------------------------------------

// Step 1 holds version 1.
static int setup(void **state) {
    (void)state;
    run = shared_folder(world);
    must(table_save(world, run, 1, 1, LAYOUT_ROWS, &err), &err);
    comm_barrier(world);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    remove_shared_folder(world, run);
    return 0;
}

static void expect_version(int version, const char *names) {
    REQUIRE(names_are(run, names));
    checkpoint k;
    must(checkpoint_open(&k, world, run, CHECKPOINT_LATEST, &err), &err);
    REQUIRE(table_holds(&k, world, version, LAYOUT_COLUMNS));
    checkpoint_close(&k);
    comm_barrier(world);
}

// A save while no file of one rank may grow beyond `limit` bytes, as on a disk that fills up.
static bool save_under_limit(int limited, int64_t limit, int64_t step) {
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    if (comm_rank(world) == limited)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = (rlim_t)limit, .rlim_max = before.rlim_max});
    bool good = table_save(world, run, step, 2, LAYOUT_ROWS, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    return good;
}

static int64_t own_shard_bytes(void) {
    char *path = memory_format("%s/step-00000001/shard-%05d-of-%05d.h5", run, comm_rank(world), comm_size(world));
    int64_t bytes = file_size(path);
    memory_free(path);
    REQUIRE(bytes > 0);
    return bytes;
}

static void a_full_disk(void **state) {
    (void)state;
    double whole = (double)own_shard_bytes();
    comm_max_doubles(world, &whole, 1);
    const int64_t limits[] = {0, 3000, (int64_t)whole / 2, (int64_t)whole - 8000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (int rank = 0; rank < comm_size(world); rank++)
            for (int64_t step = 1; step <= 2; step++) { // over what is there, and new
                REQUIRE(!save_under_limit(rank, limits[i], step));
                REQUIRE(err.kind == ERROR_INTERNAL && strstr(err.text, "File too large"));
                REQUIRE(strstr(err.text, step == 1 ? "cannot save" : "step-00000002"));
                expect_version(1, "latest step-00000001");
            }
    must(table_save(world, run, 2, 2, LAYOUT_ROWS, &err), &err); // the disk has space again
    comm_barrier(world);
    expect_version(2, "latest step-00000001 step-00000002");
}

// The shards fit, a file that comes along does not.
static void a_disk_that_fills_at_the_end(void **state) {
    (void)state;
    size_t size = 20 << 20;
    char *vocabulary = memory_allocate(size, 1);
    const checkpoint_file file = {"vocab.txt", vocabulary, size};
    parameter_table table = table_build(LAYOUT_ROWS, comm_rank(world), comm_size(world), true);
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 19 << 20, .rlim_max = before.rlim_max});
    bool saved = checkpoint_save(world, run, 1, &table, true, NULL, &file, 1, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    REQUIRE(!saved);
    REQUIRE(err.kind == ERROR_INTERNAL && strstr(err.text, "vocab.txt"));
    expect_version(1, "latest step-00000001");
    parameter_destroy(&table);
    memory_free(vocabulary);
}

// `latest` cannot be replaced: the last thing that can go wrong, when the new folder has its name already.
static void a_pointer_that_cannot_be_written(void **state) {
    (void)state;
    char *path = memory_format("%s/latest", run), *inside = memory_format("%s/x", path);
    if (comm_rank(world) == 0) REQUIRE(!unlink(path) && file_make_folders(inside, &err));
    comm_barrier(world);
    for (int64_t step = 1; step <= 2; step++) {
        REQUIRE(!table_save(world, run, step, 2, LAYOUT_ROWS, &err));
        REQUIRE(strstr(err.text, "latest"));
        expect_version(1, "latest step-00000001");
    }
    if (comm_rank(world) == 0) must(file_remove_tree(path, &err), &err);
    comm_barrier(world);
    must(table_save(world, run, 1, 2, LAYOUT_ROWS, &err), &err);
    comm_barrier(world);
    expect_version(2, "latest step-00000001");
    memory_free(inside);
    memory_free(path);
}

// What was written is read back: a disk that says yes and keeps something else is found out before the manifest is.
static void a_disk_that_lies(void **state) {
    (void)state;
    const char *files[] = {"-of-", "note.txt", "manifest.json", "manifest.xxh3"};
    for (int i = 0; i < 4; i++)
        for (int rank = 0; rank < (i == 0 ? comm_size(world) : 1); rank++) {
            spoiled = 0;
            if (comm_rank(world) == rank) spoil = files[i];
            bool saved = table_save(world, run, 2, 2, LAYOUT_ROWS, &err);
            spoil = NULL;
            REQUIRE(spoiled == (comm_rank(world) == rank));
            REQUIRE(!saved && err.kind == ERROR_INTERNAL && strstr(err.text, "read back"));
            expect_version(1, "latest step-00000001");
        }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    signal(SIGXFSZ, SIG_IGN); // so that a write beyond the limit fails, as one on a full disk does
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_fills_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pointer_that_cannot_be_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_lies, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
