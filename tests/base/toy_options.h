// Options of a toy program, in two tables, that the tests of options set and read.
#ifndef PAF_TESTS_TOY_OPTIONS_H
#define PAF_TESTS_TOY_OPTIONS_H

#include "../support.h"

typedef struct {
    bool flag, other;
    int64_t count, any;
    uint64_t seed;
    double rate, factor;
    char name[OPTION_STRING_SIZE];
    enum { KIND_LINEAR, KIND_COSINE, KIND_CONSTANT } kind;
} settings;

#define ROW(key, type, field, ...)                                                                                     \
    { "toy." key, type, offsetof(settings, field), __VA_ARGS__ }
static const option rows[] = {
    ROW("flag", OPTION_BOOL, flag, "off", .help = "a switch"),
    ROW("other", OPTION_BOOL, other, "on", .help = "another"),
    ROW("count", OPTION_INT, count, "8", .low = 1, .high = 100, .help = "a number with a range"),
    ROW("any", OPTION_INT, any, "-3", .help = "any whole number"),
    ROW("seed", OPTION_UINT64, seed, "1", .help = "64 bits"),
    ROW("rate", OPTION_DOUBLE, rate, "0.1", .high = 1, .help = "a share"),
    ROW("factor", OPTION_DOUBLE, factor, "2e-5", .help = "any number"),
    ROW("name", OPTION_STRING, name, "", .help = "a text"),
    ROW("kind", OPTION_CHOICE, kind, "linear", .words = OPTION_WORDS("linear", "cosine", "constant"),
        .help = "one of three"),
    {0},
};

typedef struct {
    int64_t depth;
} more_settings;

static const option more_rows[] = {
    {"deep.depth", OPTION_INT, offsetof(more_settings, depth), "4", .low = 1, .high = 9,
     .help = "in a table of its own"},
    {0},
};

#define TABLES 2

typedef struct {
    settings s;
    more_settings more;
    option_table tables[TABLES];
} fixture;

static inline void begin(fixture *f) {
    memset(f, 0xff, sizeof *f); // defaults must fill everything
    f->tables[0] = (option_table){rows, &f->s};
    f->tables[1] = (option_table){more_rows, &f->more};
    option_set_defaults(f->tables, TABLES);
}

#endif
