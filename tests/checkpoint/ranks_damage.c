// Damaged checkpoints: named, never believed, and the one before is taken.
// ranks: 1 3

#include "tables.h"

#include "checkpoint/internal.h"

static comm *world;
static error err;
static char *run;

static bool root(void) { return comm_rank(world) == 0; }

// Steps 1, 2 and 3 hold versions 1, 2 and 3.
static int setup(void **state) {
    (void)state;
    run = shared_folder(world);
    for (int step = 1; step <= 3; step++) must(table_save(world, run, step, step, step, &err), &err);
    log_set_level(LOG_ERROR);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    log_set_level(LOG_INFO);
    remove_shared_folder(world, run);
    return 0;
}

// Opens what the run offers, which must be `version` in full; 0: nothing is whole.
static void expect_version(checkpoint_choice which, int version) {
    comm_barrier(world);
    checkpoint k;
    bool opened = checkpoint_open(&k, world, run, which, &err);
    if (version == 0) {
        REQUIRE(!opened && err.kind == ERROR_DAMAGED);
        return;
    }
    must(opened, &err);
    REQUIRE(k.step == version && table_holds(&k, world, version, LAYOUT_MIXED));
    checkpoint_close(&k);
    comm_barrier(world);
}

// Opening one folder fails, with one message on all ranks that has `what` in it.
static void expect_damaged(const char *folder, const char *what) {
    comm_barrier(world);
    checkpoint k;
    REQUIRE(!checkpoint_open(&k, world, folder, CHECKPOINT_LATEST, &err));
    REQUIRE(err.kind == ERROR_DAMAGED);
    if (!strstr(err.text, what)) FATAL("no %s in: %s", what, err.text);
    char **texts = comm_gather_texts(world, err.text);
    for (int rank = 0; rank < comm_size(world); rank++) {
        REQUIRE(!strcmp(texts[rank], err.text));
        memory_free(texts[rank]);
    }
    memory_free(texts);
}

// ---- files --------------------------------------------------------------------------------------------------------

typedef struct {
    char *path, *data;
    size_t size;
} original;

static original keep(const char *folder, const char *name) {
    original o = {.path = memory_format("%s/%s", folder, name)};
    o.data = text_read(o.path, &o.size, &err);
    must(o.data != NULL, &err);
    return o;
}

static void put(const original *o, const char *data, size_t size) {
    must(file_write_atomic(o->path, data, size, &err), &err);
}

static void restore(original *o) {
    comm_barrier(world);
    if (root()) put(o, o->data, o->size);
    memory_free(o->path);
    memory_free(o->data);
    comm_barrier(world);
}

// What rank 0 does to a file: a byte changed here or there, an end cut off, an end added, gone.
static void damage(const original *o, int how) {
    char *data = memory_allocate(o->size + 1, 1);
    memcpy(data, o->data, o->size);
    const size_t places[] = {0, o->size / 2, o->size - 1};
    if (how < 3) {
        data[places[how]] ^= 0x10;
        put(o, data, o->size);
    } else if (how == 3)
        put(o, data, o->size - 1);
    else if (how == 4)
        put(o, data, o->size / 2);
    else if (how == 5)
        put(o, data, o->size + 1);
    else
        REQUIRE(unlink(o->path) == 0);
    memory_free(data);
}
#define DAMAGES 7

static bool verify(const char *path) {
    FILE *out = tmpfile();
    bool good = checkpoint_verify(path, out, &err);
    fclose(out);
    return good;
}

static void any_damage_to_any_file(void **state) {
    (void)state;
    char *folder = memory_format("%s/step-00000003", run);
    size_t n;
    char **files = file_list(folder, &n, &err);
    REQUIRE(files && n >= 4);
    for (size_t i = 0; i < n; i++) {
        for (int how = 0; how < DAMAGES; how++) {
            comm_barrier(world);
            original o = keep(folder, files[i]);
            comm_barrier(world);
            if (root()) damage(&o, how);
            expect_version(CHECKPOINT_LATEST, 2);
            expect_damaged(folder, files[i]);
            if (root()) REQUIRE(!verify(folder) && err.kind == ERROR_DAMAGED);
            if (root()) REQUIRE(!verify(run) && strstr(err.text, "step-00000003"));
            restore(&o);
        }
        memory_free(files[i]);
    }
    memory_free(files);
    if (root()) REQUIRE(verify(run));
    expect_version(CHECKPOINT_LATEST, 3);
    memory_free(folder);
}

static void breakdown(int step) {
    comm_barrier(world);
    if (root()) {
        char *folder = checkpoint_step_path(run, step);
        original o = keep(folder, "note.txt");
        put(&o, "other", 5);
        memory_free(o.path);
        memory_free(o.data);
        memory_free(folder);
    }
}

static void the_one_before_is_taken(void **state) {
    (void)state;
    breakdown(3);
    expect_version(CHECKPOINT_LATEST, 2);
    expect_version(CHECKPOINT_BEST, 2); // there is no best
    breakdown(2);
    expect_version(CHECKPOINT_LATEST, 1);
    breakdown(1);
    expect_version(CHECKPOINT_LATEST, 0);
    REQUIRE(strstr(err.text, "step-00000003") && strstr(err.text, "none of 3"));
}

static void a_damaged_one_is_named_in_a_warning(void **state) {
    (void)state;
    breakdown(3);
    comm_barrier(world);
    FILE *caught = tmpfile();
    int before = dup(2);
    fflush(stderr);
    dup2(fileno(caught), 2);
    log_set_level(LOG_INFO);
    expect_version(CHECKPOINT_LATEST, 2);
    fflush(stderr);
    dup2(before, 2);
    close(before);
    char text[2000] = "";
    rewind(caught);
    text[fread(text, 1, sizeof text - 1, caught)] = 0;
    fclose(caught);
    REQUIRE(!root() == !strstr(text, "step-00000003/note.txt")); // from the root alone
}

static void pointers(void **state) {
    (void)state;
    if (root()) must(checkpoint_mark_best(run, 1, &err), &err);
    expect_version(CHECKPOINT_BEST, 1);
    expect_version(CHECKPOINT_LATEST, 3);
    breakdown(1);
    expect_version(CHECKPOINT_BEST, 3);
    comm_barrier(world);
    if (root()) must(checkpoint_point(run, "latest", 99, &err), &err); // a folder that is not there
    expect_version(CHECKPOINT_LATEST, 3);
    comm_barrier(world);
    if (root()) must(checkpoint_point(run, "best", 99, &err), &err);
    expect_version(CHECKPOINT_BEST, 3);
    comm_barrier(world);
    if (root()) must(checkpoint_point(run, "latest", 2, &err), &err);
    expect_version(CHECKPOINT_LATEST, 2);
    comm_barrier(world);
    char *path = memory_format("%s/latest", run);
    if (root()) REQUIRE(unlink(path) == 0);
    expect_version(CHECKPOINT_LATEST, 3);
    memory_free(path);
}

static void nothing_there(void **state) {
    (void)state;
    checkpoint k;
    char *nowhere = memory_format("%s/nowhere", run), *empty = memory_format("%s/empty", run);
    REQUIRE(!checkpoint_open(&k, world, nowhere, CHECKPOINT_LATEST, &err));
    REQUIRE(err.kind == ERROR_INPUT && strstr(err.text, nowhere));
    comm_barrier(world);
    if (root()) must(file_make_folders(empty, &err), &err);
    comm_barrier(world);
    REQUIRE(!checkpoint_open(&k, world, empty, CHECKPOINT_BEST, &err));
    REQUIRE(err.kind == ERROR_INPUT && strstr(err.text, "no checkpoint in"));
    char *folder = memory_format("%s/step-00000002.tmp", empty);
    if (root()) must(file_make_folders(folder, &err), &err); // one that was never finished does not count
    comm_barrier(world);
    REQUIRE(!checkpoint_open(&k, world, empty, CHECKPOINT_LATEST, &err) && err.kind == ERROR_INPUT);
    memory_free(folder);
    memory_free(nowhere);
    memory_free(empty);
}

// ---- a stranger's manifest, with a seal that matches --------------------------------------------------------------

static void put_sealed(const original *o, const char *folder, const char *text) {
    char *line = checksum_seal(MANIFEST_FILE, text, strlen(text)),
         *path = memory_format("%s/%s", folder, MANIFEST_SEAL);
    put(o, text, strlen(text));
    must(file_write_atomic(path, line, strlen(line), &err), &err);
    memory_free(path);
    memory_free(line);
}

// Opens and loads step 3 as it is now; false with the message if either fails.
static bool open_and_load(const char *folder) {
    comm_barrier(world);
    checkpoint k;
    if (!checkpoint_open(&k, world, folder, CHECKPOINT_LATEST, &err)) return false;
    parameter_table table = table_build(LAYOUT_ROWS, comm_rank(world), comm_size(world), true);
    bool good = checkpoint_load(&k, world, &table, true, NULL, NULL, &err);
    parameter_destroy(&table);
    checkpoint_close(&k);
    return good;
}

static json_t *first_piece(json_t *manifest, const char *tensor, const char *part) {
    json_t *entry = json_object_get(json_object_get(manifest, "tensors"), tensor);
    return json_array_get(json_object_get(entry, part), 0);
}

// The manifest is in order by itself, but does not describe the files.
static void a_manifest_of_something_else(void **state) {
    (void)state;
    char *folder = memory_format("%s/step-00000003", run);
    const struct {
        const char *key, *value, *why;
    } changes[] = {
        {"dataset", "parameters/nothing", "nothing"},
        {"dataset", "parameters", "parameters"},
        {"dataset", "parameters/wide", "another shape"},
        {"file", "note.txt", "note.txt"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        comm_barrier(world);
        original o = keep(folder, MANIFEST_FILE), seal = keep(folder, MANIFEST_SEAL);
        comm_barrier(world);
        if (root()) {
            json_t *manifest = json_parse(o.data, o.size, "manifest", &err);
            json_object_set_new(first_piece(manifest, "vector", "parameters"), changes[i].key,
                                json_string(changes[i].value));
            char *text = json_format(manifest, true, NULL);
            put_sealed(&o, folder, text);
            memory_free(text);
            json_decref(manifest);
        }
        REQUIRE(!open_and_load(folder));
        REQUIRE(err.kind == ERROR_DAMAGED);
        if (!strstr(err.text, changes[i].why)) FATAL("no %s in: %s", changes[i].why, err.text);
        restore(&seal);
        restore(&o);
    }
    REQUIRE(open_and_load(folder));
    memory_free(folder);
}

// A shard whose checksum matches but whose datasets are not what the manifest says.
static void a_shard_of_something_else(void **state) {
    (void)state;
    char *folder = memory_format("%s/step-00000003", run), *path = memory_format("%s/stranger.h5", folder);
    const int64_t shape[] = {23};
    const int32_t data[23] = {0};
    for (int kind = 0; kind < 3; kind++) {
        comm_barrier(world);
        original o = keep(folder, MANIFEST_FILE), seal = keep(folder, MANIFEST_SEAL);
        comm_barrier(world);
        if (root()) {
            h5_file *file = h5_create(path, &err);
            REQUIRE(file && h5_write(file, "parameters/vector", kind == 0 ? H5_INT32 : H5_FLOAT32, 1,
                                     kind == 1 ? &(int64_t){22} : shape, data, &err));
            must(h5_close(file, &err), &err);
            char checksum[CHECKSUM_SIZE];
            must(checksum_file(checksum, path, &err), &err);
            json_t *manifest = json_parse(o.data, o.size, "manifest", &err);
            json_object_set_new(json_object_get(manifest, "files"), "stranger.h5",
                                json_pack("{s:I, s:s}", "bytes", (json_int_t)file_size(path), "xxh3_128", checksum));
            json_t *entry = json_object_get(json_object_get(manifest, "tensors"), "vector");
            json_object_set_new(entry, "parameters",
                                json_pack("[{s:s, s:s, s:[i], s:[i]}]", "file", "stranger.h5", "dataset",
                                          "parameters/vector", "offset", 0, "size", 23));
            char *text = json_format(manifest, true, NULL);
            put_sealed(&o, folder, text);
            memory_free(text);
            json_decref(manifest);
        }
        bool loaded = open_and_load(folder);
        REQUIRE(loaded == (kind == 2)); // the third is as it should be
        REQUIRE(loaded || (err.kind == ERROR_DAMAGED && strstr(err.text, "parameters/vector")));
        restore(&seal);
        restore(&o);
    }
    memory_free(path);
    memory_free(folder);
}

// A few hundred manifests with one or two bytes changed, sealed: nobody crashes, and a message comes where one should.
static void random_manifests(void **state) {
    (void)state;
    static const char bytes[] = "0123456789-{}[],:\"ae/. ";
    char *folder = memory_format("%s/step-00000003", run);
    original o = keep(folder, MANIFEST_FILE), seal = keep(folder, MANIFEST_SEAL);
    random_stream stream = random_stream_create(3, RANDOM_TEST, 0, 0);
    comm_barrier(world);
    int refused = 0;
    for (uint32_t turn = 0; turn < 300; turn++) {
        uint32_t random[4];
        random_block(random, stream, turn, 0, 0);
        char *text = memory_string(o.data);
        text[random[0] % o.size] = bytes[random[1] % (sizeof bytes - 1)];
        if (turn % 2) text[random[2] % o.size] = bytes[random[3] % (sizeof bytes - 1)];
        if (root()) put_sealed(&o, folder, text);
        memory_free(text);
        if (!open_and_load(folder)) {
            refused++;
            REQUIRE(err.kind != ERROR_NONE && err.kind != ERROR_INTERNAL && err.text[0]);
        }
        comm_barrier(world);
    }
    REQUIRE(refused > 150);
    restore(&seal);
    restore(&o);
    REQUIRE(open_and_load(folder));
    memory_free(folder);
}

// ---- what people are told -----------------------------------------------------------------------------------------

static bool says(bool (*tell)(const char *, FILE *, error *), const char *path, const char *what) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool good = tell(path, out, &err);
    fclose(out);
    good = good && strstr(text, what);
    if (!good) printf("%s\n%s\n", text, err.text);
    free(text);
    return good;
}

static void lists_and_shows(void **state) {
    (void)state;
    if (root()) {
        char *folder = memory_format("%s/step-00000002", run);
        must(checkpoint_mark_best(run, 2, &err), &err);
        REQUIRE(says(checkpoint_list, run, "  latest\n"));
        REQUIRE(says(checkpoint_list, run, "  best\n"));
        REQUIRE(says(checkpoint_list, run, "step-00000003      20"));
        REQUIRE(says(checkpoint_show, run, "step 3\n"));
        REQUIRE(says(checkpoint_show, folder, "step 2\n"));
        REQUIRE(says(checkpoint_show, folder, "tall [700, 400], moments\n    shard-00000-of-"));
        REQUIRE(says(checkpoint_show, folder, comm_size(world) == 3 ? " [0:12, 6:13]\n" : " [0:12, 0:20]\n"));
        REQUIRE(says(checkpoint_show, folder, "\"labels\""));
        REQUIRE(says(checkpoint_verify, folder, "note.txt\n"));
        REQUIRE(!checkpoint_list(folder, stdout, &err) && err.kind == ERROR_INPUT);
        breakdown(3);
        memory_free(folder);
    } else
        comm_barrier(world); // breakdown's
    if (root()) {
        char *path = memory_format("%s/step-00000002/manifest.json", run);
        REQUIRE(unlink(path) == 0);
        REQUIRE(says(checkpoint_list, run, "step-00000002      damaged: "));
        memory_free(path);
    }
    comm_barrier(world);
}

// Not damaged, and nothing older is taken instead of it, not even where what `latest` names is damaged.
static void another_version_is_named(void **state) {
    (void)state;
    checkpoint k;
    char *folder = memory_format("%s/step-00000002", run);
    original o = keep(folder, MANIFEST_FILE);
    comm_barrier(world);
    if (root()) {
        json_t *manifest = json_parse(o.data, o.size, "manifest", &err);
        json_object_set_new(manifest, "version", json_integer(7));
        char *text = json_format(manifest, true, NULL);
        put_sealed(&o, folder, text);
        memory_free(text);
        json_decref(manifest);
    }
    comm_barrier(world);
    REQUIRE(!checkpoint_open(&k, world, folder, CHECKPOINT_LATEST, &err) && err.kind == ERROR_VERSION);
    REQUIRE(strstr(err.text, "step-00000002/manifest.json was written by format version 7; this paf reads up to 1"));
    expect_version(CHECKPOINT_LATEST, 3);
    breakdown(3);
    comm_barrier(world);
    for (int best = 0; best < 2; best++) {
        REQUIRE(!checkpoint_open(&k, world, run, best ? CHECKPOINT_BEST : CHECKPOINT_LATEST, &err) &&
                err.kind == ERROR_VERSION);
        REQUIRE(strstr(err.text, "step-00000002"));
    }
    if (root()) {
        REQUIRE(says(checkpoint_list, run, "step-00000002      version: "));
        REQUIRE(!verify(folder) && err.kind == ERROR_VERSION);
        REQUIRE(!verify(run) && err.kind == ERROR_DAMAGED && strstr(err.text, "step-00000003"));
    }
    breakdown(1); // damage weighs more, wherever it comes
    if (root()) {
        char *third = memory_format("%s/step-00000003", run);
        must(file_remove_tree(third, &err), &err);
        REQUIRE(!verify(run) && err.kind == ERROR_DAMAGED && strstr(err.text, "step-00000001"));
        memory_free(third);
    }
    memory_free(o.path);
    memory_free(o.data);
    memory_free(folder);
    comm_barrier(world);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_damage_to_any_file, setup, teardown),
        cmocka_unit_test_setup_teardown(the_one_before_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_one_is_named_in_a_warning, setup, teardown),
        cmocka_unit_test_setup_teardown(pointers, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_manifest_of_something_else, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_of_something_else, setup, teardown),
        cmocka_unit_test_setup_teardown(random_manifests, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_and_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(another_version_is_named, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
