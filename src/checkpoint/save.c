// Writing: every rank a shard, rank 0 the manifest and the names. The order of things is the commit protocol:
//
//     1  rank 0     removes what a writer that died left behind, makes step-N.tmp/
//     2  each rank  writes its shard, fsyncs, reads it back, checks it, hashes it               agree
//     3  rank 0     writes the files that come along and the manifest, fsyncs them and step-N.tmp/
//     4  rank 0     renames step-N, if there is one, to step-N.old; fsyncs the run folder
//     5  rank 0     renames step-N.tmp to step-N; fsyncs the run folder
//     6  rank 0     replaces `latest`
//     7  rank 0     removes step-N.old                                                          agree
//
// Killed before 5, the run has the checkpoints it had before (of 4, readers take step-N.old for step-N); after 5, it
// has the new one. A failure undoes what was done.
#include "checkpoint/internal.h"

#include <string.h>
#include <time.h>

#define BLOCK_ELEMENTS ((int64_t)1 << 18) // read back at a time

// One save: what the caller gave, and where it goes.
typedef struct {
    const char *run;
    int64_t step;
    const parameter_table *table;
    int parts; // PARTS, or 1 without moments
    const json_t *state;
    const checkpoint_file *files;
    size_t n_files;
    char *folder, *draft, *old; // step-N, step-N.tmp, step-N.old
} saving;

static float *part_of(const parameter *p, manifest_part part) {
    return part == PART_PARAMETERS ? p->value + parameter_own_first(p) : part == PART_MOMENT1 ? p->moment1 : p->moment2;
}

static bool is_written_here(const parameter_table *table, const parameter *p) {
    return p->writer && !p->tied && !table->duplicate && parameter_own_count(p) > 0;
}

static char *dataset_name(const char *tensor, manifest_part part) {
    return memory_format("%s/%s", manifest_part_names[part], tensor);
}

// ---- a rank's shard -----------------------------------------------------------------------------------------------

typedef bool part_action(h5_file *file, const parameter *p, const char *dataset, const float *data, error *err);

// Does the same to everything that this rank writes, in the order of the table.
static bool for_each_part(const saving *s, h5_file *file, part_action *action, error *err) {
    bool good = true;
    for (size_t i = 0; good && i < s->table->n; i++) {
        const parameter *p = &s->table->rows[i];
        for (int part = 0; good && is_written_here(s->table, p) && part < s->parts; part++) {
            char *dataset = dataset_name(p->name, part);
            good = action(file, p, dataset, part_of(p, part), err);
            memory_free(dataset);
        }
    }
    return good;
}

static bool write_part(h5_file *file, const parameter *p, const char *dataset, const float *data, error *err) {
    REQUIRE(data);
    return h5_write(file, dataset, H5_FLOAT32, p->dimensions, (int64_t[]){p->own_rows, p->size[1]}, data, err);
}

// Reads a part back by blocks of rows and holds it against memory, bit by bit.
static bool check_part(h5_file *file, const parameter *p, const char *dataset, const float *data, error *err) {
    int dimensions;
    int64_t shape[2], width = p->size[1], height = BLOCK_ELEMENTS / width > 0 ? BLOCK_ELEMENTS / width : 1;
    if (!h5_shape(file, dataset, H5_FLOAT32, &dimensions, shape, err)) return false;
    bool good = dimensions == p->dimensions && shape[0] == p->own_rows && shape[1] == width;
    float *block = memory_allocate((size_t)(height * width), sizeof *block);
    for (int64_t row = 0; good && row < p->own_rows; row += height) {
        int64_t rows = p->own_rows - row < height ? p->own_rows - row : height;
        if (!h5_read(file, dataset, H5_FLOAT32, (int64_t[]){row, 0}, (int64_t[]){rows, width}, block, width, err)) {
            memory_free(block);
            return false;
        }
        good = !memcmp(block, data + row * width, (size_t)(rows * width) * sizeof *block);
    }
    memory_free(block);
    return good || error_set(err, ERROR_INTERNAL, "%s does not read back as it was written", dataset);
}

static bool write_shard(const saving *s, const char *path, error *err) {
    h5_file *file = h5_create(path, err);
    if (!file) return false;
    bool good = h5_write_note(file, "format", "a shard of a paf checkpoint, see manifest.json", err) &&
                for_each_part(s, file, write_part, err);
    return h5_close(file, err) && good;
}

static bool check_shard(const saving *s, const char *path, error *err) {
    h5_file *file = h5_open(path, err);
    if (!file) return false;
    bool good = for_each_part(s, file, check_part, err);
    return h5_close(file, good ? err : &(error){0}) && good;
}

static json_t *numbers(const int64_t *values, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_integer(values[i]));
    return list;
}

// What rank 0 needs to know of a shard: {"file", "entry": {"bytes", "xxh3_128"}, "rows": {NAME: {...}}}.
static char *describe_shard(const char *name, const char *path, const parameter_table *table, error *err) {
    char checksum[CHECKSUM_SIZE];
    if (!checksum_file(checksum, path, err)) return NULL;
    json_t *rows = json_object();
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        if (!is_written_here(table, p)) continue;
        const int64_t offset[] = {p->offset[0] + p->own_first, p->offset[1]}, size[] = {p->own_rows, p->size[1]};
        json_object_set_new(rows, p->name,
                            json_pack("{s:o, s:o, s:o}", "shape", numbers(p->shape, p->dimensions), "offset",
                                      numbers(offset, p->dimensions), "size", numbers(size, p->dimensions)));
    }
    json_t *shard = json_pack("{s:s, s:{s:I, s:s}, s:o}", "file", name, "entry", "bytes", (json_int_t)file_size(path),
                              "xxh3_128", checksum, "rows", rows);
    char *text = json_format(shard, false, NULL);
    json_decref(shard);
    return text;
}

// How many tensors this rank writes a piece of; -1 and err where a name is not fit for a file.
static int64_t count_pieces(const parameter_table *table, error *err) {
    int64_t n = 0;
    for (size_t i = 0; i < table->n; i++) {
        if (!file_is_plain_name(table->rows[i].name)) {
            error_set(err, ERROR_INTERNAL, "no tensor can be saved under the name \"%s\"", table->rows[i].name);
            return -1;
        }
        n += is_written_here(table, &table->rows[i]);
    }
    return n;
}

// Writes this rank's shard and returns its description, "" where the rank has nothing to write. NULL and err on
// failure.
static char *save_shard(const saving *s, comm *c, error *err) {
    int64_t pieces = count_pieces(s->table, err);
    if (pieces <= 0) return pieces < 0 ? NULL : memory_string("");
    char *name = memory_format("shard-%05d-of-%05d.h5", comm_rank(c), comm_size(c));
    char *path = memory_format("%s/%s", s->draft, name), *text = NULL;
    if (write_shard(s, path, err) && check_shard(s, path, err)) text = describe_shard(name, path, s->table, err);
    if (!text) err->kind = ERROR_INTERNAL;
    memory_free(path);
    memory_free(name);
    return text;
}

// ---- the manifest -------------------------------------------------------------------------------------------------

// Adds a shard's piece of one tensor to the tensor's entry, which is made by whoever comes first.
static bool add_row(json_t *tensors, const char *name, const json_t *row, const char *file, int parts, error *err) {
    json_t *entry = json_object_get(tensors, name), *shape = json_object_get(row, "shape");
    if (!entry) {
        entry = json_pack("{s:O, s:s}", "shape", shape, "dtype", "float32");
        for (int part = 0; part < parts; part++) json_object_set_new(entry, manifest_part_names[part], json_array());
        json_object_set_new(tensors, name, entry);
    }
    if (!json_equal(shape, json_object_get(entry, "shape")))
        return error_set(err, ERROR_INTERNAL, "ranks have different shapes for %s", name);
    for (int part = 0; part < parts; part++) {
        char *dataset = dataset_name(name, part);
        json_array_append_new(json_object_get(entry, manifest_part_names[part]),
                              json_pack("{s:s, s:s, s:O, s:O}", "file", file, "dataset", dataset, "offset",
                                        json_object_get(row, "offset"), "size", json_object_get(row, "size")));
        memory_free(dataset);
    }
    return true;
}

static bool add_shard(json_t *manifest, const char *text, int parts, error *err) {
    if (!*text) return true;
    json_t *shard = json_parse(text, strlen(text), "a rank's account of its shard", err), *row;
    if (!shard) return false;
    json_t *tensors = json_object_get(manifest, "tensors");
    const char *file = json_string_value(json_object_get(shard, "file")), *name;
    json_object_set(json_object_get(manifest, "files"), file, json_object_get(shard, "entry"));
    bool good = true;
    json_object_foreach(json_object_get(shard, "rows"), name, row) {
        good = add_row(tensors, name, row, file, parts, err);
        if (!good) break;
    }
    json_decref(shard);
    return good;
}

static json_t *new_manifest(const saving *s) {
    char created[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return json_pack("{s:s, s:i, s:s, s:s, s:I, s:o, s:{}, s:{}}", "format", MANIFEST_FORMAT, "version",
                     MANIFEST_VERSION, "program", "paf " PAF_VERSION, "created", created, "step", (json_int_t)s->step,
                     "state", s->state ? json_deep_copy(s->state) : json_object(), "files", "tensors");
}

// Every tensor of the table must have been written by somebody, whole and once.
static bool check_complete(const json_t *manifest, const parameter_table *table, error *err) {
    const json_t *tensors = json_object_get(manifest, "tensors");
    for (size_t i = 0; i < table->n; i++)
        if (!json_object_get(tensors, table->rows[i].name))
            return error_set(err, ERROR_INTERNAL, "no rank writes %s", table->rows[i].name);
    return manifest_check(manifest, "what was written", err) || (err->kind = ERROR_INTERNAL, false);
}

// ---- rank 0 -------------------------------------------------------------------------------------------------------

// Writes a file into the draft and reads it back. out is its checksum.
static bool write_file(char out[CHECKSUM_SIZE], const char *draft, const char *name, const char *data, size_t size,
                       error *err) {
    char again[CHECKSUM_SIZE], *path = memory_format("%s/%s", draft, name);
    checksum_bytes(out, data, size);
    bool good =
        file_write_atomic(path, data, size, err) && checksum_file(again, path, err) &&
        (!strcmp(out, again) || error_set(err, ERROR_INTERNAL, "%s does not read back as it was written", path));
    memory_free(path);
    return good;
}

static bool write_files(const saving *s, json_t *manifest, error *err) {
    char checksum[CHECKSUM_SIZE];
    json_t *list = json_object_get(manifest, "files");
    for (size_t i = 0; i < s->n_files; i++) {
        const checkpoint_file *f = &s->files[i];
        if (!file_is_plain_name(f->name) || json_object_get(list, f->name))
            return error_set(err, ERROR_INTERNAL, "no file can be saved under the name \"%s\"", f->name);
        if (!write_file(checksum, s->draft, f->name, f->data, f->size, err)) return false;
        json_object_set_new(list, f->name, json_pack("{s:I, s:s}", "bytes", (json_int_t)f->size, "xxh3_128", checksum));
    }
    return true;
}

static bool write_manifest(const saving *s, const json_t *manifest, error *err) {
    char ignored[CHECKSUM_SIZE];
    size_t size;
    char *text = json_format(manifest, true, &size), *seal = checksum_seal(MANIFEST_FILE, text, size);
    bool good = write_file(ignored, s->draft, MANIFEST_FILE, text, size, err) &&
                write_file(ignored, s->draft, MANIFEST_SEAL, seal, strlen(seal), err);
    memory_free(seal);
    memory_free(text);
    return good;
}

// Undoes what commit did, from what it finds: the new folder becomes a draft again, the old one gets its name back.
static void roll_back(const saving *s) {
    error ignored;
    if (file_exists(s->folder) && !file_exists(s->draft)) file_rename(s->folder, s->draft, &ignored);
    if (file_exists(s->old) && !file_exists(s->folder)) file_rename(s->old, s->folder, &ignored);
}

static bool commit(const saving *s, error *err) {
    bool good = (!file_exists(s->folder) || file_rename(s->folder, s->old, err)) &&
                file_rename(s->draft, s->folder, err) && checkpoint_point(s->run, "latest", s->step, err);
    if (good)
        file_remove_tree(s->old, &(error){0}); // what stays of it, the next save removes
    else
        roll_back(s);
    return good;
}

static bool begin(const saving *s, error *err) {
    return file_make_folders(s->run, err) && checkpoint_clean(s->run, err) && file_make_folders(s->draft, err);
}

// All shards are there: shards [n] are the ranks' descriptions.
static bool complete(const saving *s, char *const *shards, int n, error *err) {
    json_t *manifest = new_manifest(s);
    bool good = true;
    for (int rank = 0; good && rank < n; rank++) good = add_shard(manifest, shards[rank], s->parts, err);
    good = good && write_files(s, manifest, err) && check_complete(manifest, s->table, err) &&
           write_manifest(s, manifest, err) && commit(s, err);
    json_decref(manifest);
    return good;
}

// ---- all ranks ----------------------------------------------------------------------------------------------------

static bool save_together(const saving *s, comm *c, error *err) {
    bool root = comm_rank(c) == 0;
    if (root) begin(s, err);
    if (!comm_agree(c, err)) return false;
    char *shard = save_shard(s, c, err);
    if (comm_agree(c, err)) {
        char **shards = comm_gather_texts(c, shard);
        if (root) complete(s, shards, comm_size(c), err);
        for (int rank = 0; rank < comm_size(c); rank++) memory_free(shards[rank]);
        memory_free(shards);
    }
    memory_free(shard);
    return comm_agree(c, err);
}

bool checkpoint_save(comm *c, const char *run, int64_t step, const parameter_table *table, bool moments,
                     const json_t *state, const checkpoint_file *files, size_t n_files, error *err) {
    REQUIRE(step >= 0 && (!state || json_is_object(state)));
    char name[CHECKPOINT_NAME_SIZE];
    checkpoint_step_name(name, step);
    saving s = {.run = run,
                .step = step,
                .table = table,
                .parts = moments ? PARTS : PART_PARAMETERS + 1,
                .state = state,
                .files = files,
                .n_files = n_files,
                .folder = memory_format("%s/%s", run, name),
                .draft = memory_format("%s/%s.tmp", run, name),
                .old = memory_format("%s/%s.old", run, name)};
    error_clear(err);
    bool good = save_together(&s, c, err);
    if (!good) {
        if (comm_rank(c) == 0) file_remove_tree(s.draft, &(error){0});
        comm_barrier(c); // no rank goes on before it is gone
        error_prefix(err, "cannot save %s", s.folder);
    }
    memory_free(s.folder);
    memory_free(s.draft);
    memory_free(s.old);
    return good;
}
