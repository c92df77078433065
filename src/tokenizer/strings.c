#include "tokenizer/internal.h"

#include <string.h>

uint64_t string_hash(uint64_t hash, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) hash = string_hash_step(hash, text[i]);
    return hash;
}

// FNV's low bits are weak for short strings: fold the whole word into them (the finaliser of MurmurHash3, first half).
static uint64_t mix(uint64_t hash) {
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ (hash >> 33);
}

int32_t string_find(const string_table *t, uint64_t hash, const char *prefix, const char *text, size_t size) {
    if (!t->slots) return -1;
    uint64_t mixed = mix(hash);
    size_t before = strlen(prefix);
    for (size_t i = mixed & t->mask; t->slots[i].next; i = (i + 1) & t->mask) {
        if (t->slots[i].tag != (uint32_t)(mixed >> 32)) continue;
        int32_t number = t->slots[i].next - 1;
        const char *found = string_text(t, number);
        if ((size_t)t->lengths[number] == before + size && memcmp(found, prefix, before) == 0 &&
            memcmp(found + before, text, size) == 0)
            return number;
    }
    return -1;
}

static void put_slot(string_table *t, uint64_t hash, int32_t number) {
    uint64_t mixed = mix(hash);
    size_t i = mixed & t->mask;
    while (t->slots[i].next) i = (i + 1) & t->mask;
    t->slots[i] = (string_slot){.tag = (uint32_t)(mixed >> 32), .next = number + 1};
}

// At most half of the slots are in use, so that a search for what is not there ends soon.
static void grow_slots(string_table *t) {
    if (t->slots && 2 * (t->n + 1) <= t->mask + 1) return;
    size_t count = t->slots ? 2 * (t->mask + 1) : 64;
    memory_free(t->slots);
    t->slots = memory_allocate(count, sizeof *t->slots);
    t->mask = count - 1;
    for (size_t i = 0; i < t->n; i++)
        put_slot(t, string_hash(STRING_HASH, string_text(t, (int32_t)i), (size_t)t->lengths[i]), (int32_t)i);
}

int32_t string_add(string_table *t, const char *text, size_t size) {
    uint64_t hash = string_hash(STRING_HASH, text, size);
    int32_t number = string_find(t, hash, "", text, size);
    if (number >= 0) return number;
    REQUIRE(t->n < INT32_MAX - 1 && size < INT32_MAX);
    grow_slots(t);
    while (t->bytes_capacity < t->used + size + 1)
        t->bytes = memory_grow(t->bytes, t->bytes_capacity, &t->bytes_capacity, 1);
    t->starts = memory_grow(t->starts, t->n, &t->starts_capacity, sizeof *t->starts);
    t->lengths = memory_grow(t->lengths, t->n, &t->lengths_capacity, sizeof *t->lengths);
    number = (int32_t)t->n++;
    t->starts[number] = t->used;
    t->lengths[number] = (int32_t)size;
    memcpy(t->bytes + t->used, text, size);
    t->bytes[t->used + size] = 0;
    t->used += size + 1;
    put_slot(t, hash, number);
    return number;
}

void string_table_destroy(string_table *t) {
    memory_free(t->bytes);
    memory_free(t->starts);
    memory_free(t->lengths);
    memory_free(t->slots);
    *t = (string_table){0};
}
