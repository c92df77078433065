// Killed anywhere in a save or a prune: what the run held before, or what it was to hold, is there and whole.
// ranks: 1

#include "tables.h"

#include "checkpoint/internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// ---- a victim that dies at the n-th thing it does to a file's name or to the disk ---------------------------------
//
// These stand in front of the C library's: storage calls them.

static int64_t actions_left = INT64_MAX;

static void maybe_die(void) {
    if (--actions_left < 0) kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to) {
    maybe_die();
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int fsync(int descriptor) {
    maybe_die();
    return (int)syscall(SYS_fsync, descriptor);
}

int mkdir(const char *path, mode_t mode) {
    maybe_die();
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int remove(const char *path) {
    maybe_die();
    struct stat s;
    if (lstat(path, &s)) return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, S_ISDIR(s.st_mode) ? AT_REMOVEDIR : 0);
}

static comm *world;
static error err;
static char *run;

typedef enum { SAVE_NEW, SAVE_AGAIN, PRUNE, DEEDS } deed;

static bool act(deed what) {
    if (what == PRUNE) return checkpoint_prune(run, 1, &err);
    return table_save(world, run, what == SAVE_NEW ? 3 : 2, 3, LAYOUT_ROWS, &err);
}

// Does it in a process of its own, which dies before action n; true if there were no more than n actions. A limit on
// the size of files kills in the middle of a write instead.
static bool survives(deed what, int64_t n, int64_t limit) {
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (limit) setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)limit, (rlim_t)limit});
        actions_left = n;
        _exit(act(what) ? 0 : 1);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) REQUIRE(WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

// Steps 1 and 2 hold versions 1 and 2; best is 1.
static int setup(void **state) {
    (void)state;
    run = test_folder();
    must(table_save(world, run, 1, 1, LAYOUT_ROWS, &err) && table_save(world, run, 2, 2, LAYOUT_ROWS, &err) &&
             checkpoint_mark_best(run, 1, &err),
         &err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    must(file_remove_tree(run, &err), &err);
    memory_free(run);
    return 0;
}

// Opens the run and returns the version that it holds in every part, after the step's number was seen to fit.
static int version_of(checkpoint_choice which) {
    checkpoint k;
    must(checkpoint_open(&k, world, run, which, &err), &err);
    int version = (int)json_integer_value(json_object_get(k.state, "version"));
    REQUIRE(table_holds(&k, world, version, LAYOUT_WHOLE));
    checkpoint_close(&k);
    return version;
}

// Whatever happened to the victim, nothing that was promised is lost, no reader is warned, and the next save works.
static void expect_sound(deed what, bool survived) {
    FILE *caught = tmpfile();
    int before = dup(2);
    fflush(stderr);
    dup2(fileno(caught), 2);
    int version = version_of(CHECKPOINT_LATEST), best = version_of(CHECKPOINT_BEST);
    fflush(stderr);
    dup2(before, 2);
    close(before);
    fseek(caught, 0, SEEK_END);
    REQUIRE(ftell(caught) == 0);
    fclose(caught);
    REQUIRE(best == 1);
    REQUIRE(version == 2 || (version == 3 && what != PRUNE));
    REQUIRE(!survived || version == (what == PRUNE ? 2 : 3));
    FILE *ignored = fopen("/dev/null", "w");
    must(checkpoint_verify(run, ignored, &err), &err); // what is there is whole, what was half removed is not there
    fclose(ignored);

    must(table_save(world, run, 9, 9, LAYOUT_ROWS, &err), &err);
    REQUIRE(version_of(CHECKPOINT_LATEST) == 9);
    char *names = names_in(run);
    REQUIRE(!strstr(names, ".tmp") && !strstr(names, ".old")); // a save cleans up after those before it
    memory_free(names);
    must(checkpoint_prune(run, 1, &err), &err);
    REQUIRE(names_are(run, "best latest step-00000001 step-00000009"));
}

static void killed_at_every_action(void **state) {
    (void)state;
    for (deed what = 0; what < DEEDS; what++) {
        bool survived = false;
        int64_t n = 0;
        for (; !survived; n++) {
            setup(NULL);
            if (what == PRUNE) must(table_save(world, run, 4, 2, LAYOUT_ROWS, &err), &err); // leaves 2 to be removed
            survived = survives(what, n, 0);
            expect_sound(what, survived);
            teardown(NULL);
        }
        REQUIRE(n > (what == PRUNE ? 5 : 15)); // there was something to die at
    }
}

static void killed_while_writing(void **state) {
    (void)state;
    const int64_t limits[] = {1, 10, 3000, 500000, 1200000, 3000000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (deed what = SAVE_NEW; what <= SAVE_AGAIN; what++) {
            setup(NULL);
            REQUIRE(!survives(what, INT64_MAX, limits[i]));
            expect_sound(what, false);
            teardown(NULL);
        }
}

// Killed twice in a row, at two actions of the same save.
static void killed_again_while_cleaning_up(void **state) {
    (void)state;
    for (int64_t first = 10; first < 26; first += 5)
        for (int64_t second = 0; second < 12; second += 3) {
            setup(NULL);
            survives(SAVE_AGAIN, first, 0);
            survives(SAVE_AGAIN, second, 0);
            expect_sound(SAVE_AGAIN, false);
            teardown(NULL);
        }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_action),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(killed_again_while_cleaning_up),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
