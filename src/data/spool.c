// Spools: what each rank has made of its files. Written once, read by all, gone before the shards have their name.
#include "data/internal.h"

#include <errno.h>
#include <string.h>

char *spool_folder(const shards_job *job) { return memory_format("%s.tmp/spool", job->output); }

static FILE *spool_open(const shards_job *job, int64_t rank, const char *what, const char *mode, error *err) {
    char *path = memory_format("%s.tmp/spool/%05lld.%s", job->output, (long long)rank, what);
    FILE *file = fopen(path, mode);
    if (!file) error_set(err, ERROR_INTERNAL, "cannot open %s: %s", path, strerror(errno));
    memory_free(path);
    return file;
}

// ---- writing -------------------------------------------------------------------------------------------------------

typedef struct {
    const shards_job *job;
    FILE *documents, *tokens;
    document text;
    int32_t *ids; // of one document
    size_t n, capacity;
    int64_t *lengths; // of its lines
    size_t lines, lines_capacity;
} spool_writer;

static bool write_numbers(FILE *file, const void *data, size_t size, size_t n, error *err) {
    return fwrite(data, size, n, file) == n ||
           error_set(err, ERROR_INTERNAL, "cannot write the spool: %s", strerror(errno));
}

// Turns the lines of w->text into ids. A line without any, such as one of control characters, is none.
static int64_t tokenize_document(spool_writer *w) {
    const char *line;
    size_t at = 0, length;
    int64_t replaced = 0;
    w->n = w->lines = 0;
    while (text_next_line(w->text.text, w->text.size, &at, &line, &length)) {
        size_t got = tokenizer_encode(w->job->tok, line, length, &w->ids, &w->n, &w->capacity, &replaced);
        if (got == 0) continue;
        w->lengths = memory_grow(w->lengths, w->lines, &w->lines_capacity, sizeof *w->lengths);
        w->lengths[w->lines++] = (int64_t)got;
    }
    return replaced;
}

static bool write_document(spool_writer *w, error *err) {
    spool_document record = {.replaced = tokenize_document(w)};
    record.split = corpus_split(&w->text, w->job->heldout);
    record.lines = (int64_t)w->lines;
    record.tokens = (int64_t)w->n;
    if (w->lines == 0) return true;
    return write_numbers(w->documents, &record, sizeof record, 1, err) &&
           write_numbers(w->tokens, w->lengths, sizeof *w->lengths, w->lines, err) &&
           write_numbers(w->tokens, w->ids, sizeof *w->ids, w->n, err);
}

static bool write_file(spool_writer *w, const char *path, error *err) {
    corpus_reader r;
    bool good = corpus_open(&r, path, w->job->form, err);
    while (good && corpus_next(&r, &w->text, err)) good = write_document(w, err);
    corpus_close(&r);
    return good && err->kind == ERROR_NONE;
}

// What is still in a buffer may find the disk full.
static bool finish(FILE *file, bool good, error *err) {
    if (!file || fclose(file) == 0) return good;
    return good && error_set(err, ERROR_INTERNAL, "cannot write the spool: %s", strerror(errno));
}

bool shards_spool(const shards_job *job, char *const *files, size_t n, void (*progress)(int64_t done, int64_t wanted),
                  error *err) {
    int64_t done = 0, wanted = 0;
    for (size_t i = 0; i < n; i++) wanted += file_size(files[i]);
    spool_writer w = {.job = job};
    w.documents = spool_open(job, job->rank, "documents", "wb", err);
    bool good = w.documents && (w.tokens = spool_open(job, job->rank, "tokens", "wb", err));
    for (size_t i = 0; good && i < n; i++) {
        good = write_file(&w, files[i], err);
        done += file_size(files[i]);
        if (good && progress) progress(done, wanted);
    }
    good = finish(w.documents, good, err);
    good = finish(w.tokens, good, err);
    memory_free(w.text.text);
    memory_free(w.ids);
    memory_free(w.lengths);
    return good;
}

// ---- reading -------------------------------------------------------------------------------------------------------

static bool fail_reading(const spool_reader *r, error *err) {
    return error_set(err, ERROR_INTERNAL, "cannot read the spool of rank %lld: %s", (long long)r->rank,
                     errno ? strerror(errno) : "it ends too soon");
}

// Closes the files of the current rank.
static void leave(spool_reader *r) {
    if (r->documents) fclose(r->documents);
    if (r->tokens) fclose(r->tokens);
    r->documents = r->tokens = NULL;
}

static bool enter(spool_reader *r, error *err) {
    r->at = r->reached = 0;
    r->current = (spool_document){0};
    return (r->documents = spool_open(r->job, r->rank, "documents", "rb", err)) &&
           (r->tokens = spool_open(r->job, r->rank, "tokens", "rb", err));
}

static int64_t bytes_of(const spool_document *d) {
    return d->lines * (int64_t)sizeof(int64_t) + d->tokens * (int64_t)sizeof(int32_t);
}

bool spool_next(spool_reader *r, error *err) {
    for (; r->rank < r->job->ranks; r->rank++) {
        if (!r->documents && !enter(r, err)) return false;
        r->at += bytes_of(&r->current);
        errno = 0;
        size_t got = fread(&r->current, 1, sizeof r->current, r->documents);
        if (got == sizeof r->current) return true;
        if (got > 0 || ferror(r->documents)) return fail_reading(r, err);
        leave(r);
    }
    return false;
}

bool spool_read(spool_reader *r, int64_t *lengths, int32_t *ids, error *err) {
    size_t lines = (size_t)r->current.lines, tokens = (size_t)r->current.tokens;
    errno = 0;
    if ((r->at != r->reached && fseeko(r->tokens, r->at, SEEK_SET) != 0) ||
        fread(lengths, sizeof *lengths, lines, r->tokens) != lines ||
        fread(ids, sizeof *ids, tokens, r->tokens) != tokens)
        return fail_reading(r, err);
    r->reached = r->at + bytes_of(&r->current);
    return true;
}

void spool_close(spool_reader *r) { leave(r); }
