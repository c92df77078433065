// Documents of text files, read line by line: a file may be larger than memory, a document may not.
#include "data/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const document_form_words[] = {"auto", "file", "blank", "doc", NULL};

bool corpus_open(corpus_reader *r, const char *path, document_form form, error *err) {
    *r = (corpus_reader){.path = path, .form = form, .file = fopen(path, "rb")};
    return r->file || error_set(err, ERROR_INPUT, "cannot open %s: %s", path, strerror(errno));
}

void corpus_close(corpus_reader *r) {
    if (r->file) fclose(r->file);
    free(r->line); // foreign memory: getline's
    *r = (corpus_reader){0};
}

// ---- lines ---------------------------------------------------------------------------------------------------------

static bool is_blank(const char *line, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (line[i] != ' ' && (line[i] < '\t' || line[i] > '\r')) return false;
    return true;
}

bool document_begins(const char *line, size_t length) { return length >= 5 && !memcmp(line, "<doc ", 5); }

bool document_ends(const char *line, size_t length) { return length == 6 && !memcmp(line, "</doc>", 6); }

// The next line; false at the end of the file, and with err where it cannot be read.
static bool read_line(corpus_reader *r, const char **line, size_t *length, error *err) {
    errno = 0;
    ssize_t got = getline(&r->line, &r->line_capacity, r->file);
    if (got < 0) {
        if (errno == ENOMEM) FATAL("out of memory for a line of %s", r->path);
        if (ferror(r->file)) error_set(err, ERROR_INPUT, "cannot read %s: %s", r->path, strerror(errno));
        return false;
    }
    *line = r->line;
    *length = (size_t)got;
    if (*length > 0 && (*line)[*length - 1] == '\n') {
        (*length)--;
        if (*length > 0 && (*line)[*length - 1] == '\r') (*length)--;
    }
    if (!r->started && *length >= 3 && !memcmp(*line, "\xef\xbb\xbf", 3)) *line += 3, *length -= 3; // byte order mark
    r->started = true;
    return true;
}

// ---- documents -----------------------------------------------------------------------------------------------------

static void add_line(document *d, const char *line, size_t length) {
    size_t wanted = d->size + length + 1;
    if (wanted > d->capacity) {
        d->capacity = wanted > 2 * d->capacity ? wanted : 2 * d->capacity;
        d->text = memory_resize(d->text, d->capacity, 1);
    }
    memcpy(d->text + d->size, line, length);
    d->text[d->size + length] = '\n';
    d->size = wanted;
}

bool corpus_next(corpus_reader *r, document *d, error *err) {
    const char *line;
    size_t length;
    d->size = 0;
    while (read_line(r, &line, &length, err)) {
        bool blank = is_blank(line, length);
        if (r->form == DOCUMENTS_AUTO && !blank)
            r->form = document_begins(line, length) ? DOCUMENTS_DOC : DOCUMENTS_BLANK;
        bool markup = r->form == DOCUMENTS_DOC && (document_begins(line, length) || document_ends(line, length));
        bool boundary = markup || (r->form == DOCUMENTS_BLANK && blank);
        if (boundary && d->size > 0) return true;
        if (!boundary && !blank) add_line(d, line, length);
    }
    return err->kind == ERROR_NONE && d->size > 0;
}

shards_split corpus_split(const document *d, double heldout) {
    char checksum[CHECKSUM_SIZE];
    checksum_bytes(checksum, d->text, d->size);
    checksum[8] = 0; // 32 bits are 8 digits
    return (double)strtoul(checksum, NULL, 16) < heldout * 4294967296.0 ? SHARDS_HELDOUT : SHARDS_TRAIN;
}
