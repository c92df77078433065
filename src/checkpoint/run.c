// The run folder: which checkpoints there are, which to trust first, which to remove.
#include "checkpoint/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- names --------------------------------------------------------------------------------------------------------

void checkpoint_step_name(char out[CHECKPOINT_NAME_SIZE], int64_t step) {
    snprintf(out, CHECKPOINT_NAME_SIZE, "step-%08lld", (long long)step);
}

bool checkpoint_parse_name(const char *name, const char *suffix, int64_t *step) {
    char *end, again[CHECKPOINT_NAME_SIZE];
    if (strncmp(name, "step-", 5)) return false;
    long long number = strtoll(name + 5, &end, 10);
    if (number < 0 || strcmp(end, suffix)) return false;
    checkpoint_step_name(again, number);
    if (strncmp(name, again, (size_t)(end - name)) || again[end - name]) return false; // one spelling only
    *step = number;
    return true;
}

bool checkpoint_is_folder(const char *path) {
    char *manifest = memory_format("%s/%s", path, MANIFEST_FILE), *name = memory_string(path);
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--) name[n - 1] = 0;
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    int64_t step;
    bool is = file_exists(manifest) || checkpoint_parse_name(last, "", &step) ||
              checkpoint_parse_name(last, ".old", &step) || checkpoint_parse_name(last, ".tmp", &step);
    memory_free(manifest);
    memory_free(name);
    return is;
}

static char *path_with(const char *run, int64_t step, const char *suffix) {
    char name[CHECKPOINT_NAME_SIZE];
    checkpoint_step_name(name, step);
    return memory_format("%s/%s%s", run, name, suffix);
}

char *checkpoint_step_path(const char *run, int64_t step) {
    char *path = path_with(run, step, ""), *old = path_with(run, step, ".old");
    if (!file_exists(path) && file_exists(old)) {
        memory_free(path);
        return old;
    }
    memory_free(old);
    return path;
}

// ---- latest and best ----------------------------------------------------------------------------------------------

int64_t checkpoint_pointer(const char *run, const char *pointer) {
    char *path = memory_format("%s/%s", run, pointer);
    error ignored;
    int64_t step = -1;
    char *text = text_read(path, NULL, &ignored);
    if (text) {
        text[strcspn(text, "\r\n")] = 0;
        if (!checkpoint_parse_name(text, "", &step)) step = -1;
    }
    memory_free(text);
    memory_free(path);
    return step;
}

bool checkpoint_point(const char *run, const char *pointer, int64_t step, error *err) {
    char name[CHECKPOINT_NAME_SIZE], *path = memory_format("%s/%s", run, pointer);
    checkpoint_step_name(name, step);
    size_t length = strlen(name);
    name[length] = '\n';
    bool good = file_write_atomic(path, name, length + 1, err);
    memory_free(path);
    return good;
}

bool checkpoint_mark_best(const char *run, int64_t step, error *err) {
    char *path = checkpoint_step_path(run, step);
    bool good = file_is_folder(path) || error_set(err, ERROR_INPUT, "no checkpoint %s to call the best", path);
    memory_free(path);
    return good && checkpoint_point(run, "best", step, err);
}

// ---- which there are ----------------------------------------------------------------------------------------------

static void free_names(char **names, size_t n) {
    for (size_t i = 0; i < n; i++) memory_free(names[i]);
    memory_free(names);
}

static int newer_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

// Moves the first `count` of n numbers behind the others; both keep their order.
static void move_to_end(int64_t *numbers, size_t n, size_t count) {
    int64_t *moved = memory_allocate(count, sizeof *moved);
    memcpy(moved, numbers, count * sizeof *moved);
    memmove(numbers, numbers + count, (n - count) * sizeof *numbers);
    memcpy(numbers + n - count, moved, count * sizeof *moved);
    memory_free(moved);
}

int64_t *checkpoint_steps(const char *run, size_t *n, error *err) {
    size_t names_n, capacity = 0, after = 0;
    char **names = file_list(run, &names_n, err);
    if (!names) return NULL;
    int64_t *steps = memory_grow(NULL, *n = 0, &capacity, sizeof *steps), step;
    for (size_t i = 0; i < names_n; i++) { // in order, so that step-N comes right before step-N.old
        if (!checkpoint_parse_name(names[i], "", &step) && !checkpoint_parse_name(names[i], ".old", &step)) continue;
        if (*n > 0 && steps[*n - 1] == step) continue;
        steps = memory_grow(steps, *n, &capacity, sizeof *steps);
        steps[(*n)++] = step;
    }
    free_names(names, names_n);
    qsort(steps, *n, sizeof *steps, newer_first);
    int64_t latest = checkpoint_pointer(run, "latest");
    while (latest >= 0 && after < *n && steps[after] > latest) after++;
    move_to_end(steps, *n, after);
    return steps;
}

bool checkpoint_exists(const char *run) {
    error ignored;
    size_t n = 0;
    int64_t *steps = checkpoint_steps(run, &n, &ignored);
    memory_free(steps);
    return n > 0;
}

// ---- cleaning up --------------------------------------------------------------------------------------------------

// Step N's old version: the only one if its replacement never got the name, else no longer wanted.
static bool settle_old(const char *run, const char *old, int64_t step, error *err) {
    char *path = path_with(run, step, "");
    bool good = file_exists(path) ? file_remove_tree(old, err) : file_rename(old, path, err);
    memory_free(path);
    return good;
}

bool checkpoint_clean(const char *run, error *err) {
    size_t n;
    char **names = file_list(run, &n, err);
    bool good = names != NULL;
    for (size_t i = 0; good && i < n; i++) {
        int64_t step;
        char *path = memory_format("%s/%s", run, names[i]);
        if (checkpoint_parse_name(names[i], ".tmp", &step)) good = file_remove_tree(path, err);
        if (checkpoint_parse_name(names[i], ".old", &step)) good = settle_old(run, path, step, err);
        memory_free(path);
    }
    if (names) free_names(names, n);
    return good;
}

// Under another name first: a checkpoint that is half removed must not look like a damaged one.
static bool discard(const char *run, int64_t step, error *err) {
    char *path = path_with(run, step, ""), *doomed = path_with(run, step, ".tmp");
    bool good = file_rename(path, doomed, err) && file_remove_tree(doomed, err);
    memory_free(path);
    memory_free(doomed);
    return good;
}

bool checkpoint_prune(const char *run, int64_t keep, error *err) {
    if (keep < 1) return error_set(err, ERROR_INPUT, "at least 1 checkpoint must be kept, not %lld", (long long)keep);
    if (!checkpoint_clean(run, err)) return false;
    size_t n;
    int64_t *steps = checkpoint_steps(run, &n, err), best = checkpoint_pointer(run, "best");
    bool good = steps != NULL;
    for (size_t i = (size_t)keep; good && i < n; i++)
        if (steps[i] != best) good = discard(run, steps[i], err);
    memory_free(steps);
    return good;
}
