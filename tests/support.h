// What tests share: cmocka with its headers in the right order, where data lies, folders that go away.
#ifndef PAF_TESTS_SUPPORT_H
#define PAF_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

// The path of a file of the development data (PAF_DATA, default ../shared/data), or NULL where it is not there: the
// test then says so and calls skip(). Valid until the next call.
static inline const char *test_data(const char *name) {
    static char path[4096];
    const char *root = getenv("PAF_DATA");
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/data", name);
    if (stat(path, &s) == 0) return path;
    printf("             (no %s: skipped)\n", path);
    return NULL;
}

// A new empty folder, the same name on no two calls; tests/run removes it with its parent. Caller frees.
static inline char *test_folder(void) {
    const char *root = getenv("TMPDIR");
    char *path = memory_format("%s/paf-test-XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(path)) FATAL("mkdtemp %s failed", path);
    return path;
}

// |a - b| / max(|a|, |b|, floor), in double
static inline double test_relative(double a, double b, double floor) {
    double scale = fmax(fmax(fabs(a), fabs(b)), floor);
    return fabs(a - b) / scale;
}

// The norm of the difference of two vectors over the norm of the second.
static inline double test_norm_error(const float *a, const float *b, int64_t n) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / fmax(norm, 1e-300));
}

#endif
