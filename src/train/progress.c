#include "train/internal.h"

#include <string.h>

#define TERMINAL_INTERVAL 1.0 // seconds between updates of the line on a terminal
#define PEAK_SECONDS 0.05
#define UNSETTLED_STEPS 2 // in which memory is touched for the first time

void progress_start(progress *p, comm *world, double interval, int64_t first_step, int64_t steps) {
    double peak = peak_measure(PEAK_SECONDS);
    comm_sum_doubles(world, &peak, 1);
    *p = (progress){.interval = log_is_terminal() ? TERMINAL_INTERVAL : interval,
                    .peak = peak,
                    .begun = time_now(),
                    .first_step = first_step,
                    .last_step = first_step,
                    .steps = steps};
    p->last = p->begun;
}

void progress_step_begins(progress *p) {
    double between[SPAN_COUNT];
    time_span_collect(between);
    p->before = comm_traffic();
}

void progress_step_ended(progress *p, int64_t done, double tokens, double work) {
    double spans[SPAN_COUNT];
    time_span_collect(spans);
    bool settled = done - p->first_step > UNSETTLED_STEPS;
    for (int i = 0; i < SPAN_COUNT; i++) {
        p->spans[i] += spans[i];
        if (settled) p->all[i] += spans[i];
    }
    traffic now = comm_traffic();
    if (settled) p->sent.messages += now.messages - p->before.messages;
    if (settled) p->sent.bytes += now.bytes - p->before.bytes;
    p->all_steps += settled;
    p->tokens += tokens;
    p->work += work;
}

bool progress_due(const progress *p, int64_t done) { return done == p->steps || time_now() - p->last >= p->interval; }

void progress_print(progress *p, comm *world, int64_t done, double loss, double lr, double norm) {
    double spans[SPAN_COUNT], all = 0, now = time_now(), seconds = now - p->last;
    memcpy(spans, p->spans, sizeof spans);
    comm_sum_doubles(world, spans, SPAN_COUNT);
    for (int i = 0; i < SPAN_COUNT; i++) all += spans[i] / 100;
    char eta[TIME_TEXT_SIZE], line[512], replicas[32] = "", stages[32] = "";
    if (spans[SPAN_REDUCTION] > 0) snprintf(replicas, sizeof replicas, "reduce %.0f ", spans[SPAN_REDUCTION] / all);
    if (spans[SPAN_BUBBLE] > 0) snprintf(stages, sizeof stages, "bubble %.0f ", spans[SPAN_BUBBLE] / all);
    time_format(eta, (now - p->begun) / (double)(done - p->first_step) * (double)(p->steps - done));
    snprintf(line, sizeof line,
             "step %lld/%lld | loss %.4f | lr %.2g | gnorm %.2f | %.0f tok/s | %.0f%% peak | attn %.0f ffn %.0f exch "
             "%.0f %s%sidle %.0f %% | eta %s",
             (long long)done, (long long)p->steps, loss, lr, norm, p->tokens / seconds,
             100 * p->work / seconds / (1e9 * p->peak), spans[SPAN_ATTENTION] / all, spans[SPAN_FFN] / all,
             spans[SPAN_EXCHANGE] / all, replicas, stages, spans[SPAN_IDLE] / all, eta);
    if (log_is_terminal() && done < p->steps)
        log_progress("%s", line);
    else
        log_info("%s", line);
    p->last = now;
    p->last_step = done;
    p->tokens = p->work = 0;
    memset(p->spans, 0, sizeof p->spans);
}

json_t *progress_seconds(const progress *p, comm *world) {
    double all[SPAN_COUNT];
    memcpy(all, p->all, sizeof all);
    comm_sum_doubles(world, all, SPAN_COUNT);
    json_t *seconds = json_object();
    for (int i = 0; i < SPAN_COUNT && p->all_steps; i++)
        json_object_set_new(seconds, span_names[i],
                            json_real(all[i] / (double)(p->all_steps * (int64_t)comm_size(world))));
    return seconds;
}

json_t *progress_traffic(const progress *p, comm *world) {
    double sums[] = {(double)p->sent.messages, (double)p->sent.bytes};
    comm_sum_doubles(world, sums, 2);
    double steps = p->all_steps ? (double)p->all_steps : 1;
    return json_pack("{s:f, s:f}", "messages", sums[0] / steps, "bytes", sums[1] / steps);
}
