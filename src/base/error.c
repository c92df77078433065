#include "base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void (*fatal_handler)(void) = abort;

static void mark_cut(char *text, size_t size) { memcpy(text + size - 4, "...", 4); }

bool error_set(error *err, error_kind kind, const char *format, ...) {
    va_list arguments;
    err->kind = kind;
    va_start(arguments, format);
    int length = vsnprintf(err->text, sizeof err->text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof err->text) mark_cut(err->text, sizeof err->text);
    text_make_printable(err->text);
    return false;
}

bool error_prefix(error *err, const char *format, ...) {
    char prefix[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    char *joined = memory_format("%s: %s", prefix, err->text);
    error_set(err, err->kind, "%s", joined);
    memory_free(joined);
    return false;
}

void error_clear(error *err) {
    err->kind = ERROR_NONE;
    err->text[0] = 0;
}

int error_exit_code(error_kind kind) { return kind == ERROR_VERSION ? ERROR_INPUT : (int)kind; }

void fatal_set_handler(void (*handler)(void)) { fatal_handler = handler; }

_Noreturn void fatal_at(const char *file, int line, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_error_any("%s:%d: %s", file, line, text);
    fatal_handler();
    abort();
}
