#include "data/data.h"

#include "storage/storage.h"

#include <math.h>
#include <string.h>

static size_t longest_row(const task *t) {
    size_t longest = 0;
    for (int64_t c = 0; t->words_in_submission && t->label_words && c < t->classes; c++)
        if (strlen(t->label_words[c]) > longest) longest = strlen(t->label_words[c]);
    return longest + 64; // the index, and a number of a range that task_check has found sane
}

static int format_value(char *out, size_t size, const task *t, int64_t i, float value) {
    double clipped = fmax(t->low, fmin(t->high, value));
    if (fabs(clipped) < 0.0005) clipped = 0; // never -0.000
    return snprintf(out, size, "%lld\t%.3f\n", (long long)i, clipped);
}

static int format_class(char *out, size_t size, const task *t, int64_t i, int32_t class) {
    REQUIRE(class >= 0 && class < t->classes);
    if (!t->words_in_submission) return snprintf(out, size, "%lld\t%d\n", (long long)i, (int)class);
    REQUIRE(t->label_words);
    return snprintf(out, size, "%lld\t%s\n", (long long)i, t->label_words[class]);
}

static bool check_values(int64_t n, const float *values, error *err) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return error_set(err, ERROR_INTERNAL,
                             "the prediction of example %lld is not a number: the model has diverged", (long long)i);
    return true;
}

bool submission_write(const char *path, const task *t, int64_t n, const int32_t *predicted, const float *values,
                      error *err) {
    if (t->regression && !check_values(n, values, err)) return false;
    size_t row = longest_row(t), used = 0;
    char *text = memory_allocate((size_t)n + 1, row);
    used += (size_t)snprintf(text, row, "index\tprediction\n");
    for (int64_t i = 0; i < n; i++)
        used += (size_t)(t->regression ? format_value(text + used, row, t, i, values[i])
                                       : format_class(text + used, row, t, i, predicted[i]));
    bool good = file_write_atomic(path, text, used, err);
    memory_free(text);
    return good;
}
