// optim: AdamW, LAMB, clipping, schedules. Walks the parameter table and knows nothing of the model.
#ifndef PAF_OPTIM_H
#define PAF_OPTIM_H

#include "parallel/parallel.h"
#include "tensor/tensor.h"

typedef enum { OPTIM_ADAMW, OPTIM_LAMB } optim_kind;
typedef enum { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_POLYNOMIAL, SCHEDULE_CONSTANT } optim_schedule;
extern const char *const optim_words[], *const optim_schedule_words[]; // by value, NULL behind the last

typedef struct {
    optim_kind optimizer;    // train.optimizer
    double lr;               // train.lr, the schedule's peak
    optim_schedule schedule; // train.schedule
    double power;            // train.power, of the polynomial schedule
    double warmup;           // train.warmup: below 1 a fraction of all steps, otherwise steps
    double weight_decay, beta1, beta2, epsilon;
    double clip; // train.clip: the gradient's global norm is cut to this; 0 is no clipping
} optim_settings;

extern const option optim_options[];

// The learning rate of step s = 0 .. steps - 1, with w warm-up steps:
//     warm-up      peak (s + 1) / w                     while s < w
//     linear       peak (steps - s) / (steps - w)
//     cosine       peak (1 + cos(pi (s - w) / (steps - w))) / 2
//     polynomial   peak (1 - s / steps)^power
//     constant     peak
// The polynomial counts from the start of the run, as BERT's and LAMB's recipes have it: the warm-up reaches the peak,
// and the next step is at the curve, below it.
double optim_learning_rate(const optim_settings *settings, int64_t step, int64_t steps);

// Tables may hold a part of the model (a team's, a stage's), and update a part of what they hold (zero): update are the
// ranks that update all of it between them, each row once; stage are those of these that hold rows of the same tensors
// (topology_update, topology_stage_update).

// The norm of the whole gradient, each parameter counted once (by its writer). Sums in rank order: the same bits on
// every rank. Collective over update.
double optim_gradient_norm(const parameter_table *table, comm *update);
// The factor that clips a gradient of this norm, as torch.nn.utils.clip_grad_norm_ does; 1 where clip is 0.
double optim_clip_factor(double norm, double clip);
// One AdamW step (Loshchilov and Hutter, 2019) with bias correction over the rows this rank updates; update counts
// from 1. The gradients are multiplied by factor as they are read. Rows without decay (biases, LayerNorm) are not
// decayed.
void optim_adamw(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor);
// One LAMB step (You et al., 2020) in the form NVIDIA trains BERT-large with. For each tensor, moments and their bias
// correction as in AdamW:
//     u  = m' / (sqrt(v') + epsilon) + weight_decay p
//     p -= lr (|p| / |u|) u
// The norms are of the logical tensor, wherever its parts lie. A norm of 0 makes the ratio 1; so does a row without
// decay (biases, LayerNorm), which has no weight_decay p either. Sums go over the stage in rank order, all tensors in
// one exchange: copies of a tensor stay the same to the bit. Collective over the stage.
void optim_lamb(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor,
                comm *stage);
// One step of train.optimizer. Collective over the stage.
void optim_update(parameter_table *table, const optim_settings *settings, double lr, int64_t update, double factor,
                  comm *stage);

#endif
