#include "train/internal.h"

void train_step_begin(model *m) {
    span before = time_span(SPAN_OPTIMIZER);
    parameter_zero_gradients(&m->table);
    time_span(before);
}

double train_step_end(model *m, const topology *t, const optim_settings *optim, double lr, int64_t update,
                      double count) {
    model_reduce_gradients(m, t);
    span before = time_span(SPAN_OPTIMIZER);
    double norm = optim_gradient_norm(&m->table, topology_update(t)) / count;
    double factor = optim_clip_factor(norm, optim->clip) / count;
    optim_update(&m->table, optim, lr, update, factor, topology_stage_update(t));
    time_span(before);
    model_gather_parameters(m);
    return norm;
}

// Steps of large batches are long.
static void show_progress(double *last, const trainer *t, int64_t done) {
    if (time_now() - *last < 0.5) return;
    *last = time_now();
    log_progress("step %lld/%lld, the next: %lld/%lld %s", (long long)t->done, (long long)t->steps, (long long)done,
                 (long long)t->samples.n, t->what->items);
}

// Forward and backward over this replica's part of the batch, in the order of this stage's schedule.
static step_work run_schedule(trainer *t, model_pass pass) {
    const topology *topo = &t->s.topo;
    const model *m = &t->s.model;
    step_work work = {0};
    double last = time_now();
    t->what->sample(t);
    batch_deal(&t->samples, topo->replica, topo->replicas);
    int64_t at = 0, micros = batch_cut(&t->samples, m->max_tokens, m->max_sequences);
    for (int64_t i = 0; i < 2 * micros; i++) {
        schedule_step step = schedule_at(i, topo->stage, topo->stages, micros);
        model_take_flight(&t->s.model, step.flight);
        pass.final = t->plan.parallel->overlap && i == 2 * micros - 1;
        if (step.backward) {
            t->what->backward(t, step.flight, pass);
            show_progress(&last, t, at);
        } else {
            at = t->what->pack(t, at, step.flight);
            t->what->forward(t, step.flight, pass, &work);
            if (!trainer_counts(t)) continue;
            work.tokens += (double)t->packed[step.flight].tokens;
            work.squares += micro_batch_squares(&t->packed[step.flight]);
        }
    }
    return work;
}

step_report train_step(trainer *t, bool stop) {
    const optim_settings *optim = t->plan.optim;
    model_pass pass = {.train = true, .seed = t->plan.train->seed, .step = (uint64_t)t->done};
    step_report report = {.lr = optim_learning_rate(optim, t->done, t->steps)};
    train_step_begin(&t->s.model);
    step_work w = run_schedule(t, pass);
    double due = t->run.root && progress_due(&t->progress, t->done + 1);
    double sums[] = {w.loss, w.count, w.tokens, w.squares, w.heads, stop, due};
    comm_sum_doubles(t->s.topo.world, sums, sizeof sums / sizeof *sums);
    double count = sums[1] > 0 ? sums[1] : 1;
    report.loss = sums[0] / count;
    report.tokens = sums[2];
    report.work = model_step_work(&t->s.config, sums[2], sums[3] / sums[2]) + 3 * sums[4] * t->what->head_work(t);
    report.stop = sums[5] > 0;
    report.due = sums[6] > 0;
    report.norm = train_step_end(&t->s.model, &t->s.topo, optim, report.lr, t->done + 1, count);
    t->done++;
    return report;
}
