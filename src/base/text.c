#include "base/base.h"

#include <errno.h>
#include <string.h>

char *text_read(const char *path, size_t *size, error *err) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        error_set(err, ERROR_INPUT, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    size_t used = 0, capacity = 1 << 16;
    char *text = memory_resize(NULL, capacity, 1);
    size_t got;
    while ((got = fread(text + used, 1, capacity - used - 1, file)) > 0) {
        used += got;
        if (capacity - used - 1 == 0) text = memory_resize(text, capacity *= 2, 1);
    }
    if (ferror(file)) {
        error_set(err, ERROR_INPUT, "cannot read %s: %s", path, strerror(errno));
        memory_free(text);
        text = NULL;
    } else {
        text[used] = 0;
        if (size) *size = used;
    }
    fclose(file);
    return text;
}

bool text_next_line(const char *buffer, size_t size, size_t *at, const char **line, size_t *length) {
    if (*at >= size) return false;
    *line = buffer + *at;
    const char *newline = memchr(*line, '\n', size - *at);
    *length = newline ? (size_t)(newline - *line) : size - *at;
    *at += *length + (newline ? 1 : 0);
    if (newline && *length > 0 && (*line)[*length - 1] == '\r') (*length)--;
    return true;
}

void text_make_printable(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (*at < ' ' || *at == 127) *at = '?';
        if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) at[0] = at[1] = '?'; // such as U+009B, a terminal's CSI
    }
}
