// Files, folders and checksums.
#include "../support.h"

#include "storage/storage.h"

#include <signal.h>
#include <sys/resource.h>

static char *folder;
static error err;

static int setup(void **state) {
    (void)state;
    folder = test_folder();
    error_clear(&err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_true(file_remove_tree(folder, &err));
    assert_false(file_exists(folder));
    memory_free(folder);
    return 0;
}

static void expect_text(const char *path, const char *wanted) {
    char *text = text_read(path, NULL, &err);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    memory_free(text);
}

static size_t count_names(const char *path) {
    size_t n;
    char **names = file_list(path, &n, &err);
    assert_non_null(names);
    for (size_t i = 0; i < n; i++) memory_free(names[i]);
    memory_free(names);
    return n;
}

static void writing_replaces(void **state) {
    (void)state;
    char *path = memory_format("%s/note", folder);
    assert_true(file_write_atomic(path, "one", 3, &err));
    expect_text(path, "one");
    assert_true(file_write_atomic(path, "", 0, &err));
    assert_int_equal(file_size(path), 0);
    assert_true(file_write_atomic(path, "two\n", 4, &err));
    expect_text(path, "two\n");
    assert_int_equal(count_names(folder), 1);
    memory_free(path);
}

static void a_failed_write_leaves_the_old_file(void **state) {
    (void)state;
    char *path = memory_format("%s/note", folder);
    assert_true(file_write_atomic(path, "precious", 8, &err));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, before.rlim_max});
    char *large = memory_allocate(5000, 1);
    bool written = file_write_atomic(path, large, 5000, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_false(written);
    assert_int_equal(err.kind, ERROR_INTERNAL);
    assert_non_null(strstr(err.text, "File too large"));
    expect_text(path, "precious");
    assert_int_equal(count_names(folder), 1);
    memory_free(large);

    char *nowhere = memory_format("%s/missing/note", folder);
    assert_false(file_write_atomic(nowhere, "x", 1, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_non_null(strstr(err.text, nowhere));
    memory_free(nowhere);
    memory_free(path);
}

static void folders_within_folders(void **state) {
    (void)state;
    char *path = memory_format("%s/a/b//c/", folder), *file = memory_format("%s/a/file", folder);
    assert_true(file_make_folders(path, &err));
    assert_true(file_is_folder(path));
    assert_true(file_make_folders(path, &err)); // again is fine
    assert_true(file_write_atomic(file, "x", 1, &err));
    assert_false(file_is_folder(file));
    assert_true(file_exists(file));
    assert_false(file_make_folders(file, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    char *below = memory_format("%s/below", file);
    assert_false(file_make_folders(below, &err));
    assert_int_equal(file_size(path), -1);
    assert_int_equal(file_size(below), -1);
    memory_free(below);
    memory_free(path);
    memory_free(file);
}

static void a_relative_path(void **state) {
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    assert_true(file_make_folders("x/y", &err));
    assert_true(file_write_atomic("plain", "p", 1, &err));
    assert_true(file_rename("plain", "x/y/moved", &err));
    assert_true(file_exists("x/y/moved"));
    assert_int_equal(chdir(before), 0);
}

static void removing_and_listing(void **state) {
    (void)state;
    const char *names[] = {"b", "a", "C", "a10", "a9"}, *sorted[] = {"C", "a", "a10", "a9", "b"};
    char *target = memory_format("%s/tree", folder), *kept = memory_format("%s/kept/file", folder);
    char *link = memory_format("%s/tree/link", folder);
    assert_true(file_make_folders(target, &err));
    for (int i = 0; i < 5; i++) {
        char *path = memory_format("%s/%s", target, names[i]);
        assert_true(i % 2 ? file_make_folders(path, &err) : file_write_atomic(path, "x", 1, &err));
        memory_free(path);
    }
    size_t n;
    char **list = file_list(target, &n, &err);
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i], sorted[i]);
        memory_free(list[i]);
    }
    memory_free(list);
    char *other = memory_format("%s/kept", folder);
    assert_true(file_make_folders(other, &err) && file_write_atomic(kept, "k", 1, &err));
    memory_free(other);
    assert_int_equal(symlink("../kept", link), 0);
    assert_true(file_remove_tree(target, &err));
    assert_false(file_exists(target));
    expect_text(kept, "k");                      // a link is removed, not what it points to
    assert_true(file_remove_tree(target, &err)); // gone already
    assert_null(file_list(target, &n, &err));
    assert_non_null(strstr(err.text, target));
    memory_free(link);
    memory_free(target);
    memory_free(kept);
}

static void rename_says_why_not(void **state) {
    (void)state;
    char *from = memory_format("%s/from", folder), *to = memory_format("%s/to", folder);
    assert_false(file_rename(from, to, &err));
    assert_non_null(strstr(err.text, from));
    assert_true(file_make_folders(from, &err));
    assert_true(file_rename(from, to, &err));
    assert_true(file_is_folder(to) && !file_exists(from));
    memory_free(from);
    memory_free(to);
}

// Values that the xxhsum program (0.8.1, -H2) prints.
static void checksums_are_those_of_xxhsum(void **state) {
    (void)state;
    char sum[CHECKSUM_SIZE], *path = memory_format("%s/zeros", folder), *zeros = memory_allocate(3000001, 1);
    checksum_bytes(sum, "abc", 3);
    assert_string_equal(sum, "06b05ab6733a618578af5f94892f3950");
    checksum_bytes(sum, "", 0);
    assert_string_equal(sum, "99aa06d3014798d86001c324468d497f");
    // a file longer than the block it is read by
    char whole[CHECKSUM_SIZE];
    zeros[3000000] = 1;
    checksum_bytes(whole, zeros, 3000001);
    assert_true(file_write_atomic(path, zeros, 3000001, &err));
    assert_true(checksum_file(sum, path, &err));
    assert_string_equal(sum, whole);
    assert_false(checksum_file(sum, folder, &err));
    char *missing = memory_format("%s/missing", folder);
    assert_false(checksum_file(sum, missing, &err));
    assert_non_null(strstr(err.text, missing));
    memory_free(missing);
    memory_free(zeros);
    memory_free(path);
}

static void write_file(const char *name, const char *text) {
    char *path = memory_format("%s/%s", folder, name), *parent = memory_string(path);
    *strrchr(parent, '/') = 0;
    assert_true(file_make_folders(parent, &err) && file_write_atomic(path, text, strlen(text), &err));
    memory_free(path);
    memory_free(parent);
}

// Lists before words, in the order that they were named; folders by name, to the bottom.
static void a_set_of_files(void **state) {
    (void)state;
    const char *names[] = {"tree/b", "tree/a/z", "tree/a/y", "tree/.hidden", "tree/.git/config", "one", "two"};
    const char *wanted[] = {"two", "one", "tree/a/y", "tree/a/z", "tree/b"};
    for (int i = 0; i < 7; i++) write_file(names[i], i == 6 ? "two" : "file");
    char *list = memory_format("%s/two,,%s/one,", folder, folder), *tree = memory_format("%s/tree", folder);
    file_set s;
    assert_true(file_set_create(&s, list, &tree, 1, &err));
    assert_int_equal(s.n, 5);
    assert_int_equal(s.bytes, 19);
    for (size_t i = 0; i < s.n; i++) {
        assert_string_equal(s.paths[i] + strlen(folder) + 1, wanted[i]);
        assert_int_equal(s.sizes[i], i ? 4 : 3);
    }
    file_set_destroy(&s);
    assert_false(file_set_create(&s, "/dev/null", NULL, 0, &err));
    assert_string_equal(err.text, "/dev/null is neither a file nor a folder");
    file_set_destroy(&s);
    error_clear(&err);
    memory_free(list);
    memory_free(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writing_replaces, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_within_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(a_relative_path, setup, teardown),
        cmocka_unit_test_setup_teardown(removing_and_listing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_set_of_files, setup, teardown),
        cmocka_unit_test_setup_teardown(rename_says_why_not, setup, teardown),
        cmocka_unit_test_setup_teardown(checksums_are_those_of_xxhsum, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
