// Small corpora as token shards, and what the tests of shards share.
#ifndef PAF_TESTS_DATA_CORPORA_H
#define PAF_TESTS_DATA_CORPORA_H

#include "files.h"

#include "data/internal.h"

// Of each test: an empty folder and small_tokenizer.
static char *folder;
static tokenizer *tok;
static error err;

static inline int setup(void **state) {
    (void)state;
    folder = test_folder();
    tok = small_tokenizer();
    error_clear(&err);
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    error_clear(&err);
    assert_true(file_remove_tree(folder, &err));
    memory_free(folder);
    tokenizer_destroy(tok);
    return 0;
}

// Makes folder/tokens of files (paths below folder, ended by NULL) as `ranks` ranks would, one after the other; each
// takes as many files as the others, the last one the rest.
static inline bool make_shards(const char *folder, const char *const *files, const tokenizer *tok, shards_job job,
                               shards_counts counts[SHARDS_SPLITS], error *err) {
    char *output = memory_format("%s/tokens", folder), *paths[64], *accounts[8] = {0};
    size_t n = 0;
    for (; files[n]; n++) paths[n] = memory_format("%s/%s", folder, files[n]);
    job.output = output;
    job.tok = tok;
    if (job.ranks == 0) job.ranks = 1;
    size_t each = n / (size_t)job.ranks;
    bool good = shards_begin(&job, err), begun = good;
    for (job.rank = 0; good && job.rank < job.ranks; job.rank++) {
        size_t first = (size_t)job.rank * each, end = job.rank + 1 == job.ranks ? n : first + each;
        good = shards_spool(&job, paths + first, end - first, NULL, err);
    }
    for (job.rank = 0; good && job.rank < job.ranks; job.rank++)
        good = (accounts[job.rank] = shards_write(&job, err)) != NULL;
    good = good && shards_commit(&job, accounts, counts, err);
    if (begun && !good) shards_abandon(&job);
    for (int64_t r = 0; r < job.ranks; r++) memory_free(accounts[r]);
    for (size_t i = 0; i < n; i++) memory_free(paths[i]);
    memory_free(output);
    return good;
}

// The tokens of a part of it as text: ids of small_tokenizer as letters, others as '-', lines ended by '/', documents
// by '.', shards by '|'. Caller frees.
static inline char *spell(const char *folder, const char *part, const tokenizer *tok) {
    error err = {0};
    shards s;
    char *path = memory_format("%s/tokens/%s", folder, part);
    if (!shards_open(&s, path, tok, &err)) FATAL("%s", err.text);
    char *text = memory_allocate((size_t)(3 * s.counts.tokens + s.n) + 1, 1), *out = text;
    for (int64_t i = 0; i < s.n; i++) {
        int64_t *lines, *documents;
        if (!shards_read_boundaries(&s, i, &lines, &documents, &err)) FATAL("%s", err.text);
        for (int64_t d = 0; d < s.list[i].documents; d++, *out++ = '.')
            for (int64_t line = documents[d]; line < documents[d + 1]; line++, *out++ = '/')
                for (int64_t at = lines[line]; at < lines[line + 1]; at++) {
                    int32_t id;
                    if (!shards_read(&s, s.list[i].first + at, 1, &id, &err)) FATAL("%s", err.text);
                    *out++ = id >= ID_A ? (char)('a' + id - ID_A) : '-';
                }
        *out++ = '|';
        memory_free(lines);
        memory_free(documents);
    }
    shards_close(&s);
    memory_free(path);
    return text;
}

#endif
