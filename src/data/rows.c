#include "data/internal.h"

#include <string.h>

static int64_t count_fields(const char *line, size_t length) {
    int64_t fields = 1;
    for (size_t i = 0; i < length; i++) fields += line[i] == '\t';
    return fields;
}

// The field in this column, which the line has; columns count from 1, and 0 is the empty field.
static field find_field(const char *line, size_t length, int64_t column) {
    const char *end = line + length;
    if (column == 0) return (field){end, 0};
    for (; column > 1; column--) line = (const char *)memchr(line, '\t', (size_t)(end - line)) + 1;
    const char *tab = memchr(line, '\t', (size_t)(end - line));
    return (field){line, (size_t)((tab ? tab : end) - line)};
}

// Settles how many fields a row has, and that the columns are among them.
static bool look_at_first_line(row_reader *r, error *err) {
    size_t at = r->at, length;
    const char *line;
    if (!text_next_line(r->text, r->size, &at, &line, &length)) return true; // empty: the caller finds no rows
    int64_t fields = count_fields(line, length);
    const task_columns *c = r->columns;
    if (r->fields == 0) r->fields = fields;
    if (c->header && fields != r->fields)
        return error_set(err, ERROR_INPUT, "%s:1: %lld field%s in the header instead of %lld (separated by tabs)",
                         r->path, (long long)fields, fields == 1 ? "" : "s", (long long)r->fields);
    int last = c->text[0] > c->text[1] ? c->text[0] : c->text[1];
    if (c->label > last) last = c->label;
    if (last > r->fields)
        return error_set(err, ERROR_INPUT, "%s:1: %lld field%s (separated by tabs), but the task wants column %d",
                         r->path, (long long)fields, fields == 1 ? "" : "s", last);
    if (c->header) {
        r->at = at;
        r->line = 1;
    }
    return true;
}

bool row_reader_open(row_reader *r, const char *path, const task_columns *columns, error *err) {
    *r = (row_reader){.path = path, .columns = columns, .fields = columns->fields};
    r->text = text_read(path, &r->size, err);
    if (!r->text) return false;
    if (r->size >= 3 && !memcmp(r->text, "\xef\xbb\xbf", 3)) r->at = 3; // the byte order mark of MRPC
    bool good = look_at_first_line(r, err);
    if (!good) row_reader_close(r);
    return good;
}

int64_t row_reader_bound(const row_reader *r) {
    int64_t lines = 1;
    for (size_t i = r->at; i < r->size; i++) lines += r->text[i] == '\n';
    return lines;
}

row_status row_reader_next(row_reader *r, row *out, error *err) {
    const task_columns *c = r->columns;
    const char *line;
    size_t length;
    while (text_next_line(r->text, r->size, &r->at, &line, &length)) {
        r->line++;
        if (length == 0 && r->at == r->size) break; // an empty last line is no row
        int64_t fields = count_fields(line, length);
        if (fields == r->fields) {
            out->text[0] = find_field(line, length, c->text[0]);
            out->text[1] = find_field(line, length, c->text[1]);
            out->label = find_field(line, length, c->label == TASK_LAST_COLUMN ? fields : c->label);
            return ROW_READ;
        }
        if (!c->drop_wrong) {
            error_set(err, ERROR_INPUT, "%s:%lld: %lld field%s instead of %lld (separated by tabs)", r->path,
                      (long long)r->line, (long long)fields, fields == 1 ? "" : "s", (long long)r->fields);
            return ROW_WRONG;
        }
        r->dropped++;
    }
    return ROW_END;
}

void row_reader_close(row_reader *r) {
    memory_free(r->text);
    r->text = NULL;
}

const char *field_excerpt(char out[FIELD_EXCERPT_SIZE], field f) {
    size_t length = f.length, limit = FIELD_EXCERPT_SIZE - 4;
    if (length > limit)
        for (length = limit; length > 0 && ((unsigned char)f.start[length] & 0xc0) == 0x80;)
            length--; // whole characters
    bool utf8 = task_text_is_utf8(f.start, length);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)f.start[i];
        out[i] = c < ' ' || c == 127 || (c > 127 && !utf8) ? '?' : (char)c;
    }
    snprintf(out + length, FIELD_EXCERPT_SIZE - length, "%s", length < f.length ? "..." : "");
    return out;
}
