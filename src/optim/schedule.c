#include "optim/optim.h"

#include <math.h>
#include <string.h>

double optim_learning_rate(const optim_settings *settings, int64_t step, int64_t steps) {
    double s = (double)step, n = (double)steps;
    double w = floor(settings->warmup < 1 ? settings->warmup * n : settings->warmup);
    if (s < w) return settings->lr * (s + 1) / w;
    if (!strcmp(settings->schedule, "constant")) return settings->lr;
    if (s >= n) return 0;
    if (!strcmp(settings->schedule, "polynomial")) return settings->lr * pow(1 - s / n, settings->power);
    if (!strcmp(settings->schedule, "cosine")) return settings->lr * (1 + cos(M_PI * (s - w) / (n - w))) / 2;
    return settings->lr * (n - s) / (n - w);
}
