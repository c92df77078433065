#include "train/internal.h"

#include <math.h>

// Loss and its gradient over the sequences whose head this rank computed; the step's loss is the mean over its batch.
static double loss_backward(trainer *t) {
    model *m = &t->s.model;
    float scale = 1 / (float)t->settings->train.batch;
    double sum = 0;
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t example = t->packed.examples[m->head_sequences[i]];
        float *d = m->dlogits + i * m->classes;
        const float *logits = m->logits + i * m->classes;
        sum += t->s.task.regression ? squared_error(d, logits, &t->train.targets[example], 1, scale)
                                    : cross_entropy(d, logits, &t->train.labels[example], 1, m->classes, scale);
    }
    return sum;
}

step_report train_step(trainer *t, bool stop) {
    model *m = &t->s.model;
    const finetune_settings *settings = t->settings;
    model_pass pass = {.train = true, .seed = settings->train.seed, .step = (uint64_t)t->done};
    step_report report = {.lr = optim_learning_rate(&settings->optim, t->done, t->steps)};
    batch_sample(&t->examples, &t->train, settings->train.seed, t->done, settings->train.batch);
    parameter_zero_gradients(&m->table);
    double loss = 0, squares = 0;
    for (int64_t at = 0; at < t->examples.n;) {
        at = micro_batch_pack(&t->packed, &t->train, &t->examples, at, t->examples.n);
        model_forward(m, &t->packed, pass);
        loss += loss_backward(t);
        model_backward(m, &t->packed, pass);
        report.tokens += (double)t->packed.tokens;
        for (int64_t i = 0; i < t->packed.sequences; i++)
            squares += pow((double)(t->packed.starts[i + 1] - t->packed.starts[i]), 2);
    }
    report.work = model_step_work(&t->s.config, report.tokens, squares / report.tokens, (double)t->examples.n);
    double due = t->run.root && progress_due(&t->progress, t->done + 1);
    double sums[3] = {loss, stop, due};
    comm_sum_doubles(t->s.topo.world, sums, 3);
    report.loss = sums[0] / (double)settings->train.batch;
    report.stop = sums[1] > 0;
    report.due = sums[2] > 0;

    model_reduce_gradients(m, t->s.topo.team_comm);
    report.norm = optim_gradient_norm(&m->table, t->s.topo.team_comm);
    optim_update(&m->table, &settings->optim, report.lr, t->done + 1,
                 optim_clip_factor(report.norm, settings->optim.clip), t->s.topo.team_comm);
    t->done++;
    return report;
}
