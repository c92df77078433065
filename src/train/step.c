#include "train/internal.h"

void step_work_add(step_work *w, const micro_batch *b) {
    w->tokens += (double)b->tokens;
    w->squares += micro_batch_squares(b);
}

void train_step_begin(model *m) {
    span before = time_span(SPAN_OPTIMIZER);
    parameter_zero_gradients(&m->table);
    time_span(before);
}

double train_step_end(model *m, const optim_settings *optim, double lr, int64_t update, double count, comm *team) {
    model_reduce_gradients(m, team);
    span before = time_span(SPAN_OPTIMIZER);
    double norm = optim_gradient_norm(&m->table, team) / count;
    double factor = optim_clip_factor(norm, optim->clip) / count;
    optim_update(&m->table, optim, lr, update, factor, team);
    time_span(before);
    return norm;
}

step_report train_step(trainer *t, bool stop) {
    model *m = &t->s.model;
    const optim_settings *optim = t->plan.optim;
    model_pass pass = {.train = true, .seed = t->plan.train->seed, .step = (uint64_t)t->done};
    step_report report = {.lr = optim_learning_rate(optim, t->done, t->steps)};
    train_step_begin(m);
    step_work work = t->what->work(t, pass);
    report.tokens = work.tokens;
    report.work =
        model_step_work(&t->s.config, work.tokens, work.squares / work.tokens) + 3 * work.heads * t->what->head_work(t);
    double due = t->run.root && progress_due(&t->progress, t->done + 1);
    double sums[] = {work.loss, stop, due};
    comm_sum_doubles(t->s.topo.world, sums, 3);
    report.loss = sums[0] / work.count;
    report.stop = sums[1] > 0;
    report.due = sums[2] > 0;
    report.norm = train_step_end(m, optim, report.lr, t->done + 1, work.count, t->s.topo.team_comm);
    t->done++;
    return report;
}
