// GLUE's nine tasks and its diagnostic set, as one table, and what holds for every task.
#include "data/internal.h"

#include <string.h>

#define RANGE_MAX 1e9 // targets are floats; more would be a slip

static const char *const binary[] = {"0", "1", NULL};
static const char *const two_way[] = {"entailment", "not_entailment", NULL};
static const char *const three_way[] = {"entailment", "neutral", "contradiction", NULL};

// What files are called: train, dev, test, dev mismatched, test mismatched, test elsewhere, submission, its second.
typedef const char *const file_names[8];
static file_names usual = {"train.tsv", "dev.tsv", "test.tsv", "", "", "", "", ""}; // the submission after the folder
static file_names two_devs = {"train.tsv",          "dev_matched.tsv",     "test_matched.tsv",
                              "dev_mismatched.tsv", "test_mismatched.tsv", "",
                              "MNLI-m.tsv",         "MNLI-mm.tsv"};
static file_names test_only = {"", "", "diagnostic.tsv", "", "", "AX/test.tsv", "AX.tsv", ""};

static const struct {
    const char *name, *folder;
    metric_kind metric;
    const char *const *labels; // in the order of their numbers, NULL behind the last; NULL: a number from 0 to 5
    const file_names *files;
    task_columns train, test; // dev is like train
} glue[] = {
    // clang-format off
    //                                                              texts, label, fields, header, drop_wrong
    {"cola", "CoLA",  METRIC_MATTHEWS,    binary,  &usual, {{4, 0},  2,  4, false, false}, {{2, 0}, 0, 2, true, false}},
    {"sst2", "SST-2", METRIC_ACCURACY,    binary,  &usual, {{1, 0},  2,  2, true,  false}, {{2, 0}, 0, 2, true, false}},
    {"mrpc", "MRPC",  METRIC_ACCURACY_F1, binary,  &usual, {{4, 5},  1,  5, true,  false}, {{4, 5}, 0, 5, true, false}},
    {"stsb", "STS-B", METRIC_CORRELATION, NULL,    &usual, {{8, 9}, 10, 10, true,  false}, {{8, 9}, 0, 9, true, false}},
    {"qqp",  "QQP",   METRIC_ACCURACY_F1, binary,  &usual, {{4, 5},  6,  6, true,  true},  {{2, 3}, 0, 3, true, false}},
    {"qnli", "QNLI",  METRIC_ACCURACY,    two_way, &usual, {{2, 3},  4,  4, true,  false}, {{2, 3}, 0, 3, true, false}},
    {"rte",  "RTE",   METRIC_ACCURACY,    two_way, &usual, {{2, 3},  4,  4, true,  false}, {{2, 3}, 0, 3, true, false}},
    {"wnli", "WNLI",  METRIC_ACCURACY,    binary,  &usual, {{2, 3},  4,  4, true,  false}, {{2, 3}, 0, 3, true, false}},
    // The label is the last column: of 12 in the training file, of 16 in the dev files.
    {"mnli", "MNLI",  METRIC_ACCURACY,    three_way, &two_devs, {{9, 10}, TASK_LAST_COLUMN, 0, true, false},
                                                                {{9, 10}, 0, 10, true, false}},
    // The diagnostic set has a test file only; a model of MNLI answers it.
    {"ax", "diagnostic", METRIC_ACCURACY, three_way, &test_only, {{0, 0}, 0, 0, false, false},
                                                                 {{2, 3}, 0, 3, true, false}},
    // clang-format on
};

#define GLUE_COUNT (sizeof glue / sizeof *glue)

const char *const task_metric_names[] = {
    [METRIC_ACCURACY] = "accuracy",
    [METRIC_ACCURACY_F1] = "accuracy_f1",
    [METRIC_MATTHEWS] = "matthews",
    [METRIC_CORRELATION] = "correlation",
    NULL,
};

const char *const *task_glue_names(size_t *n) {
    static const char *names[GLUE_COUNT + 1];
    for (size_t i = 0; i < GLUE_COUNT; i++) names[i] = glue[i].name;
    if (n) *n = GLUE_COUNT;
    return names;
}

const char *task_nearest_word(const char *const *words, const char *name) {
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (; *words; words++) {
        size_t distance = option_distance(name, *words);
        if (distance >= least) continue;
        least = distance;
        nearest = *words;
    }
    return nearest;
}

static void set_labels(task *t, const char *const *labels) {
    t->regression = labels == NULL;
    if (t->regression) {
        t->classes = 1;
        t->high = 5;
        return;
    }
    while (labels[t->classes]) t->classes++;
    t->label_words = memory_allocate((size_t)t->classes, sizeof *t->label_words);
    for (int64_t c = 0; c < t->classes; c++) t->label_words[c] = memory_string(labels[c]);
    t->words_in_submission = labels != binary;
}

static void set_files(task *t, const file_names *files) {
    char *fields[] = {t->train_file, t->dev_file,       t->test_file,     t->dev2_file,
                      t->test2_file, t->test_elsewhere, t->submission[0], t->submission[1]};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) snprintf(fields[i], TASK_NAME_SIZE, "%s", (*files)[i]);
    if (files == &usual) snprintf(t->submission[0], TASK_NAME_SIZE, "%.100s.tsv", t->folder);
}

bool task_find(task *t, const char *name, error *err) {
    *t = (task){0};
    for (size_t i = 0; i < GLUE_COUNT; i++) {
        if (strcmp(name, glue[i].name)) continue;
        snprintf(t->name, TASK_NAME_SIZE, "%s", name);
        snprintf(t->folder, TASK_NAME_SIZE, "%s", glue[i].folder);
        t->metric = glue[i].metric;
        t->train = t->dev = glue[i].train;
        t->test = glue[i].test;
        set_labels(t, glue[i].labels);
        set_files(t, glue[i].files);
        return true;
    }
    return error_set(err, ERROR_INPUT,
                     "there is no task '%s'; did you mean %s? (a task of your own is the path of its file, NAME.ini)",
                     name, task_nearest_word(task_glue_names(NULL), name));
}

bool task_open(task *t, const char *name, error *err) {
    size_t length = strlen(name);
    bool is_path = strchr(name, '/') || (length > 4 && !strcmp(name + length - 4, ".ini"));
    return is_path ? task_read(t, name, err) : task_find(t, name, err);
}

void task_destroy(task *t) {
    for (int64_t c = 0; t->label_words && c < t->classes; c++) memory_free(t->label_words[c]);
    memory_free(t->label_words);
    *t = (task){0};
}

int64_t task_label_index(const task *t, const char *word, size_t length) {
    for (int64_t c = 0; t->label_words && c < t->classes; c++)
        if (strlen(t->label_words[c]) == length && !memcmp(t->label_words[c], word, length)) return c;
    return -1;
}

// ---- what must hold ------------------------------------------------------------------------------------------------

bool task_parse_metric(metric_kind *metric, const char *name, error *err) {
    for (int i = 0; task_metric_names[i]; i++) {
        if (strcmp(name, task_metric_names[i])) continue;
        *metric = (metric_kind)i;
        return true;
    }
    char text[FIELD_EXCERPT_SIZE];
    return error_set(err, ERROR_INPUT, "there is no metric '%s'; did you mean %s?",
                     field_excerpt(text, (field){name, strlen(name)}), task_nearest_word(task_metric_names, name));
}

bool task_text_is_utf8(const char *text, size_t length) {
    json_t *probe = json_stringn(text, length); // jansson takes nothing else
    json_decref(probe);
    return probe != NULL;
}

bool task_text_is_clean(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127) return false;
    return task_text_is_utf8(text, length);
}

// A path below data.dir: relative, and not out of it again.
static bool is_below(const char *path) {
    if (*path == '/') return false;
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2])) return false;
    return true;
}

static bool check_names(const task *t, error *err) {
    const char *paths[] = {t->folder,    t->train_file, t->dev_file,      t->test_file,
                           t->dev2_file, t->test2_file, t->test_elsewhere};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!task_text_is_clean(paths[i], strlen(paths[i])) || !is_below(paths[i]))
            return error_set(err, ERROR_INPUT, "folder and files must be valid UTF-8 and lie below data.dir");
    const char *names[] = {t->name, t->submission[0], t->submission[1]};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!task_text_is_clean(names[i], strlen(names[i])) || strchr(names[i], '/') || names[i][0] == '.')
            return error_set(
                err, ERROR_INPUT,
                "the task's name and its submission's must be valid UTF-8, without a '/' or a leading dot");
    if (!t->name[0] || !t->submission[0][0])
        return error_set(err, ERROR_INPUT, "a task needs a name, and a name for its submission");
    return true;
}

static bool check_columns(const task_columns *c, const char *split, error *err) {
    if (c->text[0] < 1 || c->text[1] < 0 || c->label < TASK_LAST_COLUMN || c->fields < 0)
        return error_set(err, ERROR_INPUT, "%s: one text at least, in columns that count from 1", split);
    int last = c->text[0] > c->text[1] ? c->text[0] : c->text[1];
    if (c->label > last) last = c->label;
    if (c->fields && last > c->fields)
        return error_set(err, ERROR_INPUT, "%s: column %d of %d fields", split, last, c->fields);
    return true;
}

static bool check_labels(const task *t, error *err) {
    if (t->regression != (t->metric == METRIC_CORRELATION))
        return error_set(err, ERROR_INPUT, "metric %s goes with %s", task_metric_names[t->metric],
                         t->metric == METRIC_CORRELATION ? "a range of numbers (low and high), not with labels"
                                                         : "labels, not with a range of numbers");
    if (t->regression)
        return (t->low < t->high && t->low >= -RANGE_MAX && t->high <= RANGE_MAX) ||
               error_set(err, ERROR_INPUT, "low should be less than high, and both between -1e9 and 1e9");
    if (!t->label_words) return true;
    if (t->classes < 2 || t->classes > TASK_LABELS_MAX)
        return error_set(err, ERROR_INPUT, "%lld labels, where 2 to %d are possible", (long long)t->classes,
                         TASK_LABELS_MAX);
    if (t->metric != METRIC_ACCURACY && t->classes != 2)
        return error_set(err, ERROR_INPUT, "metric %s is for two classes, not %lld", task_metric_names[t->metric],
                         (long long)t->classes);
    for (int64_t c = 0; c < t->classes; c++) {
        const char *word = t->label_words[c];
        size_t length = strlen(word);
        if (!length || !task_text_is_clean(word, length))
            return error_set(err, ERROR_INPUT, "label %lld is empty, or not valid UTF-8", (long long)c + 1);
        if (task_label_index(t, word, length) != c) return error_set(err, ERROR_INPUT, "label '%s' stands twice", word);
    }
    return true;
}

bool task_check(const task *t, error *err) {
    return check_names(t, err) && check_labels(t, err) &&
           (!t->train_file[0] || check_columns(&t->train, "train", err)) &&
           (!t->dev_file[0] || check_columns(&t->dev, "dev", err)) &&
           (!t->test_file[0] || check_columns(&t->test, "test", err));
}
