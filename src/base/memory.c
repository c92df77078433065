#include "base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static size_t checked_size(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) FATAL("%zu elements of %zu bytes overflow memory", count, size);
    return bytes ? bytes : 1;
}

static void *checked_pointer(void *pointer, size_t bytes) {
    if (!pointer) FATAL("out of memory: %zu bytes (%.1f GiB) wanted", bytes, (double)bytes / (1 << 30));
    return pointer;
}

void *memory_allocate(size_t count, size_t size) {
    size_t bytes = checked_size(count, size);
    return checked_pointer(calloc(1, bytes), bytes);
}

void *memory_allocate_aligned(size_t count, size_t size) {
    size_t bytes = checked_size(count, size);
    size_t padded = (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
    if (padded < bytes) FATAL("%zu bytes overflow memory", bytes);
    return memset(checked_pointer(aligned_alloc(MEMORY_ALIGNMENT, padded), padded), 0, padded);
}

void *memory_resize(void *old, size_t count, size_t size) {
    size_t bytes = checked_size(count, size);
    return checked_pointer(realloc(old, bytes), bytes);
}

void memory_free(void *pointer) { free(pointer); }

char *memory_string(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(memory_allocate(size, 1), text, size);
}

char *memory_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    REQUIRE(length >= 0);
    char *text = memory_allocate((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

// The number behind a word of a file of the kernel's; -1 where there is none. Without a word, the file's first.
static int64_t number_of(const char *path, const char *word) {
    FILE *file = fopen(path, "r");
    char line[256];
    long long value = -1;
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (!strncmp(line, word, strlen(word))) sscanf(line + strlen(word), "%lld", &value);
    if (file) fclose(file);
    return value;
}

// What a control group's limit leaves; files that it has read into memory can go. -1 without a limit.
static int64_t group_available(const char *limit_file, const char *used_file, const char *details, const char *active,
                               const char *inactive) {
    int64_t limit = number_of(limit_file, ""), used = number_of(used_file, "");
    if (limit <= 0 || used < 0) return -1;
    int64_t a = number_of(details, active), i = number_of(details, inactive);
    used -= (a > 0 ? a : 0) + (i > 0 ? i : 0); // the kernel counts these apart: together they may be more than is used
    if (used < 0) used = 0;
    return limit > used ? limit - used : 1;
}

#define GROUP "/sys/fs/cgroup/"
int64_t memory_available(void) {
    int64_t kib = number_of("/proc/meminfo", "MemAvailable:"), bytes = kib < 0 ? 0 : 1024 * kib;
    int64_t group[] = {group_available(GROUP "memory.max", GROUP "memory.current", GROUP "memory.stat", "active_file ",
                                       "inactive_file "),
                       group_available(GROUP "memory/memory.limit_in_bytes", GROUP "memory/memory.usage_in_bytes",
                                       GROUP "memory/memory.stat", "total_active_file ", "total_inactive_file ")};
    for (int i = 0; i < 2; i++)
        if (group[i] >= 0 && group[i] < bytes) bytes = group[i];
    return bytes;
}

int64_t memory_peak(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1024 * (int64_t)usage.ru_maxrss;
}

void *memory_grow(void *array, size_t used, size_t *capacity, size_t size) {
    if (used < *capacity) return array;
    *capacity = *capacity ? 2 * *capacity : 16;
    return memory_resize(array, *capacity, size);
}

// ---- arenas

size_t arena_footprint(size_t count, size_t size) {
    size_t bytes = checked_size(count, size);
    return (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
}

arena arena_create(const char *name, size_t size) {
    return (arena){.memory = memory_allocate_aligned(size, 1), .size = size, .name = name};
}

void *arena_allocate(arena *a, size_t count, size_t size) {
    size_t bytes = arena_footprint(count, size);
    if (bytes > a->size - a->used)
        FATAL("the %s arena of %zu bytes is too small: %zu in use, %zu wanted", a->name, a->size, a->used, bytes);
    void *piece = a->memory + a->used;
    a->used += bytes;
    return piece;
}

void arena_reset(arena *a) { a->used = 0; }

void arena_destroy(arena *a) {
    memory_free(a->memory);
    *a = (arena){0};
}
