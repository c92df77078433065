// Full sentences: which tokens of the shards stand together in a sequence, and the batches that are made of them.
#include "data/internal.h"

#include <string.h>

enum { SPECIAL_TOKENS = 2 }; // begin and end of a sequence

// ---- packing -------------------------------------------------------------------------------------------------------

// The table as it grows, and the sequence that is being filled: tokens of the shards that follow each other.
typedef struct {
    sequences *q;
    size_t capacity;
    int64_t room; // tokens that a sequence has for lines and separators
    sequence open;
    int64_t used;  // of the room
    bool boundary; // a document ended behind what is in it
} packer;

// Ends the sequence, if there is anything in it; the next one begins behind it.
static void close_sequence(packer *p) {
    sequences *q = p->q;
    if (p->open.tokens > 0) {
        q->list = memory_grow(q->list, (size_t)q->n, &p->capacity, sizeof *q->list);
        p->open.length = (int32_t)(p->used + SPECIAL_TOKENS);
        q->list[q->n++] = p->open;
        q->tokens += p->open.length;
        if (p->open.length > q->longest) q->longest = p->open.length;
    }
    p->open = (sequence){.first = p->open.first + p->open.tokens};
    p->used = 0;
    p->boundary = false;
}

// Room that is left behind a separator, where one is due.
static int64_t room_left(const packer *p) { return p->room - p->used - (p->boundary ? 1 : 0); }

static void add_tokens(packer *p, int64_t n) {
    p->used += n + (p->boundary ? 1 : 0);
    p->open.tokens += (int32_t)n;
    p->boundary = false;
}

static void add_line(packer *p, int64_t tokens) {
    bool is_cut = tokens > p->room;
    if (!is_cut && tokens > room_left(p)) close_sequence(p);
    while (tokens > 0) {
        if (room_left(p) <= 0) close_sequence(p);
        int64_t n = tokens < room_left(p) ? tokens : room_left(p);
        add_tokens(p, n);
        tokens -= n;
    }
}

static bool add_shard(packer *p, int64_t number, int64_t *documents_before, error *err) {
    int64_t *lines, *documents;
    sequences *q = p->q;
    const shard *f = &q->source->list[number];
    if (!shards_read_boundaries(q->source, number, &lines, &documents, err)) return false;
    for (int64_t d = 0; d < f->documents; d++) {
        q->documents[(*documents_before)++] = f->first + lines[documents[d]];
        for (int64_t line = documents[d]; line < documents[d + 1]; line++) add_line(p, lines[line + 1] - lines[line]);
        p->boundary = p->open.tokens > 0;
    }
    memory_free(lines);
    memory_free(documents);
    return true;
}

bool sequences_create(sequences *q, shards *source, const tokenizer *tok, int64_t length, error *err) {
    REQUIRE(length > SPECIAL_TOKENS && length <= INT32_MAX);
    tokenizer_specials specials = tokenizer_special_ids(tok);
    *q = (sequences){.source = source, .begin = specials.begin, .separator = specials.separator};
    q->documents = memory_allocate((size_t)source->counts.documents, sizeof *q->documents);
    packer p = {.q = q, .room = length - SPECIAL_TOKENS};
    int64_t documents = 0;
    bool good = true;
    for (int64_t i = 0; good && i < source->n; i++) good = add_shard(&p, i, &documents, err);
    close_sequence(&p);
    if (!good) sequences_destroy(q);
    return good;
}

void sequences_destroy(sequences *q) {
    memory_free(q->list);
    memory_free(q->documents);
    *q = (sequences){0};
}

// ---- reading -------------------------------------------------------------------------------------------------------

// The first document that begins behind this token.
static int64_t document_behind(const sequences *q, int64_t token) {
    int64_t low = 0, high = q->source->counts.documents;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (q->documents[middle] <= token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The tokens are read to where they may stay, then the documents are moved apart from the first to the last:
//
//     a a b b b c         read at ids + 1 + separators
//     [CLS] a a [SEP] b b b [SEP] c [SEP]
bool sequences_read(const sequences *q, int64_t i, int32_t *ids, error *err) {
    REQUIRE(i >= 0 && i < q->n);
    sequence s = q->list[i];
    int32_t *from = ids + s.length - 1 - s.tokens, *to = ids, *end = ids + s.length - 1;
    if (!shards_read(q->source, s.first, s.tokens, from, err)) return false;
    *to++ = q->begin;
    int64_t document = document_behind(q, s.first), at = s.first;
    while (to < end) {
        bool within = document < q->source->counts.documents && q->documents[document] < s.first + s.tokens;
        int64_t next = within ? q->documents[document++] : s.first + s.tokens;
        memmove(to, from, (size_t)(next - at) * sizeof *ids);
        to += next - at;
        from += next - at;
        at = next;
        if (within) *to++ = q->separator;
    }
    *end = q->separator;
    return true;
}

// ---- batches -------------------------------------------------------------------------------------------------------

void sequences_sample(batch *b, const sequences *q, uint64_t seed, int64_t step, int64_t size) {
    batch_empty(b, size);
    for (int64_t i = 0; i < size; i++) {
        int64_t which = data_sample(seed, q->n, step * size + i);
        batch_append(b, which, q->list[which].length);
    }
}

void sequences_range(batch *b, const sequences *q, int64_t first, int64_t n) {
    REQUIRE(first >= 0 && n >= 0 && first <= q->n - n);
    batch_empty(b, n);
    for (int64_t i = first; i < first + n; i++) batch_append(b, i, q->list[i].length);
}

bool sequences_pack(micro_batch *m, const sequences *q, const batch *b, int64_t from, int64_t to, int64_t *next,
                    error *err) {
    REQUIRE(from >= 0 && from < to && to <= b->n);
    micro_batch_empty(m);
    for (*next = from; *next < to && micro_batch_takes(m, &b->list[*next], &b->list[from]); ++*next)
        if (!sequences_read(q, b->list[*next].example, micro_batch_append(m, &b->list[*next]), err)) return false;
    REQUIRE(*next > from);
    return true;
}
