// Hugging Face's tensors under paf's names. A folder may call the same tensor
//
//     bert.encoder.layer.0.output.LayerNorm.gamma        as saved by a model with heads, long ago
//     encoder.layer.0.output.LayerNorm.weight            as saved by the encoder alone; paf's name
#include "huggingface/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_ELEMENTS ((int64_t)1 << 16)

// ---- names --------------------------------------------------------------------------------------------------------

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static char *our_name(const char *theirs) {
    theirs = model_name_plain(theirs);
    if (ends_with(theirs, "LayerNorm.gamma")) return memory_format("%.*sweight", (int)strlen(theirs) - 5, theirs);
    if (ends_with(theirs, "LayerNorm.beta")) return memory_format("%.*sbias", (int)strlen(theirs) - 4, theirs);
    return memory_string(theirs);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const foreign_tensor *)a)->name, ((const foreign_tensor *)b)->name);
}

bool foreign_open(foreign *f, const char *path, error *err) {
    *f = (foreign){.path = path, .file = safetensors_open(path, err)};
    if (!f->file) return false;
    const safetensors_tensor *all = safetensors_list(f->file, &f->n);
    f->tensors = memory_allocate(f->n + 1, sizeof *f->tensors);
    for (size_t i = 0; i < f->n; i++) f->tensors[i] = (foreign_tensor){our_name(all[i].name), &all[i], false};
    if (f->n > 1) qsort(f->tensors, f->n, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < f->n; i++)
        if (!by_name(&f->tensors[i - 1], &f->tensors[i])) {
            error_set(err, ERROR_INPUT, "%s: \"%.200s\" and \"%.200s\" are names of the same tensor", path,
                      f->tensors[i - 1].tensor->name, f->tensors[i].tensor->name);
            foreign_close(f);
            return false;
        }
    return true;
}

void foreign_close(foreign *f) {
    for (size_t i = 0; f->tensors && i < f->n; i++) memory_free(f->tensors[i].name);
    memory_free(f->tensors);
    safetensors_close(f->file);
    *f = (foreign){0};
}

static foreign_tensor *find(const foreign *f, const char *name) {
    const foreign_tensor key = {.name = (char *)name};
    return f->n ? bsearch(&key, f->tensors, f->n, sizeof key, by_name) : NULL;
}

static bool is_masked_bias(const char *name) {
    bool found = false;
    for (int family = 0; family < MODEL_FAMILIES; family++)
        found |= !strcmp(name, model_tensor_name((model_family)family, TENSOR_MASKED, 0, "bias").text);
    return found;
}

// The bias of a masked-LM head may have come with the decoder that it belongs to.
static foreign_tensor *find_or_decoder(const foreign *f, const char *name) {
    foreign_tensor *t = find(f, name);
    if (t || !is_masked_bias(name)) return t;
    char *other = memory_format("%.*sdecoder.bias", (int)strlen(name) - 4, name);
    t = find(f, other);
    memory_free(other);
    return t;
}

const safetensors_tensor *foreign_find(const foreign *f, const char *name) {
    const foreign_tensor *t = find_or_decoder(f, name);
    return t ? t->tensor : NULL;
}

// ---- loading ------------------------------------------------------------------------------------------------------

bool foreign_check(const foreign *f, const parameter *p, error *err) {
    const safetensors_tensor *t = foreign_find(f, p->name);
    if (!t) return error_set(err, ERROR_INPUT, "%s has no tensor %s", f->path, p->name);
    int64_t width = t->dimensions == 2 ? t->shape[1] : 1;
    if (t->dimensions == p->dimensions && t->shape[0] == p->shape[0] && width == p->shape[1]) return true;
    return error_set(err, ERROR_INPUT, "%s has %s of %lld x %lld in %d dimensions, config.json wants %lld x %lld in %d",
                     f->path, p->name, t->dimensions ? (long long)t->shape[0] : 1, (long long)width, t->dimensions,
                     (long long)p->shape[0], (long long)p->shape[1], p->dimensions);
}

// A repetition of a tensor that paf has once. Where it differs, the model computes something else.
static bool check_repetition(const foreign *f, const char *name, const parameter *p, error *err) {
    foreign_tensor *t = find(f, name);
    if (!t || !p) return true;
    t->used = true;
    parameter again = *p;
    snprintf(again.name, sizeof again.name, "%s", name);
    if (!foreign_check(f, &again, err)) return false;
    int64_t width = p->size[1], height = width < BLOCK_ELEMENTS ? BLOCK_ELEMENTS / (width + !width) : 1;
    float *block = memory_allocate((size_t)(height * width), sizeof *block);
    bool good = true;
    for (int64_t row = 0; good && row < p->size[0]; row += height) {
        int64_t rows = p->size[0] - row < height ? p->size[0] - row : height;
        good = safetensors_read(f->file, t->tensor, (int64_t[]){p->offset[0] + row, p->offset[1]},
                                (int64_t[]){rows, width}, block, width, err) &&
               (!memcmp(block, p->value + row * width, (size_t)(rows * width) * sizeof *block) ||
                error_set(err, ERROR_INPUT, "%s: %s differs from %s; paf's masked-LM head has them tied", f->path, name,
                          p->name));
    }
    memory_free(block);
    return good;
}

// The decoder of a family's masked-LM head repeats the word embeddings and the head's bias.
static bool check_decoder(const foreign *f, const parameter_table *table, model_family family, error *err) {
    tensor_name words = model_tensor_name(family, TENSOR_WORDS, 0, "weight");
    tensor_name bias = model_tensor_name(family, TENSOR_MASKED, 0, "bias");
    return check_repetition(f, model_tensor_name(family, TENSOR_MASKED, 0, "decoder.weight").text,
                            parameter_find(table, words.text), err) &&
           check_repetition(f, model_tensor_name(family, TENSOR_MASKED, 0, "decoder.bias").text,
                            parameter_find(table, bias.text), err);
}

bool foreign_load(foreign *f, parameter_table *table, error *err) {
    for (size_t i = 0; i < table->n; i++) {
        const parameter *p = &table->rows[i];
        foreign_tensor *t = find_or_decoder(f, p->name);
        t->used = true;
        if (!safetensors_read(f->file, t->tensor, p->offset, p->size, p->value, p->size[1], err)) return false;
    }
    for (int family = 0; family < MODEL_FAMILIES; family++)
        if (!check_decoder(f, table, (model_family)family, err)) return false;
    return true;
}

// ---- what was not used --------------------------------------------------------------------------------------------

// The name with `*` for the number of a layer.
static char *pattern_of(const char *name) {
    char *pattern = memory_string(name), *to = pattern;
    for (const char *at = name; *at;) {
        size_t digits = 0;
        while (isdigit((unsigned char)at[digits])) digits++;
        bool number = digits > 0 && at != name && at[-1] == '.' && at[digits] == '.';
        *to++ = number ? '*' : *at;
        at += number ? digits : 1;
    }
    *to = 0;
    text_make_printable(pattern);
    return pattern;
}

#define PATTERNS_NAMED 16 // a file from strangers may have any number

typedef struct {
    char *pattern;
    size_t n;
} unused;

// Counts a tensor; false where there is no room for its pattern.
static bool add_unused(unused *all, size_t *n, const char *name) {
    char *pattern = pattern_of(name);
    size_t at = 0;
    while (at < *n && strcmp(all[at].pattern, pattern)) at++;
    bool room = at < PATTERNS_NAMED, known = at < *n;
    if (room) all[at].n++;
    if (room && !known) all[(*n)++].pattern = pattern;
    if (!room || known) memory_free(pattern);
    return room;
}

void foreign_log_unused(const foreign *f) {
    unused all[PATTERNS_NAMED] = {0};
    size_t n = 0, others = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!f->tensors[i].used) others += !add_unused(all, &n, f->tensors[i].tensor->name);
    if (n == 0) return;
    char *line = memory_string("not used");
    for (size_t i = 0; i < n; i++) {
        char *before = line, times[32] = "";
        if (all[i].n > 1) snprintf(times, sizeof times, " (%zu of them)", all[i].n);
        line = memory_format("%s%s %.90s%s", before, i ? "," : ":", all[i].pattern, times);
        memory_free(before);
        memory_free(all[i].pattern);
    }
    if (others)
        log_info("%s, and %zu more", line, others);
    else
        log_info("%s", line);
    memory_free(line);
}
