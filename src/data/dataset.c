// Examples of a split: rows of its file turned into ids, ready to be packed.
#include "data/internal.h"

#include "storage/storage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_LOW 3 // the special tokens of a pair (RoBERTa has one more)
#define LENGTH_HIGH 65536

const char *const data_order_words[] = {"even", "random", NULL};

const option data_options[] = {
    {"data.task", OPTION_STRING, offsetof(data_settings, task), "",
     .help = "cola sst2 mrpc stsb qqp mnli qnli rte wnli ax, or the path of a task file NAME.ini"},
    {"data.dir", OPTION_STRING, offsetof(data_settings, dir), "",
     .help = "the folder that holds the task's folder, or its files"},
    {"data.vocab", OPTION_STRING, offsetof(data_settings, vocab), "",
     .help = "BERT's vocab.txt, one piece a line; or RoBERTa's vocab.json with merges.txt beside it, or the folder of "
             "both"},
    {"data.lower_case", OPTION_BOOL, offsetof(data_settings, lower_case), "on",
     .help = "with a vocab.txt: lower-case the text and drop accents, as BERT uncased does"},
    {"data.max_length", OPTION_INT, offsetof(data_settings, max_length), "128", .low = LENGTH_LOW, .high = LENGTH_HIGH,
     .help = "tokens of an example, special ones included; longer ones are truncated"},
    {"data.order", OPTION_CHOICE, offsetof(data_settings, order), "even", .words = data_order_words,
     .help =
         "of an epoch's examples; even: at random, but each step gets short and long ones alike, and so as much work"},
    {0},
};

// ---- finding the file ----------------------------------------------------------------------------------------------

typedef struct {
    const char *split, *file;
    const char *elsewhere; // another place below data.dir; "" where there is none
    const task_columns *columns;
} split_place;

static bool find_split(split_place *out, const task *t, const char *split, error *err) {
    const split_place places[] = {{"train", t->train_file, "", &t->train},
                                  {"dev", t->dev_file, "", &t->dev},
                                  {"test", t->test_file, t->test_elsewhere, &t->test},
                                  {"dev_mismatched", t->dev2_file, "", &t->dev},
                                  {"test_mismatched", t->test2_file, "", &t->test}};
    char names[TASK_NAME_SIZE] = "";
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!*places[i].file) continue;
        *out = places[i];
        if (!strcmp(split, places[i].split)) return true;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", places[i].split);
    }
    return error_set(err, ERROR_INPUT, "task %s has no split '%s', only %s", t->name, split, names);
}

bool dataset_path(char *out, const task *t, const char *dir, const char *split, error *err) {
    split_place place;
    if (!find_split(&place, t, split, err)) return false;
    if (!*dir) return error_set(err, ERROR_INPUT, "where is the data? Set data.dir");
    if (!file_is_folder(dir)) return error_set(err, ERROR_INPUT, "there is no folder %s (data.dir)", dir);

    char below[3][2 * TASK_NAME_SIZE];
    int n = 0;
    if (*t->folder) snprintf(below[n++], sizeof *below, "%s/%s", t->folder, place.file);
    snprintf(below[n++], sizeof *below, "%s", place.file);
    if (*place.elsewhere) snprintf(below[n++], sizeof *below, "%s", place.elsewhere);

    char sought[sizeof below + 16] = "";
    for (int i = 0; i < n; i++) {
        int length = snprintf(out, OPTION_STRING_SIZE * 2, "%s/%s", dir, below[i]);
        if (length < OPTION_STRING_SIZE * 2 && file_exists(out)) return true;
        size_t used = strlen(sought);
        snprintf(sought + used, sizeof sought - used, "%s%s", used ? " or " : "", below[i]);
    }
    return error_set(err, ERROR_INPUT, "task %s: no %s file: %s should be in %s (data.dir)", t->name, split, sought,
                     dir);
}

// ---- labels --------------------------------------------------------------------------------------------------------

static int compare_fields(const void *a, const void *b) {
    const field *x = a, *y = b;
    int order = memcmp(x->start, y->start, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

// Sorts labels [n] and keeps one of each; how many are left.
static int64_t keep_distinct(field *labels, int64_t n) {
    qsort(labels, (size_t)n, sizeof *labels, compare_fields);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || compare_fields(&labels[i], &labels[kept - 1])) labels[kept++] = labels[i];
    return kept;
}

static void set_labels(task *t, const field *labels, int64_t n) {
    t->classes = n;
    t->label_words = memory_allocate((size_t)n, sizeof *t->label_words);
    for (int64_t c = 0; c < n; c++) t->label_words[c] = memory_format("%.*s", (int)labels[c].length, labels[c].start);
}

static bool collect(task *t, row_reader *rows, field *labels, error *err) {
    int64_t n = 0;
    row r;
    row_status status;
    while ((status = row_reader_next(rows, &r, err)) == ROW_READ) {
        if (!r.label.length || r.label.length >= TASK_NAME_SIZE || !task_text_is_clean(r.label.start, r.label.length)) {
            char text[FIELD_EXCERPT_SIZE];
            return error_set(err, ERROR_INPUT, "%s:%lld: '%s' is no label: it should be 1 to %d bytes of UTF-8",
                             rows->path, (long long)rows->line, field_excerpt(text, r.label), TASK_NAME_SIZE - 1);
        }
        labels[n++] = r.label;
    }
    if (status == ROW_WRONG) return false;
    n = keep_distinct(labels, n);
    if (n < 2 || n > TASK_LABELS_MAX)
        return error_set(err, ERROR_INPUT,
                         "%s: %lld distinct labels, where 2 to %d are possible; is it the right column?", rows->path,
                         (long long)n, TASK_LABELS_MAX);
    set_labels(t, labels, n);
    return task_check(t, err) || error_prefix(err, "%s", rows->path);
}

bool task_collect_labels(task *t, const char *dir, error *err) {
    if (t->regression || t->label_words) return true;
    char path[OPTION_STRING_SIZE * 2];
    row_reader rows;
    if (!dataset_path(path, t, dir, "train", err)) return false;
    if (t->train.label == 0)
        return error_set(err, ERROR_INPUT, "task %s: labels = auto, but its training file has no column of labels",
                         t->name);
    if (!row_reader_open(&rows, path, &t->train, err)) return false;
    field *labels = memory_allocate((size_t)row_reader_bound(&rows), sizeof *labels);
    bool good = collect(t, &rows, labels, err);
    memory_free(labels);
    row_reader_close(&rows);
    return good;
}

// "0, 1" or, of many, the first few.
static const char *list_labels(char *out, size_t size, const task *t) {
    size_t used = 0;
    int64_t shown = t->classes <= 8 ? t->classes : 6;
    for (int64_t c = 0; c < shown && used < size; c++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", c ? ", " : "", t->label_words[c]);
    if (shown < t->classes && used < size)
        snprintf(out + used, size - used, ", ... (%lld in all)", (long long)t->classes);
    return out;
}

static bool parse_class(int32_t *label, const task *t, const row_reader *rows, field f, error *err) {
    int64_t c = task_label_index(t, f.start, f.length);
    *label = (int32_t)c;
    if (c >= 0) return true;
    char text[FIELD_EXCERPT_SIZE], words[512];
    return error_set(err, ERROR_INPUT, "%s:%lld: label '%s' is not known; expected one of %s", rows->path,
                     (long long)rows->line, field_excerpt(text, f), list_labels(words, sizeof words, t));
}

// Decimal, the whole field, finite, in the task's range.
static bool parse_target(float *target, const task *t, const row_reader *rows, field f, error *err) {
    char text[FIELD_EXCERPT_SIZE], *end;
    field_excerpt(text, f);
    double value = strtod(text, &end);
    bool number = f.length > 0 && f.length == (size_t)(end - text) && strspn(text, "+-.0123456789eE") == f.length &&
                  isfinite(value);
    if (!number)
        return error_set(err, ERROR_INPUT, "%s:%lld: '%s' is not a number; expected one from %g to %g", rows->path,
                         (long long)rows->line, text, t->low, t->high);
    if (value < t->low || value > t->high)
        return error_set(err, ERROR_INPUT, "%s:%lld: %s is outside the task's range, %g to %g", rows->path,
                         (long long)rows->line, text, t->low, t->high);
    *target = (float)value;
    return true;
}

// ---- examples ------------------------------------------------------------------------------------------------------

typedef struct {
    int32_t *ids;
    size_t n, capacity;
} id_list;

static void id_append(id_list *list, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        list->ids = memory_grow(list->ids, list->n, &list->capacity, sizeof *list->ids);
        list->ids[list->n++] = ids[i];
    }
}

static void id_encode(id_list *list, const tokenizer *tok, field text, int64_t *replaced) {
    list->n = 0;
    tokenizer_encode(tok, text.start, text.length, &list->ids, &list->n, &list->capacity, replaced);
}

// How much of a pair of n[0] and n[1] tokens is kept, from the start, when room is for `budget`: longest first, as the
// fast tokenizers of Hugging Face do it (compared with tokenizers 0.21.1 over all small lengths). The shorter keeps
// what it has, up to half of the room rounded down; the longer gets the rest. Of two that are equally long the second
// counts as the longer one: of an odd number it keeps one more. (The slow tokenizers cut a token at a time and differ
// here.)
static void truncate_pair(int64_t keep[2], const int64_t n[2], int64_t budget) {
    keep[0] = n[0];
    keep[1] = n[1];
    if (n[0] + n[1] <= budget) return;
    int shorter = n[0] > n[1];
    if (keep[shorter] > budget / 2) keep[shorter] = budget / 2;
    keep[!shorter] = budget - keep[shorter];
}

typedef struct {
    dataset *d;
    const tokenizer *tok;
    tokenizer_specials special;
    int64_t max_length;
    bool pair;
    id_list all, text[2]; // text: of the row at hand, reused
} builder;

// Special tokens of an example.
static int64_t count_specials(const tokenizer_specials *special, bool pair) { return pair ? 2 + special->between : 2; }

// [CLS] A [SEP], or [CLS] A [SEP] B [SEP]; RoBERTa's pair is <s> A </s> </s> B </s>, all of type 0
static void add_example(builder *b, const row *r) {
    dataset *d = b->d;
    for (int i = 0; i <= b->pair; i++) id_encode(&b->text[i], b->tok, r->text[i], &d->replaced);
    const int64_t n[2] = {(int64_t)b->text[0].n, b->pair ? (int64_t)b->text[1].n : 0};
    int64_t keep[2], budget = b->max_length - count_specials(&b->special, b->pair);
    if (b->pair)
        truncate_pair(keep, n, budget);
    else
        keep[0] = n[0] < budget ? n[0] : budget, keep[1] = 0;

    id_append(&b->all, &b->special.begin, 1);
    id_append(&b->all, b->text[0].ids, keep[0]);
    for (int i = 0; i < (b->pair ? b->special.between : 1); i++) id_append(&b->all, &b->special.separator, 1);
    int64_t second = (int64_t)b->all.n - d->starts[d->n];
    if (b->pair) {
        id_append(&b->all, b->text[1].ids, keep[1]);
        id_append(&b->all, &b->special.separator, 1);
    }
    int64_t length = (int64_t)b->all.n - d->starts[d->n];
    d->second[d->n] = (int32_t)(b->special.types > 1 ? second : length);
    d->starts[++d->n] = (int64_t)b->all.n;
    d->truncated += keep[0] + keep[1] < n[0] + n[1];
    if (length > d->longest) d->longest = length;
}

static bool read_rows(builder *b, const task *t, row_reader *rows, error *err) {
    dataset *d = b->d;
    row r;
    row_status status;
    while ((status = row_reader_next(rows, &r, err)) == ROW_READ) {
        if (d->labels && !parse_class(&d->labels[d->n], t, rows, r.label, err)) return false;
        if (d->targets && !parse_target(&d->targets[d->n], t, rows, r.label, err)) return false;
        add_example(b, &r);
    }
    d->dropped = rows->dropped;
    if (status == ROW_WRONG) return false;
    if (d->n == 0) return error_set(err, ERROR_INPUT, "%s has no rows", rows->path);
    return true;
}

bool dataset_load(dataset *d, const task *t, const char *dir, const char *split, const tokenizer *tok,
                  int64_t max_length, error *err) {
    *d = (dataset){0};
    REQUIRE(max_length >= LENGTH_LOW && max_length <= LENGTH_HIGH);
    split_place place;
    char path[OPTION_STRING_SIZE * 2];
    row_reader rows;
    if (!find_split(&place, t, split, err) || !dataset_path(path, t, dir, split, err)) return false;
    builder b = {.d = d, .tok = tok, .special = tokenizer_special_ids(tok), .max_length = max_length};
    b.pair = place.columns->text[1] != 0;
    int64_t least = count_specials(&b.special, b.pair);
    if (max_length < least)
        return error_set(err, ERROR_INPUT, "data.max_length is %lld, but task %s takes %lld special tokens alone",
                         (long long)max_length, t->name, (long long)least);
    if (!row_reader_open(&rows, path, place.columns, err)) return false;

    bool labelled = place.columns->label != 0;
    REQUIRE(!labelled || t->regression || t->label_words); // task_collect_labels comes first
    size_t bound = (size_t)row_reader_bound(&rows);
    d->starts = memory_allocate(bound + 1, sizeof *d->starts);
    d->second = memory_allocate(bound, sizeof *d->second);
    if (labelled && t->regression) d->targets = memory_allocate(bound, sizeof *d->targets);
    if (labelled && !t->regression) d->labels = memory_allocate(bound, sizeof *d->labels);

    bool good = read_rows(&b, t, &rows, err);
    d->ids = memory_resize(b.all.ids, b.all.n, sizeof *d->ids); // no more than is used
    memory_free(b.text[0].ids);
    memory_free(b.text[1].ids);
    row_reader_close(&rows);
    if (!good) dataset_destroy(d);
    return good;
}

void dataset_destroy(dataset *d) {
    memory_free(d->starts);
    memory_free(d->ids);
    memory_free(d->second);
    memory_free(d->labels);
    memory_free(d->targets);
    *d = (dataset){0};
}
