// What memory can do: the other figure that a kernel is held against, where it moves more than it computes.
#include "tensor/tensor.h"

// Floats an array and a thread: 64 MiB. Three arrays are many times the share that a core has of a last-level cache.
#define TRIAD_FLOATS ((int64_t)16 << 20)

static double timed_triad(float *restrict a, const float *restrict b, const float *restrict c, int64_t n) {
    double start = time_now();
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) a[i] = b[i] + 0.5f * c[i];
    return time_now() - start;
}

// No zeros and no denormal numbers, which a processor may treat as special. Pages stay where the allocation put them,
// in the memory next to the calling thread, as a model's do: a rank's threads in several NUMA nodes share that one.
static void fill(float *x, int64_t n, float value) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

double bandwidth_measure(double seconds) {
    int64_t n = 0;
#pragma omp parallel reduction(+ : n)
    n += TRIAD_FLOATS;
    float *arrays[3];
    for (int i = 0; i < 3; i++) {
        arrays[i] = memory_allocate_aligned((size_t)n, sizeof(float));
        fill(arrays[i], n, (float)i + 1);
    }
    double end = time_now() + seconds, best = timed_triad(arrays[0], arrays[1], arrays[2], n);
    while (time_now() < end) {
        double pass = timed_triad(arrays[0], arrays[1], arrays[2], n);
        if (pass < best) best = pass;
    }
    for (int i = 0; i < 3; i++) memory_free(arrays[i]);
    return 3.0 * sizeof(float) * (double)n / best * 1e-9;
}
