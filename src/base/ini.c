#include "base/base.h"

#include <ini.h>
#include <string.h>

#define LINE_LIMIT 199 // inih's buffer: it cuts what is longer without a word

typedef struct {
    const char *path, *text;
    size_t size, at;
    int line; // the one handed out last
    ini_entry entry;
    void *context;
    error *err;
} reader;

// inih asks for lines as from fgets; counting them here gives the handler its line number. Blanks in front are left
// out: inih would take an indented line for more of the value before it.
static char *next_line(char *out, int size, void *context) {
    reader *r = context;
    const char *line;
    size_t length;
    if (r->err->kind != ERROR_NONE || !text_next_line(r->text, r->size, &r->at, &line, &length)) return NULL;
    r->line++;
    if (length > LINE_LIMIT || length + 1 > (size_t)size) {
        error_set(r->err, ERROR_INPUT,
                  "%s:%d: the line has %zu characters, a configuration line may have %d; shorten it", r->path, r->line,
                  length, LINE_LIMIT);
        return NULL;
    }
    if (memchr(line, 0, length)) {
        error_set(r->err, ERROR_INPUT, "%s:%d: a NUL byte: this is not a configuration file", r->path, r->line);
        return NULL;
    }
    while (length > 0 && (*line == ' ' || *line == '\t')) line++, length--;
    memcpy(out, line, length);
    out[length] = 0;
    return out;
}

static int on_entry(void *context, const char *section, const char *key, const char *value) {
    reader *r = context;
    char where[1024];
    snprintf(where, sizeof where, "%s:%d", r->path, r->line);
    return r->entry(r->context, section, key, value ? value : "", where, r->err);
}

bool ini_read(const char *path, ini_entry entry, void *context, error *err) {
    size_t size;
    char *text = text_read(path, &size, err);
    if (!text) return false;
    error_clear(err);
    reader r = {.path = path, .text = text, .size = size, .entry = entry, .context = context, .err = err};
    int line = ini_parse_stream(next_line, &r, on_entry, &r);
    if (line && err->kind == ERROR_NONE)
        error_set(err, ERROR_INPUT, "%s:%d: expected [section] or key = value", path, line);
    memory_free(text);
    return err->kind == ERROR_NONE;
}
