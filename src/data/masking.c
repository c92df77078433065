#include "data/internal.h"

#include <stdlib.h>

enum { PIECE_SPECIAL, PIECE_BEGINS, PIECE_CONTINUES };

// What the words of a token's random block are for: to be drawn, its fate if it is, and, of a sequence's first token,
// how many are drawn.
enum { BITS_DRAW, BITS_FATE, BITS_PIECE, BITS_COUNT };

bool masking_create(masking *m, const tokenizer *tok, double share, bool whole_words, error *err) {
    tokenizer_specials s = tokenizer_special_ids(tok);
    const int32_t specials[] = {s.pad, s.unknown, s.begin, s.separator, s.mask};
    *m = (masking){.share = share, .whole_words = whole_words, .mask = s.mask, .pieces = tokenizer_size(tok)};
    if (s.mask < 0)
        return error_set(err, ERROR_INPUT, "the vocabulary has no mask piece ([MASK] or <mask>); masked-LM needs one");
    m->kinds = memory_allocate((size_t)m->pieces, sizeof *m->kinds);
    m->ordinary = memory_allocate((size_t)m->pieces, sizeof *m->ordinary);
    for (int32_t id = 0; id < m->pieces; id++)
        m->kinds[id] = tokenizer_continues_word(tok, id) ? PIECE_CONTINUES : PIECE_BEGINS;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (specials[i] >= 0) m->kinds[specials[i]] = PIECE_SPECIAL;
    for (int32_t id = 0; id < m->pieces; id++)
        if (m->kinds[id] != PIECE_SPECIAL) m->ordinary[m->n_ordinary++] = id;
    return true;
}

void masking_destroy(masking *m) {
    memory_free(m->kinds);
    memory_free(m->ordinary);
    memory_free(m->units);
    *m = (masking){0};
}

int64_t masking_capacity(const masking *m, int64_t tokens, int64_t sequences) {
    return (int64_t)(m->share * (double)tokens) + sequences;
}

masked_tokens masked_tokens_create(int64_t capacity) {
    return (masked_tokens){.capacity = capacity,
                           .rows = memory_allocate((size_t)capacity, sizeof(int32_t)),
                           .labels = memory_allocate((size_t)capacity, sizeof(int32_t))};
}

void masked_tokens_destroy(masked_tokens *t) {
    memory_free(t->rows);
    memory_free(t->labels);
    *t = (masked_tokens){0};
}

// ---- which tokens: what can be chosen together, in the order of the draw

typedef struct masking_unit {
    uint32_t draw;
    int32_t first, count; // tokens of the micro-batch
} unit;

static int by_draw(const void *a, const void *b) {
    const unit *x = a, *y = b;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

// The units of tokens first .. end - 1 into units; *tokens is how many tokens they have.
static int64_t find_units(const masking *m, unit *units, int64_t *tokens, const micro_batch *b, int32_t first,
                          int32_t end, random_stream stream) {
    int64_t n = 0;
    bool inside = false; // of a word that may go on
    *tokens = 0;
    for (int32_t t = first; t < end; t++) {
        int kind = m->kinds[b->ids[t]];
        *tokens += kind != PIECE_SPECIAL;
        if (kind == PIECE_CONTINUES && inside && m->whole_words) {
            units[n - 1].count++;
        } else if (kind != PIECE_SPECIAL) {
            uint32_t bits[4];
            random_block(bits, stream, (uint64_t)b->numbers[t], 0, 0);
            units[n++] = (unit){bits[BITS_DRAW], t, 1};
        }
        inside = kind != PIECE_SPECIAL;
    }
    qsort(units, (size_t)n, sizeof *units, by_draw);
    return n;
}

static int64_t how_many(const masking *m, int64_t tokens, const micro_batch *b, int32_t first, random_stream stream) {
    uint32_t bits[4];
    random_block(bits, stream, (uint64_t)b->numbers[first], 0, 0);
    int64_t n = (int64_t)(m->share * (double)tokens + bits[BITS_COUNT] * 0x1p-32);
    return n > 0 ? n : 1;
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void choose(const masking *m, masked_tokens *out, const micro_batch *b, int64_t sequence, random_stream stream) {
    int32_t first = b->starts[sequence];
    unit *units = m->units;
    int64_t tokens, n = find_units(m, units, &tokens, b, first, b->starts[sequence + 1], stream);
    int64_t left = how_many(m, tokens, b, first, stream), begin = out->n;
    for (int64_t i = 0; i < n && left > 0; i++) {
        if (units[i].count > left) continue;
        left -= units[i].count;
        REQUIRE(out->n + units[i].count <= out->capacity);
        for (int32_t t = 0; t < units[i].count; t++) out->rows[out->n++] = units[i].first + t;
    }
    qsort(out->rows + begin, (size_t)(out->n - begin), sizeof *out->rows, ascending);
}

// ---- what becomes of them

static int32_t replacement(const masking *m, int32_t id, uint64_t number, random_stream stream) {
    uint32_t bits[4];
    random_block(bits, stream, number, 0, 0);
    double fate = bits[BITS_FATE] * 0x1p-32;
    if (fate < 0.8) return m->mask;
    if (fate < 0.9) return m->ordinary[((uint64_t)bits[BITS_PIECE] * (uint64_t)m->n_ordinary) >> 32];
    return id;
}

void masking_apply(masking *m, masked_tokens *out, micro_batch *b, random_stream stream) {
    if (b->longest > m->longest) {
        m->longest = b->longest;
        m->units = memory_resize(m->units, (size_t)m->longest, sizeof *m->units);
    }
    out->n = 0;
    for (int64_t s = 0; s < b->sequences; s++) choose(m, out, b, s, stream);
    for (int64_t i = 0; i < out->n; i++) {
        int32_t *id = &b->ids[out->rows[i]];
        out->labels[i] = *id;
        *id = replacement(m, *id, (uint64_t)b->numbers[out->rows[i]], stream);
    }
}
