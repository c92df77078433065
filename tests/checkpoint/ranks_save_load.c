// Any number of ranks writes, in any layout, and any other number reads, in any other.
// ranks: 1 2 3 4

#include "tables.h"

static comm *world;
static error err;

// The first n ranks of the world as a communicator; NULL on the others. Collective over the world.
static comm *first_ranks(int n) {
    bool in = comm_rank(world) < n;
    comm *part = comm_split(world, in ? 0 : 1, comm_rank(world));
    if (in) return part;
    comm_free(part);
    return NULL;
}

static void read_in_every_layout(comm *readers, const char *run, int step) {
    checkpoint k;
    must(checkpoint_open(&k, readers, run, CHECKPOINT_LATEST, &err), &err);
    REQUIRE(k.step == step);
    for (int layout = 0; layout < LAYOUTS; layout++) REQUIRE(table_holds(&k, readers, step, layout));
    checkpoint_close(&k);
}

static void every_layout_reads_every_other(void **state) {
    (void)state;
    char *run = shared_folder(world);
    int step = 0;
    for (int writing = 1; writing <= comm_size(world); writing++)
        for (int layout = 0; layout < LAYOUTS; layout++) {
            step++;
            comm *writers = first_ranks(writing);
            if (writers) must(table_save(writers, run, step, step, layout, &err), &err);
            comm_free(writers);
            for (int reading = 1; reading <= comm_size(world); reading++) {
                comm *readers = first_ranks(reading); // every rank comes here, so the writers have finished
                if (readers) read_in_every_layout(readers, run, step);
                comm_free(readers);
            }
        }
    remove_shared_folder(world, run);
}

// What lies on the disk: a shard a rank that had something to write, and each element once.
static void what_is_written(void **state) {
    (void)state;
    char *run = shared_folder(world), *folder = memory_format("%s/step-00000007", run);
    must(table_save(world, run, 7, 1, LAYOUT_PAIRS, &err), &err);
    comm_barrier(world);
    REQUIRE(names_are(run, "latest step-00000007"));
    static const char *const shards[] = {"", "shard-00000-of-00001.h5", "shard-00000-of-00002.h5",
                                         "shard-00000-of-00003.h5 shard-00002-of-00003.h5",
                                         "shard-00000-of-00004.h5 shard-00002-of-00004.h5"};
    char *wanted = memory_format("manifest.json manifest.xxh3 note.txt %s", shards[comm_size(world)]);
    REQUIRE(names_are(folder, wanted));
    memory_free(wanted);
    char *path = memory_format("%s/latest", run), *latest = text_read(path, NULL, &err);
    REQUIRE(latest && !strcmp(latest, "step-00000007\n"));
    memory_free(latest);
    memory_free(path);

    path = memory_format("%s/manifest.json", folder);
    json_t *manifest = json_read(path, &err), *tensors = json_object_get(manifest, "tensors"), *entry;
    must(manifest != NULL, &err);
    REQUIRE(json_object_size(tensors) == TABLE_TENSORS);
    REQUIRE(!strcmp(json_string_value(json_object_get(manifest, "program")), "paf " PAF_VERSION));
    int64_t bytes = 0, elements = 0;
    const char *name;
    json_object_foreach(json_object_get(manifest, "files"), name, entry) if (strstr(name, "shard")) bytes +=
        json_integer_value(json_object_get(entry, "bytes"));
    for (size_t i = 0; i < TABLE_TENSORS; i++) elements += table_tensors[i].rows * table_tensors[i].columns;
    REQUIRE(bytes >= 3 * 4 * elements && bytes < 3 * 4 * elements + 40000); // no element is there twice
    json_decref(manifest);
    memory_free(path);
    memory_free(folder);
    remove_shared_folder(world, run);
}

static void a_step_is_written_again(void **state) {
    (void)state;
    char *run = shared_folder(world);
    checkpoint k;
    for (int version = 1; version <= 3; version++) {
        must(table_save(world, run, 5, version, LAYOUT_ROWS, &err), &err);
        must(checkpoint_open(&k, world, run, CHECKPOINT_LATEST, &err), &err);
        REQUIRE(k.step == 5 && table_holds(&k, world, version, LAYOUT_COLUMNS));
        checkpoint_close(&k);
        REQUIRE(names_are(run, "latest step-00000005"));
        comm_barrier(world);
    }
    remove_shared_folder(world, run);
}

// ---- what does not fit --------------------------------------------------------------------------------------------

static bool skip_vector(const char *name, void *context) {
    *(int *)context += 1;
    return !strcmp(name, "vector");
}

// A table like the others', but its vector has another length and there is a tensor more.
static parameter_table other_table(bool extra) {
    parameter_table table = {0};
    int rank = comm_rank(world), size = comm_size(world);
    for (size_t i = 0; i < TABLE_TENSORS; i++) {
        table_tensor t = table_tensors[i];
        if (!strcmp(t.name, "vector")) t.rows++;
        table_add(&table, &t, i, LAYOUT_ROWS, rank, size);
    }
    if (extra) table_add(&table, &(table_tensor){"classifier.weight", 2, 3, 4}, 9, LAYOUT_WHOLE, rank, size);
    parameter_allocate(&table, false, true);
    table_fill(&table, 50, true);
    return table;
}

static void what_does_not_fit_is_named_or_skipped(void **state) {
    (void)state;
    char *run = shared_folder(world);
    must(table_save(world, run, 1, 1, LAYOUT_MIXED, &err), &err);
    checkpoint k;
    must(checkpoint_open(&k, world, run, CHECKPOINT_LATEST, &err), &err);

    parameter_table table = other_table(false);
    REQUIRE(!checkpoint_load(&k, world, &table, true, NULL, NULL, &err));
    REQUIRE(err.kind == ERROR_INPUT && strstr(err.text, "vector") && strstr(err.text, "23") && strstr(err.text, "24"));
    int asked = 0;
    must(checkpoint_load(&k, world, &table, true, skip_vector, &asked, &err), &err);
    REQUIRE(asked == 1);
    for (size_t i = 0; i < table.n; i++) // the skipped one stayed as it was
        REQUIRE(table_is_row(&table, i, strcmp(table.rows[i].name, "vector") ? 1 : 50, true));
    parameter_destroy(&table);

    table = other_table(true);
    REQUIRE(!checkpoint_load(&k, world, &table, true, skip_vector, &asked, &err));
    REQUIRE(err.kind == ERROR_INPUT && strstr(err.text, "no tensor classifier.weight"));
    parameter_destroy(&table);
    checkpoint_close(&k);
    remove_shared_folder(world, run);
}

static void without_moments(void **state) {
    (void)state;
    char *run = shared_folder(world);
    parameter_table table = table_build(LAYOUT_COLUMNS, comm_rank(world), comm_size(world), false);
    table_fill(&table, 4, false);
    must(checkpoint_save(world, run, 1, &table, false, NULL, NULL, 0, &err), &err);
    table_fill(&table, 5, false);
    checkpoint k;
    must(checkpoint_open(&k, world, run, CHECKPOINT_LATEST, &err), &err);
    must(checkpoint_load(&k, world, &table, false, NULL, NULL, &err), &err);
    REQUIRE(table_is(&table, 4, false));
    REQUIRE(json_is_object(k.state) && json_object_size(k.state) == 0);
    parameter_destroy(&table);

    table = table_build(LAYOUT_ROWS, comm_rank(world), comm_size(world), true);
    REQUIRE(!checkpoint_load(&k, world, &table, true, NULL, NULL, &err));
    REQUIRE(err.kind == ERROR_INPUT && strstr(err.text, "moments"));
    size_t size;
    REQUIRE(!checkpoint_read_file(&k, "vocab.txt", &size, &err) && strstr(err.text, "vocab.txt"));
    REQUIRE(!checkpoint_read_file(&k, "../latest", &size, &err));
    parameter_destroy(&table);
    checkpoint_close(&k);

    // a checkpoint with moments serves those who want none
    must(table_save(world, run, 2, 6, LAYOUT_ROWS, &err), &err);
    table = table_build(LAYOUT_MIXED, comm_rank(world), comm_size(world), false);
    must(checkpoint_open(&k, world, run, CHECKPOINT_LATEST, &err), &err);
    must(checkpoint_load(&k, world, &table, false, NULL, NULL, &err), &err);
    REQUIRE(table_is(&table, 6, false));
    parameter_destroy(&table);
    checkpoint_close(&k);
    remove_shared_folder(world, run);
}

// ---- what cannot be saved -----------------------------------------------------------------------------------------

// A vector of 10 elements of which this rank has [first, first + count).
static bool save_vector(const char *run, const char *name, int64_t rows, int64_t first, int64_t count, bool writer) {
    parameter_table table = {0};
    parameter_add(&table, name, 1, rows, 1, SPLIT_ROWS, first, count, writer, true, INITIAL_ZERO);
    parameter_allocate(&table, false, false);
    bool good = checkpoint_save(world, run, 3, &table, false, NULL, NULL, 0, &err);
    parameter_destroy(&table);
    return good;
}

static void expect_refusal(bool saved, const char *run, const char *why) {
    REQUIRE(!saved);
    REQUIRE(err.kind == ERROR_INTERNAL && strstr(err.text, why));
    REQUIRE(names_are(run, "latest step-00000001"));
    comm_barrier(world);
}

static void what_is_not_one_tensor_is_refused(void **state) {
    (void)state;
    char *run = shared_folder(world);
    int rank = comm_rank(world), last = comm_size(world) - 1;
    must(table_save(world, run, 1, 1, LAYOUT_ROWS, &err), &err);

    expect_refusal(save_vector(run, "a/b", 10, 0, rank == last ? 10 : 0, true), run, "a/b");
    expect_refusal(save_vector(run, "", 10, 0, rank == last ? 10 : 0, true), run, "name");
    expect_refusal(save_vector(run, ".", 10, 0, rank == last ? 10 : 0, true), run, "name");
    expect_refusal(save_vector(run, "caf\xc3\xa9", 10, 0, rank == last ? 10 : 0, true), run, "name");
    expect_refusal(save_vector(run, "v", 10, 0, 10, false), run, "no rank writes v");
    expect_refusal(save_vector(run, "v", 10, 1, rank == last ? 9 : 0, true), run, "every element once");
    if (last > 0) {
        expect_refusal(save_vector(run, "v", 10, 0, rank == 0 || rank == last ? 10 : 0, true), run,
                       "every element once");
        expect_refusal(save_vector(run, "v", 10, rank ? 4 : 0, rank == 0 || rank == last ? 5 : 0, true), run,
                       "every element once"); // as many elements as there should be, one twice, one never
        expect_refusal(save_vector(run, "v", rank ? 11 : 10, 0, rank == 0 || rank == last ? 5 : 0, true), run,
                       "different shapes");
    }
    must(save_vector(run, "v", 10, 0, rank == last ? 10 : 0, true), &err); // and this is how it should be
    REQUIRE(names_are(run, "latest step-00000001 step-00000003"));
    remove_shared_folder(world, run);
}

static void files_that_cannot_come_along(void **state) {
    (void)state;
    char *run = shared_folder(world);
    must(table_save(world, run, 1, 1, LAYOUT_ROWS, &err), &err);
    parameter_table table = table_build(LAYOUT_ROWS, comm_rank(world), comm_size(world), true);
    char *shard = memory_format("shard-00000-of-%05d.h5", comm_size(world));
    const char *names[] = {"../evil", "a/b", ".hidden", "", "manifest.json", "manifest.xxh3", "twice", shard};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const checkpoint_file files[] = {{"twice", "x", 1}, {names[i], "y", 1}};
        expect_refusal(checkpoint_save(world, run, 2, &table, true, NULL, files, 2, &err), run,
                       strstr(names[i], "manifest") ? "name that no file may have" : "no file can be saved");
    }
    memory_free(shard);
    parameter_destroy(&table);

    // a run folder that cannot be
    char *below = memory_format("%s/latest/run", run);
    REQUIRE(!table_save(world, below, 1, 1, LAYOUT_ROWS, &err));
    REQUIRE(strstr(err.text, "latest"));
    memory_free(below);
    remove_shared_folder(world, run);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    world = comm_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_reads_every_other),
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(a_step_is_written_again),
        cmocka_unit_test(what_does_not_fit_is_named_or_skipped),
        cmocka_unit_test(without_moments),
        cmocka_unit_test(what_is_not_one_tensor_is_refused),
        cmocka_unit_test(files_that_cannot_come_along),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish();
    return failed;
}
