// Task files: any TSV as a task. configs/tasks/example.ini shows every key with its comment.
//
//     [task]
//     name             = what results call it                      (default: the file's name without .ini)
//     folder           = below data.dir, where the files lie       (default: data.dir itself)
//     metric           = accuracy | accuracy_f1 | matthews | correlation
//     label            = one word, a line for each class: its order is the class numbers'; or instead of such lines
//     labels           = auto: whichever labels the training file holds, in byte order; or for metric = correlation
//     low, high        = the range of the numbers to be predicted
//     submission       = name of the file that predict writes      (default: NAME.tsv)
//     submission_words = yes | no: it holds words or class numbers (default: yes)
//
//     [columns]          what holds for all three files
//     text             = the text's column, counted from 1, or two for a pair: 4, 5
//     label            = its column, or `last`, or `none`          (default: none)
//     fields           = how many a row has                        (default: as many as the file's first line)
//     header           = yes | no: the first line names the columns (default: no)
//     drop_wrong       = yes | no: a row with another number of fields is dropped and counted (default: no, an error)
//
//     [train] [dev] [test]  what holds for one of them: the keys of [columns] again, which then count, and
//     file             = the file's name                           (default: train.tsv, dev.tsv, test.tsv;
//                                                                     empty: there is no such file)
#include "data/internal.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    task *t;
    size_t label_capacity;
    bool labels_auto, has_low, has_high;
    bool again; // the second reading, when [task] and [columns] have had their say
} task_file;

static const char *const sections[] = {"task", "columns", "train", "dev", "test", NULL};
static const char *const task_keys[] = {"name", "folder",     "metric",           "label", "labels", "low",
                                        "high", "submission", "submission_words", NULL};
static const char *const split_keys[] = {"file", "text", "label", "fields", "header", "drop_wrong", NULL};
static const char *const *const column_keys = split_keys + 1;

static bool is_one_of(const char *const *words, const char *word) {
    while (*words && strcmp(*words, word)) words++;
    return *words != NULL;
}

// ---- values --------------------------------------------------------------------------------------------------------

static bool parse_text(char out[TASK_NAME_SIZE], const char *value, error *err) {
    if (strlen(value) >= TASK_NAME_SIZE)
        return error_set(err, ERROR_INPUT, "a text of at most %d characters", TASK_NAME_SIZE - 1);
    snprintf(out, TASK_NAME_SIZE, "%s", value);
    return true;
}

static bool parse_switch(bool *out, const char *value, error *err) {
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(value, words[i])) continue;
        *out = i % 2;
        return true;
    }
    return error_set(err, ERROR_INPUT, "'%s' should be yes or no", value);
}

// A whole number of 1 or more at the start of text; *end is set behind it.
static bool parse_count(int *out, const char *text, const char **end) {
    char *stop;
    errno = 0;
    long number = strtol(text, &stop, 10);
    *end = stop;
    *out = (int)number;
    return !errno && stop != text && number >= 1 && number <= INT_MAX;
}

static bool parse_number(double *out, const char *value, error *err) {
    char *end;
    *out = strtod(value, &end);
    if (end != value && !*end && isfinite(*out)) return true;
    return error_set(err, ERROR_INPUT, "'%s' should be a number", value);
}

static bool parse_texts(int out[2], const char *value, error *err) {
    const char *end;
    out[1] = 0;
    if (parse_count(&out[0], value, &end)) {
        if (!*end) return true;
        end += strspn(end, " ");
        if (*end == ',' && parse_count(&out[1], end + 1, &end) && !*end) return true;
    }
    return error_set(err, ERROR_INPUT, "'%s' should be a column, counted from 1, or two: 4, 5", value);
}

static bool parse_label_column(int *out, const char *value, error *err) {
    const char *end;
    if (!strcmp(value, "none"))
        *out = 0;
    else if (!strcmp(value, "last"))
        *out = TASK_LAST_COLUMN;
    else if (!parse_count(out, value, &end) || *end)
        return error_set(err, ERROR_INPUT, "'%s' should be a column, counted from 1, or last, or none", value);
    return true;
}

static bool parse_fields(int *out, const char *value, error *err) {
    const char *end;
    if (parse_count(out, value, &end) && !*end) return true;
    return error_set(err, ERROR_INPUT, "'%s' should be a number of fields", value);
}

static bool add_label(task_file *f, const char *word, error *err) {
    task *t = f->t;
    if (t->classes == TASK_LABELS_MAX) return error_set(err, ERROR_INPUT, "more than %d labels", TASK_LABELS_MAX);
    t->label_words = memory_grow(t->label_words, (size_t)t->classes, &f->label_capacity, sizeof *t->label_words);
    t->label_words[t->classes++] = memory_string(word);
    return true;
}

// ---- keys ----------------------------------------------------------------------------------------------------------

static bool set_task(task_file *f, const char *key, const char *value, error *err) {
    task *t = f->t;
    if (!strcmp(key, "name")) return parse_text(t->name, value, err);
    if (!strcmp(key, "folder")) return parse_text(t->folder, value, err);
    if (!strcmp(key, "submission")) return parse_text(t->submission[0], value, err);
    if (!strcmp(key, "submission_words")) return parse_switch(&t->words_in_submission, value, err);
    if (!strcmp(key, "metric")) return task_parse_metric(&t->metric, value, err);
    if (!strcmp(key, "label")) return add_label(f, value, err);
    if (!strcmp(key, "low")) return f->has_low = true, parse_number(&t->low, value, err);
    if (!strcmp(key, "high")) return f->has_high = true, parse_number(&t->high, value, err);
    f->labels_auto = true; // labels
    return !strcmp(value, "auto") ||
           error_set(err, ERROR_INPUT, "'%s' should be auto (labels by name are lines of their own: label = WORD)",
                     value);
}

static bool set_columns(task_columns *c, const char *key, const char *value, error *err) {
    if (!strcmp(key, "text")) return parse_texts(c->text, value, err);
    if (!strcmp(key, "label")) return parse_label_column(&c->label, value, err);
    if (!strcmp(key, "fields")) return parse_fields(&c->fields, value, err);
    return parse_switch(!strcmp(key, "header") ? &c->header : &c->drop_wrong, value, err);
}

static bool set_split(task *t, const char *section, const char *key, const char *value, error *err) {
    bool train = !strcmp(section, "train"), dev = !strcmp(section, "dev");
    if (!strcmp(key, "file")) return parse_text(train ? t->train_file : dev ? t->dev_file : t->test_file, value, err);
    return set_columns(train ? &t->train : dev ? &t->dev : &t->test, key, value, err);
}

static bool check_key(const char *section, const char *key, error *err) {
    if (!*section) return error_set(err, ERROR_INPUT, "%s stands before the first [section]", key);
    if (!is_one_of(sections, section))
        return error_set(err, ERROR_INPUT, "there is no section [%s]; did you mean [%s]?", section,
                         task_nearest_word(sections, section));
    const char *const *keys = !strcmp(section, "task")      ? task_keys
                              : !strcmp(section, "columns") ? column_keys
                                                            : split_keys;
    return is_one_of(keys, key) || error_set(err, ERROR_INPUT, "there is no key %s in [%s]; did you mean %s?", key,
                                             section, task_nearest_word(keys, key));
}

static bool set_entry(task_file *f, const char *section, const char *key, const char *value, error *err) {
    task *t = f->t;
    if (!strcmp(section, "task")) return f->again || set_task(f, key, value, err);
    if (!strcmp(section, "columns"))
        return f->again || (set_columns(&t->train, key, value, err) && set_columns(&t->dev, key, value, err) &&
                            set_columns(&t->test, key, value, err));
    return set_split(t, section, key, value, err);
}

static bool on_entry(void *context, const char *section, const char *key, const char *value, const char *where,
                     error *err) {
    const char *words[] = {section, key, value};
    for (int i = 0; i < 3; i++) // messages repeat them, and checkpoints carry them
        if (!task_text_is_clean(words[i], strlen(words[i])))
            return error_set(err, ERROR_INPUT, "%s: not valid UTF-8, or with control characters", where);
    if (!check_key(section, key, err)) return error_prefix(err, "%s", where);
    return set_entry(context, section, key, value, err) || error_prefix(err, "%s: %s", where, key);
}

// ---- the file ------------------------------------------------------------------------------------------------------

// What a file leaves out.
static bool set_defaults(task *t, const char *path, error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    if (length > 4 && !strcmp(name + length - 4, ".ini")) length -= 4;
    *t = (task){.words_in_submission = true};
    if (length >= TASK_NAME_SIZE) return error_set(err, ERROR_INPUT, "%s: the file's name is too long", path);
    snprintf(t->name, TASK_NAME_SIZE, "%.*s", (int)length, name);
    snprintf(t->train_file, TASK_NAME_SIZE, "train.tsv");
    snprintf(t->dev_file, TASK_NAME_SIZE, "dev.tsv");
    snprintf(t->test_file, TASK_NAME_SIZE, "test.tsv");
    return true;
}

static bool finish(task_file *f, error *err) {
    task *t = f->t;
    t->regression = f->has_low && f->has_high;
    if (f->has_low != f->has_high) return error_set(err, ERROR_INPUT, "low and high go together");
    if ((t->label_words != NULL) + f->labels_auto + t->regression != 1)
        return error_set(err, ERROR_INPUT,
                         "[task] wants either lines label = WORD, or labels = auto, or a range: low and high");
    if (t->regression) t->classes = 1;
    if (!t->submission[0][0] && snprintf(t->submission[0], TASK_NAME_SIZE, "%s.tsv", t->name) >= TASK_NAME_SIZE)
        return error_set(err, ERROR_INPUT, "the task's name is too long");
    return task_check(t, err);
}

// Two readings, so that [columns] may stand anywhere and a split's own keys still win.
bool task_read(task *t, const char *path, error *err) {
    task_file f = {.t = t};
    bool good = set_defaults(t, path, err) && ini_read(path, on_entry, &f, err);
    f.again = true;
    good = good && ini_read(path, on_entry, &f, err);
    if (good && !(good = finish(&f, err))) error_prefix(err, "%s", path);
    if (!good) task_destroy(t);
    return good;
}
