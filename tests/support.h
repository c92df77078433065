// What tests share: cmocka with its headers in the right order, where data lies, folders that go away, comparisons
// that say what they saw.
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

// ---- comparisons that say what they saw ----------------------------------------------------------------------------

// A test of several ranks sets it to its own rank: a comparison that fails names it, and ends all ranks, so that the
// others do not wait. Alone, the comparison fails its test.
static int test_rank = -1;

__attribute__((format(printf, 3, 4))) static inline void test_fail_at(const char *file, int line, const char *format,
                                                                      ...) {
    char text[900];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (test_rank >= 0) fatal_at(file, line, "rank %d: %s", test_rank, text);
    print_error("%s\n", text);
    _fail(file, line);
}

static inline bool test_is_close(double got, double want, double tolerance) {
    return got == want || fabs(got - want) <= tolerance; // equal infinities, too; NaN is close to nothing
}

static inline void test_close_at(const char *file, int line, const char *what, double got, double want,
                                 double tolerance) {
    if (!test_is_close(got, want, tolerance))
        test_fail_at(file, line, "%s is %.17g, should be %.17g: off by %.3g, tolerance %.3g", what, got, want,
                     fabs(got - want), tolerance);
}

static inline void test_all_close_at(const char *file, int line, const char *what, const float *got, const float *want,
                                     int64_t n, double tolerance) {
    int64_t off = 0, worst = 0;
    double most = -1;
    for (int64_t i = 0; i < n; i++) {
        double scale = 1 + fabs((double)want[i]), error = fabs((double)got[i] - want[i]) / scale;
        if (test_is_close(got[i], want[i], tolerance * scale)) continue;
        off++;
        if (isnan(error)) error = INFINITY;
        if (error > most) most = error, worst = i;
    }
    if (off)
        test_fail_at(file, line,
                     "%s: element %lld is %.9g, should be %.9g: off by %.3g, tolerance %.3g (the worst of "
                     "%lld of %lld elements)",
                     what, (long long)worst, got[worst], want[worst], fabs((double)got[worst] - want[worst]),
                     tolerance * (1 + fabs((double)want[worst])), (long long)off, (long long)n);
}

static inline void test_norm_close_at(const char *file, int line, const char *what, const float *got, const float *want,
                                      int64_t n, double tolerance) {
    double error = test_norm_error(got, want, n);
    if (error <= tolerance) return;
    int64_t worst = 0;
    for (int64_t i = 1; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= fabs((double)got[worst] - want[worst]))) worst = i;
    test_fail_at(file, line,
                 "%s is off by %.3g of its norm, tolerance %.3g; of %lld elements the worst is %lld: %.9g, "
                 "should be %.9g",
                 what, error, tolerance, (long long)n, (long long)worst, got[worst], want[worst]);
}

// |got - want| <= tolerance; tolerance 0: equal. `what` names the value in the message.
#define assert_close(what, got, want, tolerance) test_close_at(__FILE__, __LINE__, what, got, want, tolerance)

// |got[i] - want[i]| <= tolerance * (1 + |want[i]|) for all i < n, of float got[n], want[n].
#define assert_all_close(what, got, want, n, tolerance)                                                                \
    test_all_close_at(__FILE__, __LINE__, what, got, want, n, tolerance)

// The norm of the difference of float got[n] and want[n] is at most tolerance times that of want.
#define assert_norm_close(what, got, want, n, tolerance)                                                               \
    test_norm_close_at(__FILE__, __LINE__, what, got, want, n, tolerance)

#endif
