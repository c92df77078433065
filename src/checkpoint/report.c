// What a person asks about checkpoints: which there are, what is in one, whether it is whole.
#include "checkpoint/internal.h"

#include <string.h>

// A size as a person reads it, into out[16].
static void format_bytes(char *out, int64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 5) value /= 1024, unit++;
    snprintf(out, 16, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static const char *text_member(const json_t *manifest, const char *key) {
    return json_string_value(json_object_get(manifest, key));
}

static int64_t total_bytes(const json_t *manifest) {
    int64_t bytes = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(json_object_get(manifest, "files"), name, entry) bytes +=
        json_integer_value(json_object_get(entry, "bytes"));
    return bytes;
}

// The manifest of one folder, read and checked here.
static json_t *read_manifest(const char *folder, error *err) {
    char *text = manifest_read_text(folder, err);
    json_t *manifest = text ? manifest_parse(text, folder, err) : NULL;
    memory_free(text);
    return manifest;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// What a checkpoint that cannot be read is called.
static const char *verdict(const error *err) { return err->kind == ERROR_VERSION ? "version" : "damaged"; }

// The steps of a run folder; it is an error if there are none. NULL and err then.
static int64_t *steps_of(const char *run, size_t *n, error *err) {
    if (!file_is_folder(run)) {
        error_set(err, ERROR_INPUT, "no run or checkpoint folder %s", run);
        return NULL;
    }
    int64_t *steps = checkpoint_steps(run, n, err);
    if (steps && *n == 0) {
        error_set(err, ERROR_INPUT, "no checkpoint in %s", run);
        memory_free(steps);
        return NULL;
    }
    return steps;
}

// ---- list ---------------------------------------------------------------------------------------------------------

static void list_one(const char *run, int64_t step, FILE *out) {
    char size[16], *folder = checkpoint_step_path(run, step);
    error err;
    json_t *manifest = read_manifest(folder, &err);
    if (manifest) {
        format_bytes(size, total_bytes(manifest));
        fprintf(out, "%-17s  %s  %11s%s%s\n", last_part(folder), text_member(manifest, "created"), size,
                checkpoint_pointer(run, "latest") == step ? "  latest" : "",
                checkpoint_pointer(run, "best") == step ? "  best" : "");
    } else
        fprintf(out, "%-17s  %s: %s\n", last_part(folder), verdict(&err), err.text);
    json_decref(manifest);
    memory_free(folder);
}

bool checkpoint_list(const char *run, FILE *out, error *err) {
    if (file_exists(run) && checkpoint_is_folder(run))
        return error_set(err, ERROR_INPUT, "%s is one checkpoint; list wants the run folder that holds it", run);
    size_t n;
    int64_t *steps = steps_of(run, &n, err);
    for (size_t i = 0; steps && i < n; i++) list_one(run, steps[i], out);
    memory_free(steps);
    return steps != NULL;
}

// ---- show ---------------------------------------------------------------------------------------------------------

// "[0:512, 0:1024]", as in Python
static void print_rectangle(FILE *out, const manifest_piece *piece, int dimensions) {
    for (int d = 0; d < dimensions; d++)
        fprintf(out, "%s%lld:%lld", d ? ", " : "[", (long long)piece->offset[d],
                (long long)(piece->offset[d] + piece->size[d]));
    fprintf(out, "]");
}

static void print_tensor(FILE *out, const json_t *manifest, const char *name) {
    manifest_tensor t;
    error ignored;
    REQUIRE(manifest_read_tensor(&t, manifest, name, name, &ignored));
    fprintf(out, "  %s [%lld", name, (long long)t.shape[0]);
    if (t.dimensions == 2) fprintf(out, ", %lld", (long long)t.shape[1]);
    fprintf(out, "]%s\n", t.n[PART_MOMENT1] ? ", moments" : "");
    for (size_t i = 0; i < t.n[PART_PARAMETERS]; i++) {
        fprintf(out, "    %s ", t.pieces[PART_PARAMETERS][i].file);
        print_rectangle(out, &t.pieces[PART_PARAMETERS][i], t.dimensions);
        fprintf(out, "\n");
    }
    manifest_free_tensor(&t);
}

static void show_manifest(FILE *out, const char *folder, const json_t *manifest) {
    char size[16], *state = json_format(json_object_get(manifest, "state"), true, NULL);
    const char *name;
    json_t *entry;
    format_bytes(size, total_bytes(manifest));
    fprintf(out, "checkpoint %s\nstep %lld\ncreated %s by %s\n%s in %zu files\n", folder,
            (long long)json_integer_value(json_object_get(manifest, "step")), text_member(manifest, "created"),
            text_member(manifest, "program"), size, json_object_size(json_object_get(manifest, "files")));
    fprintf(out, "state %sfiles\n", state);
    json_object_foreach(json_object_get(manifest, "files"), name, entry)
        fprintf(out, "  %s %lld %s\n", name, (long long)json_integer_value(json_object_get(entry, "bytes")),
                text_member(entry, "xxh3_128"));
    fprintf(out, "tensors\n");
    json_object_foreach(json_object_get(manifest, "tensors"), name, entry) print_tensor(out, manifest, name);
    memory_free(state);
}

// The folder that a path means: itself, or a run's most trusted checkpoint. Caller frees; NULL and err if there is
// none.
static char *folder_of(const char *path, error *err) {
    if (file_exists(path) && checkpoint_is_folder(path)) return memory_string(path);
    size_t n;
    int64_t *steps = steps_of(path, &n, err);
    char *folder = steps ? checkpoint_step_path(path, steps[0]) : NULL;
    memory_free(steps);
    return folder;
}

bool checkpoint_show(const char *path, FILE *out, error *err) {
    char *folder = folder_of(path, err);
    json_t *manifest = folder ? read_manifest(folder, err) : NULL;
    if (manifest) show_manifest(out, folder, manifest);
    bool good = manifest != NULL;
    json_decref(manifest);
    memory_free(folder);
    return good;
}

// ---- verify -------------------------------------------------------------------------------------------------------

// Prints a line a file; err is that of the first that is damaged, and the others are looked at all the same.
static bool verify_one(const char *folder, FILE *out, error *err) {
    json_t *manifest = read_manifest(folder, err), *entry;
    if (!manifest) {
        fprintf(out, "%s  %s\n", verdict(err), err->text);
        return false;
    }
    fprintf(out, "good     %s/%s\n", folder, MANIFEST_FILE);
    bool good = true;
    const char *name;
    json_object_foreach(json_object_get(manifest, "files"), name, entry) {
        error reason;
        bool fine = manifest_check_file(manifest, folder, name, &reason);
        if (fine)
            fprintf(out, "good     %s/%s\n", folder, name);
        else
            fprintf(out, "damaged  %s\n", reason.text);
        if (!fine && good) *err = reason;
        good = good && fine;
    }
    json_decref(manifest);
    return good;
}

// Of a run, err is that of the first damaged checkpoint, else of the first of another version.
bool checkpoint_verify(const char *path, FILE *out, error *err) {
    if (file_exists(path) && checkpoint_is_folder(path)) return verify_one(path, out, err);
    size_t n;
    int64_t *steps = steps_of(path, &n, err);
    bool good = steps != NULL;
    for (size_t i = 0; steps && i < n; i++) {
        error reason;
        char *folder = checkpoint_step_path(path, steps[i]);
        bool fine = verify_one(folder, out, &reason);
        if (!fine && (good || (err->kind == ERROR_VERSION && reason.kind == ERROR_DAMAGED))) *err = reason;
        good = good && fine;
        memory_free(folder);
    }
    memory_free(steps);
    return good;
}
