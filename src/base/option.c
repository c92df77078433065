#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Which options were set by hand: names are string literals of the tables, so pointers are enough.
static const char **names_set;
static size_t names_set_n, names_set_capacity;

static void remember_set(const char *name) {
    if (option_is_set(name)) return;
    names_set = memory_grow(names_set, names_set_n, &names_set_capacity, sizeof *names_set);
    names_set[names_set_n++] = name;
}

bool option_is_set(const char *name) {
    for (size_t i = 0; i < names_set_n; i++)
        if (!strcmp(names_set[i], name)) return true;
    return false;
}

static const option *find(const option_table *tables, size_t n, const char *name, size_t length, void **settings) {
    for (size_t t = 0; t < n; t++)
        for (const option *row = tables[t].rows; row->name; row++)
            if (strlen(row->name) == length && !memcmp(row->name, name, length)) {
                *settings = tables[t].settings;
                return row;
            }
    return NULL;
}

size_t option_distance(const char *a, const char *b) {
    size_t n = strlen(b);
    size_t *row = memory_allocate(n + 1, sizeof *row);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    size_t distance = row[n];
    memory_free(row);
    return distance;
}

static const char *nearest(const option_table *tables, size_t n, const char *name) {
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t t = 0; t < n; t++)
        for (const option *row = tables[t].rows; row->name; row++) {
            // A name without its section, or with a wrong one, is as near as its last part.
            const char *dot = strchr(row->name, '.'), *given = strrchr(name, '.');
            size_t whole = option_distance(name, row->name);
            size_t part = option_distance(given ? given + 1 : name, dot ? dot + 1 : row->name) + 1;
            size_t distance = whole < part ? whole : part;
            if (distance < least) {
                least = distance;
                best = row->name;
            }
        }
    return best;
}

// ---- values

static bool parse_bool(const char *value, bool *out) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(value, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

static bool parse_number(const option *row, const char *value, void *field) {
    char *end;
    double number;
    errno = 0;
    if (row->type == OPTION_INT) {
        long long v = strtoll(value, &end, 10);
        number = (double)v;
        if (!errno) *(int64_t *)field = v;
    } else if (row->type == OPTION_UINT64) {
        unsigned long long v = strtoull(value, &end, 10);
        number = (double)v;
        if (strchr(value, '-')) return false;
        if (!errno) *(uint64_t *)field = v;
    } else {
        number = strtod(value, &end);
        *(double *)field = number;
    }
    bool ranged = row->low != 0 || row->high != 0;
    return !errno && end != value && !*end && isfinite(number) &&
           !(ranged && (number < row->low || number > row->high));
}

static bool parse_choice(const char *const *words, const char *value, int *field) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], value)) {
            *field = i;
            return true;
        }
    return false;
}

// The words of a choice, with blanks between them.
static const char *join_words(char *out, size_t size, const char *const *words) {
    size_t used = 0;
    for (int i = 0; words[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", words[i]);
    return out;
}

// A text that an INI file gives back as it is: inih drops blanks at the ends and takes a semicolon behind a blank for
// the beginning of a comment.
static bool is_plain_text(const char *value) {
    size_t length = strlen(value);
    if (length >= OPTION_STRING_SIZE || strchr(value, '\n')) return false;
    for (size_t i = 0; i < length; i++) {
        bool blank_before = i == 0 || isspace((unsigned char)value[i - 1]);
        if (value[i] == ';' && blank_before) return false;
    }
    return !length || !(isspace((unsigned char)value[0]) || isspace((unsigned char)value[length - 1]));
}

#define UNBOUNDED 1e9 // a range that ends here or beyond has no end that a user need know

// " from 1 to 8", " of 1 or more" and so on; empty where anything goes.
static void format_range(char *out, size_t size, const option *row, const char *from, const char *of) {
    out[0] = 0;
    if (row->low == 0 && row->high == 0) return;
    if (row->high >= UNBOUNDED)
        snprintf(out, size, "%s%.10g or more", of, row->low);
    else
        snprintf(out, size, "%s%.10g to %.10g", from, row->low, row->high);
}

static const char *expected(char *out, size_t size, const option *row) {
    static const char *const kinds[] = {"on or off", "a whole number", "a whole number of 0 or more", "a number"};
    char range[64], words[OPTION_STRING_SIZE - 16];
    format_range(range, sizeof range, row, " from ", " of ");
    if (row->type == OPTION_CHOICE)
        snprintf(out, size, "one of: %s", join_words(words, sizeof words, row->words));
    else if (row->type == OPTION_STRING)
        snprintf(out, size, "a text of at most %d characters, with no blanks around it and no \" ;\" in it",
                 OPTION_STRING_SIZE - 1);
    else
        snprintf(out, size, "%s%s", kinds[*range && row->type == OPTION_UINT64 ? OPTION_INT : row->type], range);
    return out;
}

static bool parse(const option *row, const char *value, void *settings) {
    void *field = (char *)settings + row->offset;
    switch (row->type) {
    case OPTION_BOOL:
        return parse_bool(value, field);
    case OPTION_INT:
    case OPTION_UINT64:
    case OPTION_DOUBLE:
        return parse_number(row, value, field);
    case OPTION_CHOICE:
        return parse_choice(row->words, value, field);
    case OPTION_STRING:
        if (!is_plain_text(value)) return false;
        snprintf(field, OPTION_STRING_SIZE, "%s", value);
        return true;
    }
    return false;
}

void option_format(char *out, const option *row, const void *settings) {
    const void *field = (const char *)settings + row->offset;
    switch (row->type) {
    case OPTION_BOOL:
        snprintf(out, OPTION_STRING_SIZE, "%s", *(const bool *)field ? "on" : "off");
        break;
    case OPTION_INT:
        snprintf(out, OPTION_STRING_SIZE, "%lld", (long long)*(const int64_t *)field);
        break;
    case OPTION_UINT64:
        snprintf(out, OPTION_STRING_SIZE, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case OPTION_DOUBLE:
        for (int digits = 6; digits <= 17; digits++) { // the shortest that reads back the same
            snprintf(out, OPTION_STRING_SIZE, "%.*g", digits, *(const double *)field);
            if (strtod(out, NULL) == *(const double *)field) break;
        }
        break;
    case OPTION_CHOICE:
        snprintf(out, OPTION_STRING_SIZE, "%s", row->words[*(const int *)field]);
        break;
    case OPTION_STRING:
        snprintf(out, OPTION_STRING_SIZE, "%s", (const char *)field);
    }
}

void option_set_defaults(const option_table *tables, size_t n) {
    for (size_t t = 0; t < n; t++)
        for (const option *row = tables[t].rows; row->name; row++)
            if (!parse(row, row->fallback, tables[t].settings))
                FATAL("the default '%s' of option %s is not valid", row->fallback, row->name);
}

bool option_set(const option_table *tables, size_t n, const char *name, const char *value, const char *where,
                error *err) {
    void *settings;
    const option *row = find(tables, n, name, strlen(name), &settings);
    if (!row)
        return error_set(err, ERROR_INPUT, "%s: there is no option %s; did you mean %s?", where, name,
                         nearest(tables, n, name));
    if (!parse(row, value, settings)) {
        char text[OPTION_STRING_SIZE];
        return error_set(err, ERROR_INPUT, "%s: %s = %s: expected %s", where, name, value,
                         expected(text, sizeof text, row));
    }
    remember_set(row->name);
    return true;
}

// ---- the file

typedef struct {
    const option_table *tables;
    size_t n;
} table_list;

static bool on_entry(void *context, const char *section, const char *key, const char *value, const char *where,
                     error *err) {
    const table_list *list = context;
    char name[512];
    snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key);
    return option_set(list->tables, list->n, name, value, where, err);
}

bool option_read_file(const option_table *tables, size_t n, const char *path, error *err) {
    table_list list = {tables, n};
    return ini_read(path, on_entry, &list, err);
}

// ---- the command line

bool option_read_arguments(const option_table *tables, size_t n, int *argc, char **argv, error *err) {
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strncmp(argv[i], "--", 2)) {
            argv[kept++] = argv[i];
            continue;
        }
        char name[512];
        const char *word = argv[i] + 2, *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), word);
        void *settings;
        const option *row = find(tables, n, name, strlen(name), &settings);
        const char *value = equals ? equals + 1 : NULL;
        bool unused;
        if (!value && row && row->type == OPTION_BOOL)
            value = i + 1 < *argc && parse_bool(argv[i + 1], &unused) ? argv[++i] : "on";
        else if (!value && row) {
            if (++i == *argc) return error_set(err, ERROR_INPUT, "command line: %s wants a value", name);
            value = argv[i];
        }
        if (!option_set(tables, n, name, value ? value : "", "command line", err)) return false;
    }
    *argc = kept;
    return true;
}

// ---- writing

char *option_write(const option_table *tables, size_t n) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) FATAL("open_memstream failed");
    char section[64] = "";
    for (size_t t = 0; t < n; t++)
        for (const option *row = tables[t].rows; row->name; row++) {
            const char *dot = strchr(row->name, '.');
            size_t length = (size_t)(dot - row->name);
            if (strlen(section) != length || memcmp(section, row->name, length)) {
                snprintf(section, sizeof section, "%.*s", (int)length, row->name);
                fprintf(out, "%s[%s]\n", t || row != tables[t].rows ? "\n" : "", section);
            }
            char value[OPTION_STRING_SIZE];
            option_format(value, row, tables[t].settings);
            fprintf(out, "%s = %s\n", dot + 1, value);
        }
    fclose(out);
    return text;
}

void option_print_help(FILE *out, const option_table *tables, size_t n) {
    for (size_t t = 0; t < n; t++) {
        if (t) fputc('\n', out);
        for (const option *row = tables[t].rows; row->name; row++) {
            char range[OPTION_STRING_SIZE] = "", words[OPTION_STRING_SIZE - 8], numbers[64];
            format_range(numbers, sizeof numbers, row, "", "");
            if (row->type == OPTION_CHOICE)
                snprintf(range, sizeof range, " (%s)", join_words(words, sizeof words, row->words));
            else if (row->type == OPTION_BOOL)
                snprintf(range, sizeof range, " (on off)");
            else if (*numbers)
                snprintf(range, sizeof range, " (%s)", numbers);
            fprintf(out, "  --%-26s %s%s [%s]\n", row->name, row->help, range, *row->fallback ? row->fallback : "none");
        }
    }
}
