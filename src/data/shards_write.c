// Shards from spools. Every rank goes through all documents in the same order and so knows where each shard begins and
// ends; it reads and writes those that are its own, and passes over the others. Then one rank gives them their name:
//
//     OUTPUT.tmp/spool/         removed when all shards are there
//     OUTPUT.tmp/train/         shards, each flushed, closed, fsynced, read back and compared
//     OUTPUT.tmp/heldout/
//     OUTPUT.old/               what was OUTPUT, for the moment in which OUTPUT.tmp takes its name
#include "data/internal.h"

#include <string.h>

#define BLOCK_ELEMENTS ((int64_t)1 << 18) // read back at a time

const char *const shards_split_names[SHARDS_SPLITS] = {"train", "heldout"};

// A shard that is being filled.
typedef struct {
    bool mine;      // what belongs to another rank is counted, not kept
    int64_t number; // within its split
    int64_t documents, lines, tokens, replaced;
    int32_t *ids;                                            // [tokens]
    int64_t *line_starts;                                    // [lines + 1] tokens
    int64_t *document_starts;                                // [documents + 1] lines
    size_t ids_capacity, lines_capacity, documents_capacity; // in elements
} draft;

typedef struct {
    const shards_job *job;
    spool_reader spool;
    draft drafts[SHARDS_SPLITS];
    int64_t *lengths; // of one document's lines
    size_t lengths_capacity;
    json_t *account; // {"train": {NAME: {...}}, "heldout": {...}}
} writing;

static char *split_folder(const shards_job *job, int split) {
    return memory_format("%s.tmp/%s", job->output, shards_split_names[split]);
}

// ---- one shard -----------------------------------------------------------------------------------------------------

// The datasets of a shard; what they hold, the format's page says.
typedef struct {
    const char *name;
    h5_type type;
    int64_t n;
    const void *data;
    size_t size;
} column;

#define COLUMNS 3
static void list_columns(column out[COLUMNS], const draft *d) {
    out[0] = (column){"ids", H5_INT32, d->tokens, d->ids, sizeof *d->ids};
    out[1] = (column){"lines", H5_INT64, d->lines + 1, d->line_starts, sizeof *d->line_starts};
    out[2] = (column){"documents", H5_INT64, d->documents + 1, d->document_starts, sizeof *d->document_starts};
}

static bool write_columns(const char *path, const column *columns, error *err) {
    h5_file *file = h5_create(path, err);
    if (!file) return false;
    bool good = h5_write_note(file, "format", "a shard of paf tokens, see " SHARDS_FILE, err);
    for (int i = 0; good && i < COLUMNS; i++)
        good = h5_write(file, columns[i].name, columns[i].type, 1, &columns[i].n, columns[i].data, err);
    return h5_close(file, err) && good;
}

// Reads a dataset back by blocks and holds it against memory.
static bool check_column(h5_file *file, const column *c, void *block, error *err) {
    int dimensions;
    int64_t shape[2];
    if (!h5_shape(file, c->name, c->type, &dimensions, shape, err)) return false;
    bool same = dimensions == 1 && shape[0] == c->n;
    for (int64_t at = 0; same && at < c->n; at += BLOCK_ELEMENTS) {
        int64_t n = c->n - at < BLOCK_ELEMENTS ? c->n - at : BLOCK_ELEMENTS;
        if (!h5_read(file, c->name, c->type, (int64_t[]){at, 0}, (int64_t[]){n, 1}, block, 1, err)) return false;
        same = !memcmp(block, (const char *)c->data + (size_t)at * c->size, (size_t)n * c->size);
    }
    return same || error_set(err, ERROR_INTERNAL, "%s does not read back as it was written", c->name);
}

static bool check_columns(const char *path, const column *columns, error *err) {
    h5_file *file = h5_open(path, err);
    if (!file) return false;
    void *block = memory_allocate((size_t)BLOCK_ELEMENTS, sizeof(int64_t));
    bool good = true;
    for (int i = 0; good && i < COLUMNS; i++) good = check_column(file, &columns[i], block, err);
    memory_free(block);
    return h5_close(file, good ? err : &(error){0}) && good;
}

// Ends a shard, if there is one: writes it and enters it into the account. The next one begins empty.
static bool finish_shard(writing *w, int split, error *err) {
    draft *d = &w->drafts[split];
    bool good = true;
    if (d->mine && d->documents > 0) {
        column columns[COLUMNS];
        list_columns(columns, d);
        char *name = memory_format(SHARD_NAME, (long long)d->number), *folder = split_folder(w->job, split);
        char *path = memory_format("%s/%s", folder, name), checksum[CHECKSUM_SIZE];
        good = write_columns(path, columns, err) && check_columns(path, columns, err) &&
               checksum_file(checksum, path, err);
        if (good)
            json_object_set_new(json_object_get(w->account, shards_split_names[split]), name,
                                json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I}", "file", name, "bytes",
                                          (json_int_t)file_size(path), "xxh3_128", checksum, "documents",
                                          (json_int_t)d->documents, "lines", (json_int_t)d->lines, "tokens",
                                          (json_int_t)d->tokens, "replaced", (json_int_t)d->replaced));
        else
            err->kind = ERROR_INTERNAL;
        memory_free(path);
        memory_free(folder);
        memory_free(name);
    }
    if (d->documents > 0) d->number++;
    d->documents = d->lines = d->tokens = d->replaced = 0;
    return good;
}

// ---- filling -------------------------------------------------------------------------------------------------------

// Makes room for n elements in an array that at least doubles.
static void *reserve(void *array, int64_t n, size_t *capacity, size_t size) {
    if ((size_t)n <= *capacity) return array;
    *capacity = (size_t)n > 2 * *capacity ? (size_t)n : 2 * *capacity;
    return memory_resize(array, *capacity, size);
}

// Reads the current document behind those that the draft has.
static bool append_document(writing *w, draft *d, error *err) {
    int64_t lines = w->spool.current.lines, tokens = w->spool.current.tokens;
    w->lengths = reserve(w->lengths, lines, &w->lengths_capacity, sizeof *w->lengths);
    d->ids = reserve(d->ids, d->tokens + tokens, &d->ids_capacity, sizeof *d->ids);
    d->line_starts = reserve(d->line_starts, d->lines + lines + 1, &d->lines_capacity, sizeof *d->line_starts);
    d->document_starts =
        reserve(d->document_starts, d->documents + 2, &d->documents_capacity, sizeof *d->document_starts);
    if (!spool_read(&w->spool, w->lengths, d->ids + d->tokens, err)) return false;
    int64_t at = d->tokens;
    for (int64_t i = 0; i < lines; i++) {
        d->line_starts[d->lines + i] = at;
        at += w->lengths[i];
    }
    d->line_starts[d->lines + lines] = at;
    d->document_starts[d->documents] = d->lines;
    d->document_starts[d->documents + 1] = d->lines + lines;
    return true;
}

static bool add_document(writing *w, error *err) {
    const spool_document *current = &w->spool.current;
    draft *d = &w->drafts[current->split];
    if (d->tokens >= w->job->tokens_per_shard && !finish_shard(w, (int)current->split, err)) return false;
    d->mine = (d->number + current->split) % w->job->ranks == w->job->rank;
    if (d->mine && !append_document(w, d, err)) return false;
    d->documents++;
    d->lines += current->lines;
    d->tokens += current->tokens;
    d->replaced += current->replaced;
    return true;
}

char *shards_write(const shards_job *job, error *err) {
    writing w = {.job = job, .spool = {.job = job}};
    w.account = json_pack("{s:{}, s:{}}", shards_split_names[SHARDS_TRAIN], shards_split_names[SHARDS_HELDOUT]);
    bool good = true;
    while (good && spool_next(&w.spool, err)) good = add_document(&w, err);
    good = good && err->kind == ERROR_NONE;
    for (int split = 0; good && split < SHARDS_SPLITS; split++) good = finish_shard(&w, split, err);
    char *text = good ? json_format(w.account, false, NULL) : NULL;
    json_decref(w.account);
    spool_close(&w.spool);
    memory_free(w.lengths);
    for (int split = 0; split < SHARDS_SPLITS; split++) {
        memory_free(w.drafts[split].ids);
        memory_free(w.drafts[split].line_starts);
        memory_free(w.drafts[split].document_starts);
    }
    return text;
}

// ---- folders -------------------------------------------------------------------------------------------------------

// Did we make this, in a folder of ours? A split that is finished has its tokens.json.
static bool is_ours(const char *folder, const char *name, bool finished) {
    bool is_split =
        !strcmp(name, shards_split_names[SHARDS_TRAIN]) || !strcmp(name, shards_split_names[SHARDS_HELDOUT]);
    if (!finished) return is_split || !strcmp(name, "spool");
    char *manifest = memory_format("%s/%s/" SHARDS_FILE, folder, name);
    bool good = is_split && file_exists(manifest);
    memory_free(manifest);
    return good;
}

// A folder that holds anything but what we put there is not ours to replace.
static bool may_replace(const char *folder, bool finished, error *err) {
    size_t n;
    if (!file_exists(folder)) return true;
    char **names = file_list(folder, &n, err);
    bool good = names != NULL;
    for (size_t i = 0; names && i < n; i++) {
        if (good && !is_ours(folder, names[i], finished))
            good = error_set(err, ERROR_INPUT,
                             "%s/%s is not of token shards and would be lost: name another --tokenize.output", folder,
                             names[i]);
        memory_free(names[i]);
    }
    memory_free(names);
    return good;
}

bool shards_begin(const shards_job *job, error *err) {
    char *draft = memory_format("%s.tmp", job->output), *old = memory_format("%s.old", job->output);
    char *spool = spool_folder(job);
    bool good = may_replace(job->output, true, err) && may_replace(draft, false, err) && may_replace(old, true, err);
    // Killed between its two renames, a writer has left what was there under this name.
    if (good && file_exists(old))
        good = file_exists(job->output) ? file_remove_tree(old, err) : file_rename(old, job->output, err);
    good = good && file_remove_tree(draft, err) && file_make_folders(spool, err);
    for (int split = 0; good && split < SHARDS_SPLITS; split++) {
        char *folder = split_folder(job, split);
        good = file_make_folders(folder, err);
        memory_free(folder);
    }
    memory_free(spool);
    memory_free(old);
    memory_free(draft);
    return good;
}

void shards_abandon(const shards_job *job) {
    char *draft = memory_format("%s.tmp", job->output);
    if (may_replace(draft, false, &(error){0})) file_remove_tree(draft, &(error){0});
    memory_free(draft);
}

static bool give_name(const shards_job *job, error *err) {
    char *draft = memory_format("%s.tmp", job->output), *old = memory_format("%s.old", job->output);
    bool replaces = file_exists(job->output);
    bool good = !replaces || file_rename(job->output, old, err);
    if (good && !file_rename(draft, job->output, err)) {
        good = false;
        if (replaces) file_rename(old, job->output, &(error){0});
    }
    if (good) file_remove_tree(old, &(error){0}); // what stays of it, the next writer removes
    memory_free(old);
    memory_free(draft);
    return good;
}

// ---- tokens.json ---------------------------------------------------------------------------------------------------

// Puts the shards of a split, from all accounts, into their order, and adds up what they hold.
static json_t *join_accounts(json_t *const *accounts, int64_t ranks, int split, shards_counts *counts) {
    json_t *list = json_array(), *all = json_object();
    *counts = (shards_counts){0};
    for (int64_t r = 0; r < ranks; r++)
        json_object_update(all, json_object_get(accounts[r], shards_split_names[split]));
    for (; counts->shards < (int64_t)json_object_size(all); counts->shards++) {
        char *name = memory_format(SHARD_NAME, (long long)counts->shards);
        json_t *entry = json_object_get(all, name);
        if (!entry) FATAL("no rank has written %s", name);
        counts->documents += json_integer_value(json_object_get(entry, "documents"));
        counts->lines += json_integer_value(json_object_get(entry, "lines"));
        counts->tokens += json_integer_value(json_object_get(entry, "tokens"));
        counts->replaced += json_integer_value(json_object_get(entry, "replaced"));
        json_array_append(list, entry);
        memory_free(name);
    }
    json_decref(all);
    return list;
}

// list is taken.
static bool write_manifest(const shards_job *job, int split, json_t *list, const shards_counts *counts, error *err) {
    json_t *manifest = json_pack("{s:s, s:i, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:o}", "format", SHARDS_FORMAT,
                                 "version", SHARDS_VERSION, "program", "paf " PAF_VERSION, "split",
                                 shards_split_names[split], "vocabulary", shards_vocabulary(job->tok), "documents",
                                 (json_int_t)counts->documents, "lines", (json_int_t)counts->lines, "tokens",
                                 (json_int_t)counts->tokens, "replaced", (json_int_t)counts->replaced, "shards", list);
    size_t size;
    char *text = json_format(manifest, true, &size), *seal = checksum_seal(SHARDS_FILE, text, size);
    char *folder = split_folder(job, split);
    char *path = memory_format("%s/" SHARDS_FILE, folder), *seal_path = memory_format("%s/" SHARDS_SEAL, folder);
    bool good = file_write_atomic(path, text, size, err) && file_write_atomic(seal_path, seal, strlen(seal), err);
    memory_free(seal_path);
    memory_free(path);
    memory_free(folder);
    memory_free(seal);
    memory_free(text);
    json_decref(manifest);
    return good;
}

// A part that got no document is no folder.
static bool complete_split(const shards_job *job, json_t *const *accounts, int split, shards_counts *counts,
                           error *err) {
    json_t *list = join_accounts(accounts, job->ranks, split, counts);
    if (counts->shards > 0) return write_manifest(job, split, list, counts, err);
    json_decref(list);
    char *folder = split_folder(job, split);
    bool good = file_remove_tree(folder, err);
    memory_free(folder);
    return good;
}

#define HOLDS_NONE_OUT "; --tokenize.heldout=0 holds none out"

static bool complete(const shards_job *job, json_t *const *accounts, shards_counts counts[SHARDS_SPLITS], error *err) {
    for (int split = 0; split < SHARDS_SPLITS; split++)
        if (!complete_split(job, accounts, split, &counts[split], err)) return false;
    if (counts[SHARDS_TRAIN].tokens + counts[SHARDS_HELDOUT].tokens == 0)
        return error_set(err, ERROR_INPUT, "there is no text in the files that were named: nothing to write");
    if (counts[SHARDS_TRAIN].tokens == 0)
        return error_set(err, ERROR_INPUT,
                         "every document (%lld) fell to the held-out part, none is left to train on" HOLDS_NONE_OUT,
                         (long long)counts[SHARDS_HELDOUT].documents);
    if (job->heldout > 0 && counts[SHARDS_HELDOUT].tokens == 0)
        return error_set(err, ERROR_INPUT, "no document (of %lld) fell to the held-out part" HOLDS_NONE_OUT,
                         (long long)counts[SHARDS_TRAIN].documents);
    char *spool = spool_folder(job);
    bool good = file_remove_tree(spool, err) && give_name(job, err);
    memory_free(spool);
    return good;
}

bool shards_commit(const shards_job *job, char *const *accounts, shards_counts counts[SHARDS_SPLITS], error *err) {
    json_t **parsed = memory_allocate((size_t)job->ranks, sizeof *parsed);
    bool good = true;
    for (int64_t r = 0; good && r < job->ranks; r++)
        good = (parsed[r] = json_parse(accounts[r], strlen(accounts[r]), "a rank's account of its shards", err));
    good = good && complete(job, parsed, counts, err);
    for (int64_t r = 0; r < job->ranks; r++) json_decref(parsed[r]);
    memory_free(parsed);
    return good;
}
