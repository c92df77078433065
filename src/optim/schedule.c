#include "optim/optim.h"

#include <math.h>

double optim_learning_rate(const optim_settings *settings, int64_t step, int64_t steps) {
    double s = (double)step, n = (double)steps;
    double w = floor(settings->warmup < 1 ? settings->warmup * n : settings->warmup);
    if (s < w) return settings->lr * (s + 1) / w;
    if (settings->schedule == SCHEDULE_CONSTANT) return settings->lr;
    if (s >= n) return 0;
    if (settings->schedule == SCHEDULE_POLYNOMIAL) return settings->lr * pow(1 - s / n, settings->power);
    if (settings->schedule == SCHEDULE_COSINE) return settings->lr * (1 + cos(M_PI * (s - w) / (n - w))) / 2;
    return settings->lr * (n - s) / (n - w);
}
