// What the files of data share among themselves.
#ifndef PAF_DATA_INTERNAL_H
#define PAF_DATA_INTERNAL_H

#include "data/data.h"

// ---- tasks ---------------------------------------------------------------------------------------------------------

// More distinct labels than this are a wrong column, not a task.
#define TASK_LABELS_MAX 10000

extern const char *const task_metric_names[]; // by metric_kind, NULL behind the last

// The metric of this name into *metric; an unknown one is an error that suggests the nearest.
bool task_parse_metric(metric_kind *metric, const char *name, error *err);
// Everything that must hold in a task, wherever it came from. Labels may still be missing.
bool task_check(const task *t, error *err);
// The word of the list that is nearest to `name`. words ends with NULL and is not empty.
const char *task_nearest_word(const char *const *words, const char *name);
bool task_text_is_utf8(const char *text, size_t length);
// Is it valid UTF-8 without control characters?
bool task_text_is_clean(const char *text, size_t length);

// ---- rows of a TSV file --------------------------------------------------------------------------------------------
//
//     [byte order mark] [header line] row* [one empty line]
//
// A row is fields separated by tabs, ended by a newline, a carriage return before it or not. Nothing is quoted.

typedef struct {
    const char *start;
    size_t length;
} field;

typedef struct {
    field text[2]; // the columns of task_columns; empty where there is none
    field label;
} row;

typedef struct {
    const char *path; // borrowed, for messages
    const task_columns *columns;
    char *text;
    size_t size, at;
    int64_t line;    // the one read last, from 1
    int64_t fields;  // a row has this many
    int64_t dropped; // rows left out because they had another number
} row_reader;

typedef enum { ROW_READ, ROW_END, ROW_WRONG } row_status; // ROW_WRONG: err is set

bool row_reader_open(row_reader *r, const char *path, const task_columns *columns, error *err);
// An upper bound of the rows in the file.
int64_t row_reader_bound(const row_reader *r);
row_status row_reader_next(row_reader *r, row *out, error *err);
void row_reader_close(row_reader *r);

// A field as it may stand in a message: what a terminal would not show as text becomes '?', a long one is cut.
#define FIELD_EXCERPT_SIZE 64
const char *field_excerpt(char out[FIELD_EXCERPT_SIZE], field f);

#endif
