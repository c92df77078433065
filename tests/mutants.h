// Files with random damage, as strangers may send them, and what paf may make of them: one message, and no more memory
// than their size and a constant. Worth most under SAN=address,undefined.
#ifndef PAF_TESTS_MUTANTS_H
#define PAF_TESTS_MUTANTS_H

#include "support.h"

#include <sys/resource.h>

// ---- damage --------------------------------------------------------------------------------------------------------

typedef struct {
    char *bytes; // [size]
    size_t size, capacity;
    random_stream stream;
    uint64_t drawn;
} mutant;

static inline size_t mutant_draw(mutant *m, size_t n) {
    uint32_t block[4];
    random_block(block, m->stream, m->drawn++, 0, 0);
    return block[0] % n;
}

static inline void mutant_remove(mutant *m, size_t at, size_t length) {
    memmove(m->bytes + at, m->bytes + at + length, m->size - at - length);
    m->size -= length;
}

static inline void mutant_insert(mutant *m, size_t at, const char *bytes, size_t length) {
    if (m->size + length > m->capacity) return;
    memmove(m->bytes + at + length, m->bytes + at, m->size - at);
    memcpy(m->bytes + at, bytes, length);
    m->size += length;
}

// What formats and numbers are made of.
static inline void mutant_insert_piece(mutant *m, size_t at) {
    static const struct {
        const char *bytes;
        size_t length;
    } pieces[] = {{"\t", 1},       {"\n", 1},      {"\r\n", 2},    {"\0", 1},  {"\xff", 1}, {"\xef\xbb\xbf", 3},
                  {"[", 1},        {" = ", 3},     {";", 1},       {"\"", 1},  {"-1", 2},   {"nan", 3},
                  {"\\u0000", 6},  {"]", 1},       {"\x1b[2J", 4}, {"{", 1},   {"}", 1},    {",", 1},
                  {"\xc3", 1},     {"../", 3},     {":", 1},       {"F16", 3}, {"I64", 3},  {"e9", 2},
                  {"null", 4},     {" ", 1},       {"0", 1},       {"9", 1},   {"##", 2},   {"true", 4},
                  {"[[[[[[[[", 8}, {"\xc4\xa0", 2}};
    size_t piece = mutant_draw(m, sizeof pieces / sizeof *pieces);
    mutant_insert(m, at, pieces[piece].bytes, pieces[piece].length);
}

// The first number from `at` on becomes another: its neighbour, or one at which programs stumble.
static inline void mutant_change_number(mutant *m, size_t at) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "-1",
                                          "3",
                                          "255",
                                          "65536",
                                          "2147483648",
                                          "4294967296",
                                          "1048576",
                                          "0.5",
                                          "1e99",
                                          "1e999",
                                          "16777216",
                                          "9223372036854775807",
                                          "18446744073709551615"};
    size_t digits = 0;
    while (at < m->size && (m->bytes[at] < '0' || m->bytes[at] > '9')) at++;
    while (at + digits < m->size && m->bytes[at + digits] >= '0' && m->bytes[at + digits] <= '9') digits++;
    if (digits == 0) return;
    char near[24] = "";
    memcpy(near, m->bytes + at, digits < 20 ? digits : 20);
    snprintf(near, sizeof near, "%llu", strtoull(near, NULL, 10) + 1);
    const char *number = mutant_draw(m, 3) ? numbers[mutant_draw(m, sizeof numbers / sizeof *numbers)] : near;
    mutant_remove(m, at, digits);
    mutant_insert(m, at, number, strlen(number));
}

// Mostly within the first `window` bytes.
static inline void mutant_damage(mutant *m, size_t window) {
    size_t within = window < m->size && mutant_draw(m, 8) ? window : m->size, at = mutant_draw(m, within + 1);
    size_t left = m->size - at, length = left ? mutant_draw(m, left < 40 ? left : 40) : 0;
    char copy[40];
    switch (mutant_draw(m, 8)) {
    case 0: // another byte
        if (left) m->bytes[at] = (char)mutant_draw(m, 256);
        break;
    case 1:
        mutant_remove(m, at, length);
        break;
    case 2: // something twice
        memcpy(copy, m->bytes + at, length);
        mutant_insert(m, mutant_draw(m, within + 1), copy, length);
        break;
    case 3: // cut off, now and then
        if (mutant_draw(m, 4) == 0) m->size = at;
        break;
    case 4:
    case 5:
        mutant_change_number(m, at);
        break;
    default:
        mutant_insert_piece(m, at);
    }
}

// A copy of bytes [size] with damage in one to three places: the same for a round and kind on every machine.
// memory_free(m.bytes) ends it.
static inline mutant mutant_create(const char *bytes, size_t size, size_t window, uint64_t round, uint32_t kind) {
    size_t capacity = size + 256;
    mutant m = {.bytes = memory_allocate(capacity, 1),
                .size = size,
                .capacity = capacity,
                .stream = random_stream_create(11, RANDOM_TEST, round, kind)};
    memcpy(m.bytes, bytes, size);
    for (size_t n = 1 + mutant_draw(&m, 2) * mutant_draw(&m, 3); n > 0; n--) mutant_damage(&m, window);
    return m;
}

// ---- verdicts ------------------------------------------------------------------------------------------------------

// A line that a terminal may be shown.
static inline bool mutant_told_once(const error *err) {
    bool good = err->kind == ERROR_INPUT && err->text[0];
    for (const char *at = err->text; *at; at++) good = good && (unsigned char)*at >= ' ' && *at != 127;
    return good;
}

// AddressSanitizer says what is allocated and freed. Without it, the kernel refuses what is far too much, and that is
// fatal.
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t), void (*)(const volatile void *))
    __attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *) __attribute__((weak));

static _Atomic int64_t mutant_heap, mutant_heap_peak;

static inline void mutant_allocated(const volatile void *pointer, size_t size) {
    (void)pointer;
    mutant_heap += (int64_t)size;
    if (mutant_heap > mutant_heap_peak) mutant_heap_peak = mutant_heap;
}

static inline void mutant_freed(const volatile void *pointer) {
    if (pointer) mutant_heap -= (int64_t)__sanitizer_get_allocated_size(pointer);
}

#define MUTANT_SLACK ((int64_t)64 << 20) // for what the C library holds back, and MPI

// From now on, no more than this is to be allocated beyond what there is.
static inline void mutant_watch_memory(int64_t most) {
    if (__sanitizer_install_malloc_and_free_hooks) {
        __sanitizer_install_malloc_and_free_hooks(mutant_allocated, mutant_freed);
        return;
    }
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long long kib = 0;
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmData: %lld", &kib);
    if (status) fclose(status);
    struct rlimit limit;
    if (!kib || getrlimit(RLIMIT_DATA, &limit)) FATAL("cannot tell how much memory is in use");
    limit.rlim_cur = (rlim_t)(1024 * kib + most + MUTANT_SLACK);
    if (setrlimit(RLIMIT_DATA, &limit)) FATAL("cannot limit memory");
}

static inline int64_t mutant_memory_begin(void) {
    mutant_heap_peak = mutant_heap;
    return mutant_heap;
}
// The most that was allocated at once since then, and what still is; 0 where nobody counts.
static inline int64_t mutant_memory_taken(int64_t begin) { return mutant_heap_peak - begin; }
static inline int64_t mutant_memory_kept(int64_t begin) { return mutant_heap - begin; }

#endif
