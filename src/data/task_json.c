// Tasks in checkpoints. What is read may come from a stranger: every member is looked at before it is believed.
#include "data/internal.h"

#include "storage/storage.h"

#include <limits.h>
#include <string.h>

static json_t *columns_to_json(const task_columns *c) {
    return json_pack("{s:[i,i], s:i, s:i, s:b, s:b}", "text", c->text[0], c->text[1], "label", c->label, "fields",
                     c->fields, "header", c->header, "drop_wrong", c->drop_wrong);
}

static json_t *labels_to_json(const task *t) {
    if (!t->label_words) return json_null();
    json_t *labels = json_array();
    for (int64_t c = 0; c < t->classes; c++) json_array_append_new(labels, json_string(t->label_words[c]));
    return labels;
}

json_t *task_to_json(const task *t) {
    json_t *value = json_pack("{s:s, s:s, s:s, s:o, s:b, s:f, s:f}", "name", t->name, "folder", t->folder, "metric",
                              task_metric_names[t->metric], "labels", labels_to_json(t), "regression", t->regression,
                              "low", t->low, "high", t->high);
    json_t *rest =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:[s,s]}", "train_file", t->train_file,
                  "dev_file", t->dev_file, "test_file", t->test_file, "dev2_file", t->dev2_file, "test2_file",
                  t->test2_file, "test_elsewhere", t->test_elsewhere, "train", columns_to_json(&t->train), "dev",
                  columns_to_json(&t->dev), "test", columns_to_json(&t->test), "words_in_submission",
                  t->words_in_submission, "submission", t->submission[0], t->submission[1]);
    REQUIRE(value && rest && json_object_update(value, rest) == 0);
    json_decref(rest);
    return value;
}

// ---- reading -------------------------------------------------------------------------------------------------------

static bool copy_text(char out[TASK_NAME_SIZE], const json_t *value, const char *what, error *err) {
    if (!json_is_string(value) || json_string_length(value) >= TASK_NAME_SIZE)
        return error_set(err, ERROR_INPUT, "task: %s should be a text of at most %d bytes", what, TASK_NAME_SIZE - 1);
    memset(out, 0, TASK_NAME_SIZE);
    memcpy(out, json_string_value(value), json_string_length(value));
    return true;
}

static bool read_bool(bool *out, const json_t *object, const char *key, error *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value)) return error_set(err, ERROR_INPUT, "task: %s should be true or false", key);
    *out = json_is_true(value);
    return true;
}

static bool to_int(int *out, const json_t *value, const char *what, error *err) {
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : LLONG_MIN;
    if (number < INT_MIN || number > INT_MAX) return error_set(err, ERROR_INPUT, "task: %s should be a number", what);
    *out = (int)number;
    return true;
}

static bool read_columns(task_columns *c, const json_t *object, const char *split, error *err) {
    const json_t *value = json_object_get(object, split), *text = json_object_get(value, "text");
    if (json_array_size(text) != 2)
        return error_set(err, ERROR_INPUT, "task: %s should have an array text of two columns", split);
    return to_int(&c->text[0], json_array_get(text, 0), "text", err) &&
           to_int(&c->text[1], json_array_get(text, 1), "text", err) &&
           to_int(&c->label, json_object_get(value, "label"), "label", err) &&
           to_int(&c->fields, json_object_get(value, "fields"), "fields", err) &&
           read_bool(&c->header, value, "header", err) && read_bool(&c->drop_wrong, value, "drop_wrong", err);
}

static bool read_labels(task *t, const json_t *object, error *err) {
    const json_t *labels = json_object_get(object, "labels");
    t->classes = t->regression ? 1 : 0;
    if (json_is_null(labels)) return true;
    size_t n = json_array_size(labels); // 0 for what is not an array
    if (!n || n > TASK_LABELS_MAX || t->regression)
        return error_set(err, ERROR_INPUT, "task: labels should be an array of 2 to %d words, or null",
                         TASK_LABELS_MAX);
    t->label_words = memory_allocate(n, sizeof *t->label_words);
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(labels, i)); // NULL for what is no text
        if (!word) return error_set(err, ERROR_INPUT, "task: label %zu should be a word", i + 1);
        t->label_words[t->classes++] = memory_string(word);
    }
    return true;
}

static bool read_texts(task *t, const json_t *object, error *err) {
    const struct {
        const char *key;
        char *out;
    } texts[] = {{"name", t->name},
                 {"folder", t->folder},
                 {"train_file", t->train_file},
                 {"dev_file", t->dev_file},
                 {"test_file", t->test_file},
                 {"dev2_file", t->dev2_file},
                 {"test2_file", t->test2_file},
                 {"test_elsewhere", t->test_elsewhere}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!copy_text(texts[i].out, json_object_get(object, texts[i].key), texts[i].key, err)) return false;
    const json_t *submission = json_object_get(object, "submission");
    return copy_text(t->submission[0], json_array_get(submission, 0), "submission", err) &&
           copy_text(t->submission[1], json_array_get(submission, 1), "submission", err);
}

static bool read_task(task *t, const json_t *value, error *err) {
    const char *metric;
    if (!json_is_object(value)) return error_set(err, ERROR_INPUT, "task: it should be an object");
    return read_texts(t, value, err) && json_get_string(value, "metric", &metric, NULL, "task", err) &&
           task_parse_metric(&t->metric, metric, err) && read_bool(&t->regression, value, "regression", err) &&
           json_get_double(value, "low", &t->low, NULL, "task", err) &&
           json_get_double(value, "high", &t->high, NULL, "task", err) && read_labels(t, value, err) &&
           read_columns(&t->train, value, "train", err) && read_columns(&t->dev, value, "dev", err) &&
           read_columns(&t->test, value, "test", err) &&
           read_bool(&t->words_in_submission, value, "words_in_submission", err) &&
           (task_check(t, err) || error_prefix(err, "task"));
}

bool task_from_json(task *t, const json_t *value, error *err) {
    *t = (task){0};
    bool good = read_task(t, value, err);
    if (!good) task_destroy(t);
    return good;
}
