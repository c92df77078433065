#include "train/internal.h"

#include <errno.h>
#include <string.h>

static bool open_on_root(run *r, bool resume, error *err) {
    if (checkpoint_exists(r->path) && !resume)
        return error_set(err, ERROR_INPUT,
                         "%s holds a run already; go on with --run.resume=auto, or name another folder with --run.out",
                         r->path);
    if (!file_make_folders(r->path, err)) return false;
    char *path = memory_format("%s/lock", r->path);
    r->lock = file_lock(path, err);
    memory_free(path);
    return r->lock >= 0;
}

static bool open_metrics(run *r, const char *mode, error *err) {
    char *path = memory_format("%s/metrics.jsonl", r->path);
    r->metrics = fopen(path, mode);
    if (!r->metrics) error_set(err, ERROR_INPUT, "cannot write %s: %s", path, strerror(errno));
    memory_free(path);
    return r->metrics;
}

bool run_open(run *r, comm *world, const char *path, bool resume, error *err) {
    *r = (run){.root = comm_rank(world) == 0, .lock = -1};
    snprintf(r->path, sizeof r->path, "%s", path);
    if (r->root && open_on_root(r, resume, err)) open_metrics(r, checkpoint_exists(r->path) ? "a" : "w", err);
    return comm_agree(world, err);
}

bool run_write_settings(const run *r, comm *world, const option_table *tables, size_t n, error *err) {
    if (r->root) {
        char *path = memory_format("%s/config.ini", r->path), *text = option_write(tables, n);
        file_write_atomic(path, text, strlen(text), err);
        memory_free(text);
        memory_free(path);
    }
    return comm_agree(world, err);
}

bool run_rewind(run *r, int64_t step, error *err) {
    if (!r->root) return true;
    fclose(r->metrics);
    r->metrics = NULL;
    char *path = memory_format("%s/metrics.jsonl", r->path);
    size_t size, at = 0, length, kept = 0;
    char *text = text_read(path, &size, err);
    const char *line;
    while (text && text_next_line(text, size, &at, &line, &length)) {
        json_t *object = json_loadb(line, length, 0, NULL); // a line that was cut off is dropped too
        json_t *number = json_object_get(object, "step");
        if (json_is_integer(number) && json_integer_value(number) <= step) {
            memmove(text + kept, line, length);
            kept += length;
            text[kept++] = '\n';
        }
        json_decref(object);
    }
    bool ok = text && file_write_atomic(path, text, kept, err);
    memory_free(text);
    memory_free(path);
    return ok && open_metrics(r, "a", err);
}

void run_write_metrics(run *r, json_t *line) {
    if (r->root) {
        char *text = json_format(line, false, NULL);
        if (fprintf(r->metrics, "%s\n", text) < 0 || fflush(r->metrics))
            log_warn("cannot write %s/metrics.jsonl: %s", r->path, strerror(errno));
        memory_free(text);
    }
    json_decref(line);
}

bool run_write_results(run *r, json_t *results, error *err) {
    char *path = memory_format("%s/results.json", r->path);
    bool ok = !r->root || json_write(path, results, err);
    memory_free(path);
    json_decref(results);
    return ok;
}

void run_close(run *r) {
    if (r->metrics) fclose(r->metrics);
    if (r->lock >= 0) file_unlock(r->lock);
    *r = (run){.lock = -1};
}
