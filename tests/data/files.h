// What the tests of data share: small files, a small vocabulary, errors to the letter.
#ifndef PAF_TESTS_DATA_FILES_H
#define PAF_TESTS_DATA_FILES_H

#include "../support.h"
#include "data/data.h"
#include "storage/storage.h"

// Writes folder/name (its folder too), without fsync.
static inline void write_bytes(const char *folder, const char *name, const char *bytes, size_t size) {
    error err = {0};
    char *path = memory_format("%s/%s", folder, name), *parent = memory_string(path);
    *strrchr(parent, '/') = 0;
    if (!file_make_folders(parent, &err)) FATAL("%s", err.text);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) FATAL("cannot write %s", path);
    memory_free(parent);
    memory_free(path);
}

static inline void write_text(const char *folder, const char *name, const char *text) {
    write_bytes(folder, name, text, strlen(text));
}

enum { ID_UNK = 1, ID_CLS, ID_SEP, ID_A = 5 }; // of small_tokenizer; then b, c, ... z

static inline tokenizer *small_tokenizer(void) {
    static const char text[] =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\n"
        "t\nu\nv\nw\nx\ny\nz\n";
    error err = {0};
    tokenizer *t = tokenizer_load_text(text, sizeof text - 1, true, "the test's vocabulary", &err);
    if (!t) FATAL("%s", err.text);
    return t;
}

enum { ID_BEGIN = 0, ID_END = 2, ID_BPE_A = 4 }; // of small_bpe; then b, c, ... z; it has nothing else

static inline tokenizer *small_bpe(void) {
    char text[1024] = "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3";
    for (int i = 0; i < 26; i++) sprintf(text + strlen(text), ", \"%c\": %d", 'a' + i, ID_BPE_A + i);
    strcat(text, ", \"<mask>\": 30}");
    char merges[] = "#version: 0.2\n";
    error err = {0};
    tokenizer_files files = {{{"vocab.json", text, strlen(text)}, {"merges.txt", merges, strlen(merges)}}, 2};
    tokenizer *t = tokenizer_load_files(&files, true, &err);
    if (!t) FATAL("%s", err.text);
    return t;
}

static inline void assert_columns(const task_columns *c, int first, int second, int label, int fields, bool header,
                                  bool drop_wrong) {
    assert_int_equal(c->text[0], first);
    assert_int_equal(c->text[1], second);
    assert_int_equal(c->label, label);
    assert_int_equal(c->fields, fields);
    assert_int_equal(c->header, header);
    assert_int_equal(c->drop_wrong, drop_wrong);
}

// err holds this text, where %s is the folder.
static inline void assert_error(const error *err, const char *format, const char *folder) {
    char expected[2048], *out = expected;
    for (const char *at = format; *at; at++) {
        if (at[0] == '%' && at[1] == 's')
            out += sprintf(out, "%s", folder), at++;
        else
            *out++ = *at;
    }
    *out = 0;
    assert_string_equal(err->text, expected);
    assert_int_equal(err->kind, ERROR_INPUT);
}

// What was read of a file can be trained on.
static inline void assert_sound(const dataset *d, const task *t, int64_t max_length) {
    assert_true(d->n > 0 && d->starts[0] == 0 && d->longest <= max_length);
    for (int64_t i = 0; i < d->n; i++) {
        int64_t length = dataset_length(d, i);
        assert_true(length >= 2 && length <= d->longest);
        assert_true(d->second[i] >= 2 && d->second[i] <= length);
        if (d->labels) assert_true(d->labels[i] >= 0 && d->labels[i] < t->classes);
        if (d->targets) assert_true(d->targets[i] >= t->low && d->targets[i] <= t->high);
    }
}

// Loads `text` as the dev file of a task.
static inline bool load_dev(dataset *d, const task *t, const char *folder, const tokenizer *tok, const char *text,
                            int64_t max_length, error *err) {
    write_text(folder, t->dev_file, text);
    *err = (error){0};
    return dataset_load(d, t, folder, "dev", tok, max_length, err);
}

#endif
