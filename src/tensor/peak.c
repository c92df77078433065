// What one core can do: the figure that every "share of peak" is a share of.
#include "tensor/tensor.h"

// As wide as the widest vector register that the compiler was told of.
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

// Enough independent sums to hide the latency of a multiply-add (4 or 5 cycles, two a cycle); they and the two operands
// fit into 16 registers.
enum { CHAINS = 12, ROUNDS = 20000 };

static volatile float hidden_factor = 0.999f, hidden_term = 0.001f, sink; // so that nothing is known before run time

// Runs CHAINS * ROUNDS multiply-adds of LANES each; returns the seconds they took.
static double timed_rounds(void) {
    lanes sum[CHAINS], factor = (lanes){0} + hidden_factor, term = (lanes){0} + hidden_term;
    for (int i = 0; i < CHAINS; i++) sum[i] = term * (float)i;
    double start = time_now();
    for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    }
    lanes total = sum[0];
    for (int i = 1; i < CHAINS; i++) total += sum[i];
    sink = total[0]; // volatile, so the rounds are over before the clock is read
    return time_now() - start;
}

// The best of many short windows, none longer than about a millisecond: on a shared machine the others were disturbed.
static double measure_thread(double seconds) {
    double end = time_now() + seconds, best = timed_rounds();
    while (time_now() < end) {
        double window = timed_rounds();
        if (window < best) best = window;
    }
    return 2.0 * LANES * CHAINS * ROUNDS / best * 1e-9;
}

double peak_measure(double seconds) {
    double sum = 0;
#pragma omp parallel reduction(+ : sum)
    sum += measure_thread(seconds);
    return sum;
}
