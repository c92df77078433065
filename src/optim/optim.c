#include "optim/optim.h"

#include <stddef.h>

const char *const optim_words[] = {"adamw", "lamb", NULL};
const char *const optim_schedule_words[] = {"linear", "cosine", "polynomial", "constant", NULL};

#define ROW(key, type, field, ...)                                                                                     \
    { "train." key, type, offsetof(optim_settings, field), __VA_ARGS__ }
const option optim_options[] = {
    ROW("optimizer", OPTION_CHOICE, optimizer, "adamw", .words = optim_words, .help = "lamb: for very large batches"),
    ROW("lr", OPTION_DOUBLE, lr, "2e-5", .high = 10, .help = "peak learning rate"),
    ROW("schedule", OPTION_CHOICE, schedule, "linear", .words = optim_schedule_words, .help = "after the warm-up"),
    ROW("power", OPTION_DOUBLE, power, "1", .high = 100, .help = "of the polynomial schedule"),
    ROW("warmup", OPTION_DOUBLE, warmup, "0", .high = 1e9, .help = "below 1 a fraction of all steps, otherwise steps"),
    ROW("weight_decay", OPTION_DOUBLE, weight_decay, "0", .high = 10, .help = "not for biases and LayerNorm"),
    ROW("beta1", OPTION_DOUBLE, beta1, "0.9", .high = 0.9999999, .help = "of the first moment"),
    ROW("beta2", OPTION_DOUBLE, beta2, "0.999", .high = 0.9999999, .help = "of the second moment"),
    ROW("epsilon", OPTION_DOUBLE, epsilon, "1e-8", .low = 1e-16, .high = 1,
        .help = "beside the root of the second moment"),
    ROW("clip", OPTION_DOUBLE, clip, "1", .high = 1e9, .help = "largest global norm of the gradient; 0: no clipping"),
    {0},
};

void optim_update(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor,
                  comm *stage) {
    if (settings->optimizer == OPTIM_LAMB)
        optim_lamb(table, settings, lr, update, factor, stage);
    else
        optim_adamw(table, settings, lr, update, factor);
}
