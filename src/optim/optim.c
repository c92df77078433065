#include "optim/optim.h"

#include <stddef.h>
#include <string.h>

#define ROW(key, type, field, ...)                                                                                     \
    { "train." key, type, offsetof(optim_settings, field), __VA_ARGS__ }
const option optim_options[] = {
    ROW("optimizer", OPTION_CHOICE, optimizer, "adamw", 0, 0, "adamw lamb", "lamb: for very large batches"),
    ROW("lr", OPTION_DOUBLE, lr, "2e-5", 0, 10, NULL, "peak learning rate"),
    ROW("schedule", OPTION_CHOICE, schedule, "linear", 0, 0, "linear cosine polynomial constant", "after the warm-up"),
    ROW("power", OPTION_DOUBLE, power, "1", 0, 100, NULL, "of the polynomial schedule"),
    ROW("warmup", OPTION_DOUBLE, warmup, "0", 0, 1e9, NULL, "below 1 a fraction of all steps, otherwise steps"),
    ROW("weight_decay", OPTION_DOUBLE, weight_decay, "0", 0, 10, NULL, "not for biases and LayerNorm"),
    ROW("beta1", OPTION_DOUBLE, beta1, "0.9", 0, 0.9999999, NULL, "of the first moment"),
    ROW("beta2", OPTION_DOUBLE, beta2, "0.999", 0, 0.9999999, NULL, "of the second moment"),
    ROW("epsilon", OPTION_DOUBLE, epsilon, "1e-8", 1e-16, 1, NULL, "beside the root of the second moment"),
    ROW("clip", OPTION_DOUBLE, clip, "1", 0, 1e9, NULL, "largest global norm of the gradient; 0: no clipping"),
    {0},
};

void optim_update(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor,
                  comm *stage) {
    if (!strcmp(settings->optimizer, "lamb"))
        optim_lamb(table, settings, lr, update, factor, stage);
    else
        optim_adamw(table, settings, lr, update, factor);
}
