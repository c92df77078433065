#include "base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static log_level level_shown = LOG_INFO;
static bool root = true;
static size_t progress_width; // of the progress line that stands on the terminal, 0 if none does

void log_set_level(log_level level) { level_shown = level; }
void log_set_root(bool is_root) { root = is_root; }
// mpirun puts a pipe between a rank and the terminal; launch/mpi says by PAF_TERMINAL that there is one.
bool log_is_terminal(void) { return isatty(STDERR_FILENO) || getenv("PAF_TERMINAL"); }

// One write a line, so that lines of several ranks do not mix.
static void log_line(const char *before, const char *format, va_list arguments) {
    char line[2048];
    size_t n = 0;
    if (progress_width) n += (size_t)snprintf(line, sizeof line, "\r%*s\r", (int)progress_width, "");
    progress_width = 0;
    n += (size_t)snprintf(line + n, sizeof line - n, "%s", before);
    int wanted = vsnprintf(line + n, sizeof line - n - 1, format, arguments);
    n = strlen(line);
    (void)wanted;
    line[n++] = '\n';
    fflush(stdout);
    fwrite(line, 1, n, stderr);
    fflush(stderr);
}

#define LOG_FUNCTION(name, level, before)                                                                              \
    void name(const char *format, ...) {                                                                               \
        if (!root || level_shown < level) return;                                                                      \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        log_line(before, format, arguments);                                                                           \
        va_end(arguments);                                                                                             \
    }

LOG_FUNCTION(log_error, LOG_ERROR, "paf: error: ")
LOG_FUNCTION(log_warn, LOG_WARN, "paf: warning: ")
LOG_FUNCTION(log_info, LOG_INFO, "")

void log_error_any(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line("paf: error: ", format, arguments);
    va_end(arguments);
}

void log_progress(const char *format, ...) {
    if (!root || level_shown < LOG_INFO || !log_is_terminal()) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    size_t width = strlen(line);
    int pad = width < progress_width ? (int)(progress_width - width) : 0;
    fprintf(stderr, "\r%s%*s", line, pad, "");
    fflush(stderr);
    progress_width = width;
}
