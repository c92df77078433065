// What both kinds of tokenizer share: files in, special pieces, questions.
#include "storage/storage.h"
#include "tokenizer/internal.h"

#include <string.h>

const char *const special_names[2][SPECIAL_COUNT] = {
    [TOKENIZER_WORDPIECE] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
    [TOKENIZER_BPE] = {"<pad>", "<unk>", "<s>", "</s>", "<mask>"},
};

const char *const tokenizer_file_names[] = {"vocab.txt", "vocab.json", "merges.txt", NULL};
static const int first_name[] = {[TOKENIZER_WORDPIECE] = 0, [TOKENIZER_BPE] = 1}; // of a kind's files

// ---- special pieces

static bool begins_with(const char *text, size_t size, const char *name) {
    size_t length = strlen(name);
    return size >= length && memcmp(text, name, length) == 0;
}

// No name is the beginning of another, so there is no question of which one is meant.
size_t special_find(tokenizer_kind kind, const char *text, size_t size, const int32_t *ids, int *which) {
    const char *const *names = special_names[kind], *end = text + size;
    for (const char *at = text; (at = memchr(at, names[0][0], (size_t)(end - at))); at++)
        for (int i = 0; i < SPECIAL_COUNT; i++)
            if ((!ids || ids[i] >= 0) && begins_with(at, (size_t)(end - at), names[i])) {
                *which = i;
                return (size_t)(at - text);
            }
    return size;
}

static bool find_specials(tokenizer *t, const char *where, error *err) {
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        const char *name = special_names[t->kind][i];
        t->specials[i] = tokenizer_id(t, name);
        bool needed = i == SPECIAL_UNKNOWN || i == SPECIAL_BEGIN || i == SPECIAL_SEPARATOR;
        if (!needed || t->specials[i] >= 0) continue;
        if (t->kind == TOKENIZER_BPE)
            return error_set(err, ERROR_INPUT, "%s: the vocabulary has no piece %s", where, name);
        return error_set(err, ERROR_INPUT, "%s:%zu: the vocabulary ends without the piece %s", where, t->pieces.n,
                         name);
    }
    return true;
}

// ---- loading

void tokenizer_files_free(tokenizer_files *files) {
    for (size_t i = 0; i < files->n; i++) memory_free(files->file[i].text);
    *files = (tokenizer_files){0};
}

static const char *plain_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// A tokenizer of this kind that holds a copy of its files, which have the names of the kind, and nothing else yet.
static tokenizer *create(tokenizer_kind kind, const tokenizer_files *files, bool lower_case) {
    tokenizer *t = memory_allocate(1, sizeof *t);
    t->kind = kind;
    t->lower_case = kind == TOKENIZER_WORDPIECE && lower_case;
    for (size_t i = 0; i < files->n; i++) t->text_size += files->file[i].size;
    t->text = memory_allocate(t->text_size + 1, 1);
    char *at = t->text;
    for (; t->files.n < files->n; at += files->file[t->files.n++].size) {
        memcpy(at, files->file[t->files.n].text, files->file[t->files.n].size);
        t->files.file[t->files.n] = files->file[t->files.n];
        t->files.file[t->files.n].name = tokenizer_file_names[first_name[kind] + t->files.n];
        t->files.file[t->files.n].text = at;
    }
    return t;
}

static tokenizer *load(tokenizer_kind kind, const tokenizer_files *files, bool lower_case, error *err) {
    tokenizer *t = create(kind, files, lower_case);
    const char *where = files->file[0].name;
    bool good = (kind == TOKENIZER_BPE ? bpe_load : wordpiece_load)(t, files, err) &&
                (t->pieces.n > 0 || error_set(err, ERROR_INPUT, "%s:1: the vocabulary is empty", where)) &&
                find_specials(t, where, err);
    if (good) return t;
    tokenizer_destroy(t);
    return NULL;
}

tokenizer *tokenizer_load_files(const tokenizer_files *files, bool lower_case, error *err) {
    const char *names[TOKENIZER_FILES] = {"", ""};
    for (size_t i = 0; i < files->n; i++) names[i] = plain_name(files->file[i].name);
    if (files->n == 1 && !strcmp(names[0], "vocab.txt")) return load(TOKENIZER_WORDPIECE, files, lower_case, err);
    if (!strcmp(names[0], "vocab.json") && !strcmp(names[1], "merges.txt"))
        return load(TOKENIZER_BPE, files, lower_case, err);
    error_set(err, ERROR_INPUT, "a vocabulary is a vocab.txt, or a vocab.json and a merges.txt; here is %s",
              files->n ? names[0] : "neither");
    return NULL;
}

tokenizer *tokenizer_load_text(const char *text, size_t size, bool lower_case, const char *where, error *err) {
    return load(TOKENIZER_WORDPIECE, &(tokenizer_files){{{where, (char *)text, size}}, 1}, lower_case, err);
}

// The files of paths [n] as a tokenizer of this kind.
static tokenizer *load_paths(tokenizer_kind kind, char *const *paths, size_t n, bool lower_case, error *err) {
    tokenizer_files files = {0};
    tokenizer *t = NULL;
    for (; files.n < n; files.n++) {
        files.file[files.n].name = paths[files.n];
        files.file[files.n].text = text_read(paths[files.n], &files.file[files.n].size, err);
        if (!files.file[files.n].text) break;
    }
    if (files.n == n) t = load(kind, &files, lower_case, err);
    tokenizer_files_free(&files);
    return t;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && !strcmp(text + length - wanted, end);
}

tokenizer *tokenizer_load(const char *path, bool lower_case, error *err) {
    bool folder = file_is_folder(path);
    char *where = folder ? memory_format("%s/", path) : memory_format("%.*s", (int)(plain_name(path) - path), path);
    char *json = folder ? memory_format("%svocab.json", where) : memory_string(path);
    char *text = folder ? memory_format("%svocab.txt", where) : memory_string(path);
    char *merges = memory_format("%smerges.txt", where);
    tokenizer *t = NULL;
    if (folder ? file_exists(json) : ends_with(path, ".json"))
        t = load_paths(TOKENIZER_BPE, (char *[]){json, merges}, 2, lower_case, err);
    else if (!folder || file_exists(text))
        t = load_paths(TOKENIZER_WORDPIECE, &text, 1, lower_case, err);
    else
        error_set(err, ERROR_INPUT, "the folder %s holds no vocabulary: neither vocab.json nor vocab.txt", path);
    memory_free(where);
    memory_free(json);
    memory_free(text);
    memory_free(merges);
    return t;
}

void tokenizer_destroy(tokenizer *t) {
    if (!t) return;
    string_table_destroy(&t->pieces);
    bpe_destroy(t->bpe);
    memory_free(t->text);
    memory_free(t);
}

// ---- asking

int64_t tokenizer_size(const tokenizer *t) { return (int64_t)t->pieces.n; }

bool tokenizer_lower_case(const tokenizer *t) { return t->lower_case; }

tokenizer_specials tokenizer_special_ids(const tokenizer *t) {
    return (tokenizer_specials){.pad = t->specials[SPECIAL_PAD],
                                .unknown = t->specials[SPECIAL_UNKNOWN],
                                .begin = t->specials[SPECIAL_BEGIN],
                                .separator = t->specials[SPECIAL_SEPARATOR],
                                .mask = t->specials[SPECIAL_MASK],
                                .between = t->kind == TOKENIZER_BPE ? 2 : 1,
                                .types = t->kind == TOKENIZER_BPE ? 1 : 2};
}

const char *tokenizer_piece(const tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->pieces.n ? string_text(&t->pieces, id) : NULL;
}

int32_t tokenizer_id(const tokenizer *t, const char *piece) {
    size_t size = strlen(piece);
    return string_find(&t->pieces, string_hash(STRING_HASH, piece, size), "", piece, size);
}

bool tokenizer_continues_word(const tokenizer *t, int32_t id) {
    const char *piece = tokenizer_piece(t, id);
    bool mark = t->kind == TOKENIZER_BPE ? !strncmp(piece, "\u0120", 2) : !strncmp(piece, "##", 2); // U+0120: a space
    return mark == (t->kind == TOKENIZER_WORDPIECE);
}

const tokenizer_files *tokenizer_files_of(const tokenizer *t) { return &t->files; }

const char *tokenizer_text(const tokenizer *t, size_t *size) {
    if (size) *size = t->text_size;
    return t->text;
}

// ---- encoding

size_t tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *n, size_t *capacity,
                        int64_t *replaced) {
    id_list out = {.ids = ids, .n = n, .capacity = capacity};
    size_t before = *n;
    int64_t bad = 0;
    for (size_t at = 0; at < size;) {
        int which = -1;
        size_t plain = special_find(t->kind, text + at, size - at, t->specials, &which);
        size_t kept = which == SPECIAL_MASK && t->bpe ? unicode_trim(text + at, plain) : plain;
        bad += t->bpe ? bpe_encode(t, text + at, kept, &out) : wordpiece_encode(t, text + at, kept, &out);
        at += plain;
        if (which < 0) break;
        id_add(&out, t->specials[which]);
        at += strlen(special_names[t->kind][which]);
    }
    if (replaced) *replaced += bad;
    return *n - before;
}
