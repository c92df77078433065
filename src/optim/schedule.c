#include "optim/optim.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ROW(key, type, field, ...)                                                                                     \
    { "train." key, type, offsetof(optim_settings, field), __VA_ARGS__ }
const option optim_options[] = {
    ROW("lr", OPTION_DOUBLE, lr, "2e-5", 0, 10, NULL, "peak learning rate"),
    ROW("schedule", OPTION_CHOICE, schedule, "linear", 0, 0, "linear cosine polynomial constant", "after the warm-up"),
    ROW("power", OPTION_DOUBLE, power, "1", 0, 100, NULL, "of the polynomial schedule"),
    ROW("warmup", OPTION_DOUBLE, warmup, "0", 0, 1e9, NULL, "below 1 a fraction of all steps, otherwise steps"),
    ROW("weight_decay", OPTION_DOUBLE, weight_decay, "0", 0, 10, NULL, "not for biases and LayerNorm"),
    ROW("beta1", OPTION_DOUBLE, beta1, "0.9", 0, 0.9999999, NULL, "AdamW's first moment"),
    ROW("beta2", OPTION_DOUBLE, beta2, "0.999", 0, 0.9999999, NULL, "AdamW's second moment"),
    ROW("epsilon", OPTION_DOUBLE, epsilon, "1e-8", 1e-16, 1, NULL, "AdamW's epsilon"),
    ROW("clip", OPTION_DOUBLE, clip, "1", 0, 1e9, NULL, "largest global norm of the gradient; 0: no clipping"),
    {0},
};

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
