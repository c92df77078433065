#include "analysis/internal.h"

#include "train/train.h"

#include <math.h>
#include <string.h>

#define SEED 1
#define MASKED 0.15 // of all tokens, as BERT's recipe has it

#define ROW(key, type, field, ...)                                                                                     \
    { key, type, offsetof(bench_settings, field), __VA_ARGS__ }
const option bench_step_options[] = {
    ROW("bench.layers", OPTION_INT, layers, "0", .high = 1000, .help = "layers; 0: the config's"),
    ROW("bench.design", OPTION_CHOICE, design, "paf", .words = OPTION_WORDS("saf", "paf"),
        .help = "FFN after attention, or side by side"),
    ROW("bench.balance", OPTION_BOOL, balance, "on", .help = "PAF: even out the work across the groups"),
    ROW("bench.head", OPTION_CHOICE, head, "masked_lm", .words = model_head_words, .help = "what is learnt"),
    ROW("bench.optimizer", OPTION_CHOICE, optimizer, "adamw", .words = optim_words, .help = "what updates the weights"),
    ROW("bench.micro_tokens", OPTION_INT, micro_tokens, "4096", .low = 16, .high = 1 << 24,
        .help = "tokens that pass through the layers together, at most"),
    ROW("bench.recompute", OPTION_CHOICE, recompute, "off", .words = model_recompute_words,
        .help = "layer: compute layers again in the backward pass instead of keeping what they hold"),
    ROW("bench.one", OPTION_BOOL, one, "off", .help = "also one rank, alternating with the team"),
    ROW("bench.task", OPTION_STRING, task, "",
        .help = "take the sequences of this task's training set: a GLUE name, or a task file"),
    ROW("data.dir", OPTION_STRING, data_dir, "", .help = "with bench.task: GLUE's folder, or the task's own"),
    ROW("data.vocab", OPTION_STRING, vocab, "",
        .help = "with bench.task: a vocab.txt, or a folder with vocab.json and merges.txt"),
    ROW("data.lower_case", OPTION_BOOL, lower_case, "on", .help = "with bench.task and a vocab.txt"),
    {0},
};

enum { TEAM, ONE, VARIANTS };

typedef struct {
    bench b;
    model_head head;
    optim_settings optim;
    task task; // zero without bench.task
    dataset data;
    batch samples;        // of the step, always the same
    micro_batch packed;   // the current one
    masked_tokens masked; // of it
    double tokens, squares, heads, count, work;
    double loss[VARIANTS]; // the last step's, divided by count
    int64_t memory;        // the most that this rank had resident with the team's model alone
    variant variants[VARIANTS];
} step_bench;

// ---- a step

// Evenly among the step's tokens, so that any cut into micro-batches has the same.
static bool is_masked(int64_t number) { return floor((double)(number + 1) * MASKED) > floor((double)number * MASKED); }

static void mask(masked_tokens *out, micro_batch *m) {
    out->n = 0;
    for (int64_t t = 0; t < m->tokens; t++) {
        if (!is_masked(m->numbers[t])) continue;
        out->rows[out->n] = (int32_t)t;
        out->labels[out->n++] = m->ids[t];
        m->ids[t] = 0; // whatever stands for the mask
    }
}

// Forward and backward over a micro-batch; returns what this rank adds to the team's sum of losses.
static double masked_pass(step_bench *s, variant *v, model_pass pass) {
    int64_t correct;
    mask(&s->masked, &s->packed);
    double loss = model_masked_forward(&v->m, &s->packed, &s->masked, pass, &correct);
    model_masked_backward(&v->m, &s->packed, &s->masked, pass, 1);
    return v->topo.team_rank == 0 ? loss : 0; // every rank has it
}

static double classifier_pass(step_bench *s, variant *v, model_pass pass) {
    model *m = &v->m;
    double loss = 0;
    model_forward(m, &s->packed, pass);
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t example = s->packed.examples[m->head_sequences[i]];
        float *d = m->dlogits + i * m->classes;
        const float *logits = m->logits + i * m->classes;
        loss += s->data.targets ? squared_error(d, logits, &s->data.targets[example], 1, 1)
                                : cross_entropy(d, logits, &s->data.labels[example], 1, m->classes, 1);
    }
    model_backward(m, &s->packed, pass);
    return loss;
}

static void work(variant *v, void *context) {
    step_bench *s = context;
    const model_pass pass = {.train = true, .seed = SEED, .step = (uint64_t)v->times.n};
    double loss = 0;
    train_step_begin(&v->m);
    for (int64_t at = 0; at < s->samples.n;) {
        at = micro_batch_pack(&s->packed, &s->data, &s->samples, at, s->samples.n);
        loss += (s->head == HEAD_MASKED_LM ? masked_pass : classifier_pass)(s, v, pass);
    }
    comm_sum_doubles(v->topo.team_comm, &loss, 1);
    train_step_end(&v->m, &v->topo, &s->optim, s->optim.lr, v->times.n + 1, s->count);
    s->loss[v - s->variants] = loss / s->count;
}

// ---- what came out

static json_t *report_variant(const step_bench *s, const variant *v) {
    static const span columns[] = {SPAN_ATTENTION, SPAN_FFN,  SPAN_EXCHANGE,  SPAN_IDLE,
                                   SPAN_EMBEDDING, SPAN_HEAD, SPAN_OPTIMIZER, SPAN_OTHER};
    double seconds = series_median(&v->times), gflops = s->work / seconds / 1e9, share = gflops / s->b.peak[v->team];
    printf("%-14s %9.1f %9.1f to %-9.1f %9.0f %9.1f %7.1f %%", v->name, 1e3 * seconds,
           1e3 * series_quantile(&v->times, 0.25), 1e3 * series_quantile(&v->times, 0.75), s->tokens / seconds, gflops,
           100 * share);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) printf(" %5.1f", 100 * variant_share(v, columns[i]));
    printf("\n");
    json_t *row = json_pack("{s:s, s:f, s:f, s:f, s:f}", "variant", v->name, "tokens_per_s", s->tokens / seconds,
                            "gflops", gflops, "share_of_peak", share, "loss", s->loss[v - s->variants]);
    variant_set_shares(v, row);
    series_to_json(&v->times, row);
    return row;
}

static void report_speedup(const series *ratio, json_t *whole) {
    printf("the team against one rank: %.3f, quartiles %.3f to %.3f\n", series_median(ratio),
           series_quantile(ratio, 0.25), series_quantile(ratio, 0.75));
    series_set_json(ratio, whole, "speedup");
}

static void print_head(const step_bench *s) {
    const bench_settings *b = s->b.settings;
    char *lengths = *b->task ? memory_format("%lld sequences of %s", (long long)s->samples.n, s->task.name)
                             : memory_format("sequences of %lld", (long long)b->length);
    char *what = memory_format(
        "%s, %lld layers, %s head, %s, balance %s%s;\na step of %.0f tokens in %s, %lld at a time, dropout on",
        model_design_name(s->b.config.design), (long long)s->b.config.layers,
        s->head == HEAD_MASKED_LM ? "masked-LM" : "classifier", optim_words[b->optimizer], b->balance ? "on" : "off",
        b->recompute != RECOMPUTE_OFF ? ", layers recomputed" : "", s->tokens, lengths,
        (long long)s->packed.token_capacity);
    bench_print_head(&s->b, what);
    memory_free(what);
    memory_free(lengths);
}

static void set_settings(const step_bench *s, json_t *whole) {
    const bench_settings *b = s->b.settings;
    json_t *own = json_pack("{s:s, s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "design",
                            model_design_name(s->b.config.design), "head", model_head_words[b->head], "optimizer",
                            optim_words[b->optimizer], "balance", b->balance, "recompute",
                            model_recompute_words[b->recompute], "task", b->task, "micro_tokens",
                            (json_int_t)s->packed.token_capacity, "sequences", (json_int_t)s->samples.n, "step_tokens",
                            s->tokens, "head_rows", s->heads, "step_gflop", s->work / 1e9);
    REQUIRE(own);
    json_object_update(whole, own);
    json_decref(own);
}

// memory [ranks]
static void report_memory(json_t *whole, const int64_t *memory) {
    json_t *list = json_array();
    printf("memory at most, in MiB:");
    for (int r = 0; r < comm_size(comm_world()); r++) {
        printf("%s rank %d %.0f", r ? "," : "", r, (double)memory[r] / (1 << 20));
        json_array_append_new(list, json_integer(memory[r]));
    }
    printf("\n");
    json_object_set_new(whole, "memory_bytes", list);
}

// On the root. The caller's.
static json_t *report(step_bench *s, int used, const int64_t *memory) {
    json_t *whole = bench_json_head(&s->b), *rows = json_array();
    series speedup = {0};
    if (used > ONE) speedup = series_ratio(&s->variants[ONE].times, &s->variants[TEAM].times);
    set_settings(s, whole);
    print_head(s);
    printf("%-14s %9s %22s %9s %9s %9s %5s %5s %5s %5s %5s %5s %5s %5s\n", "", "ms", "quartiles", "tokens/s", "GFLOP/s",
           "of peak", "attn", "ffn", "exch", "idle", "emb", "head", "optim", "other");
    for (int i = 0; i < used; i++) series_sort(&s->variants[i].times);
    for (int i = 0; i < used; i++) json_array_append_new(rows, report_variant(s, &s->variants[i]));
    json_object_set_new(whole, "variants", rows);
    printf("\n");
    if (used > ONE) report_speedup(&speedup, whole);
    series_destroy(&speedup);
    report_memory(whole, memory);
    return whole;
}

// ---- what is learnt

static bool need(const char *value, const char *name, error *err) {
    return *value || error_set(err, ERROR_INPUT, "%s is not set: bench.task wants data.dir and data.vocab", name);
}

static bool load_task(step_bench *s, error *err) {
    const bench_settings *b = s->b.settings;
    if (!need(b->data_dir, "data.dir", err) || !need(b->vocab, "data.vocab", err) ||
        !task_open(&s->task, b->task, err) || !task_collect_labels(&s->task, b->data_dir, err))
        return false;
    tokenizer *tok = tokenizer_load(b->vocab, b->lower_case, err);
    if (!tok) return false;
    bool ok = true;
    if (tokenizer_size(tok) != s->b.config.vocabulary)
        ok = error_set(err, ERROR_INPUT, "%s has %lld pieces, but %s says vocab_size %lld", b->vocab,
                       (long long)tokenizer_size(tok), b->config, (long long)s->b.config.vocabulary);
    else if (s->task.train.text[1] && s->b.config.types < tokenizer_special_ids(tok).types)
        ok = error_set(err, ERROR_INPUT, "task %s has pairs of texts, but %s says type_vocab_size 1; it takes 2",
                       s->task.name, b->config);
    ok = ok && dataset_load(&s->data, &s->task, b->data_dir, "train", tok, b->length, err);
    tokenizer_destroy(tok);
    return ok;
}

// As many as the step's tokens hold, drawn at random.
static void draw(step_bench *s) {
    int64_t n = 0, tokens = 0;
    for (;; n++) {
        tokens += dataset_length(&s->data, data_sample(SEED, s->data.n, n));
        if (tokens > s->b.settings->tokens && n > 0) break;
    }
    batch_sample(&s->samples, &s->data, NULL, SEED, 0, n);
}

static void measure_batch(step_bench *s) {
    for (int64_t i = 0; i < s->samples.n; i++) {
        double length = (double)s->samples.list[i].length;
        s->tokens += length;
        s->squares += length * length;
    }
    s->heads = s->head == HEAD_MASKED_LM ? floor(s->tokens * MASKED) : (double)s->samples.n;
    s->count = fmax(s->heads, 1);
    double row = s->head == HEAD_MASKED_LM ? model_masked_work(&s->b.config) : model_classifier_work(&s->b.config);
    s->work = model_step_work(&s->b.config, s->tokens, s->squares / s->tokens) + 3 * s->heads * row;
}

// Local to the rank.
static bool load(step_bench *s, error *err) {
    const bench_settings *b = s->b.settings;
    option_set_defaults(&(option_table){optim_options, &s->optim}, 1);
    s->optim.optimizer = b->optimizer;
    s->head = b->head;
    if (b->length > model_longest(&s->b.config))
        return error_set(err, ERROR_INPUT, "bench.length is %lld, but the model has %lld positions",
                         (long long)b->length, (long long)model_longest(&s->b.config));
    if (*b->task) {
        if (!load_task(s, err)) return false;
        draw(s);
    } else {
        s->data = synthetic_dataset(b->tokens, b->length, s->b.config.vocabulary);
        batch_range(&s->samples, &s->data, 0, s->data.n);
    }
    measure_batch(s);
    if (b->micro_tokens < s->data.longest)
        return error_set(err, ERROR_INPUT, "bench.micro_tokens is %lld, but the longest sequence has %lld tokens",
                         (long long)b->micro_tokens, (long long)s->data.longest);
    int64_t at_a_time = smaller(b->micro_tokens, (int64_t)s->tokens);
    if (at_a_time < s->data.longest) at_a_time = s->data.longest;
    s->packed = micro_batch_create(at_a_time, smaller(s->samples.n, at_a_time));
    batch_cut(&s->samples, s->packed.token_capacity, s->packed.sequence_capacity);
    // A run of n tokens has up to n MASKED + 1; a part is a run for each of its sequences.
    s->masked = masked_tokens_create((int64_t)((double)at_a_time * MASKED) + s->packed.sequence_capacity + 1);
    return true;
}

// ---- the run

// The team comes first, so that its memory is seen alone. A first step touches all memory.
static bool open_variants(step_bench *s, int used, error *err) {
    const bench_settings *b = s->b.settings;
    const model_request request = {.head = s->head,
                                   .classes = *b->task ? s->task.classes : 2,
                                   .max_tokens = s->packed.token_capacity,
                                   .max_sequences = s->packed.sequence_capacity,
                                   .longest = s->data.longest,
                                   .max_masked = s->masked.capacity,
                                   .training = true,
                                   .recompute = b->recompute == RECOMPUTE_LAYER,
                                   .exchange = b->exchange};
    for (int i = 0; i < used; i++) {
        variant *v = &s->variants[i];
        if (!variant_open(v, &s->b, s->squares / s->tokens, request, err)) return false;
        log_progress("first step: %s", v->name);
        if (v->inside) work(v, s);
        if (i == TEAM) s->memory = memory_peak();
    }
    return true;
}

static void measure(step_bench *s, int used) {
    int64_t rounds = s->b.settings->repeats;
    for (int64_t r = 0; r < rounds; r++) {
        bench_measure_peak(&s->b);
        for (int i = 0; i < used; i++) variant_time(&s->variants[i], work, s);
        bench_log_progress(&s->b, r + 1, rounds);
    }
    bench_settle(&s->b);
    for (int i = 0; i < used; i++) variant_sum_spans(&s->variants[i]);
}

static bool finish(step_bench *s, int used, error *err) {
    comm *world = comm_world();
    int64_t *memory = memory_allocate((size_t)comm_size(world), sizeof *memory);
    comm_gather(world, &s->memory, memory, sizeof *memory);
    bool ok = bench_finish(&s->b, comm_rank(world) == 0 ? report(s, used, memory) : NULL, err);
    memory_free(memory);
    return ok;
}

bool bench_step(const bench_settings *settings, error *err) {
    step_bench s = {0};
    bool ok = bench_open(&s.b, "step", settings, settings->design, settings->layers, err);
    if (ok) load(&s, err);
    ok = comm_agree(comm_world(), err);
    s.b.optimizer = &settings->optimizer;
    s.b.step_tokens = s.tokens;
    char team[32], name[64];
    topology_team_text(team, s.b.attention, s.b.ffn);
    snprintf(name, sizeof name, "team %s", team);
    bool has_team = bench_has_team(&s.b);
    s.variants[TEAM] = (variant){
        .name = has_team ? name : "one rank", .design = s.b.config.design, .team = true, .balance = settings->balance};
    s.variants[ONE] = (variant){.name = "one rank", .design = s.b.config.design};
    int used = has_team && settings->one ? VARIANTS : 1;
    ok = ok && open_variants(&s, used, err);
    if (ok) {
        measure(&s, used);
        ok = finish(&s, used, err);
    }
    for (int i = 0; i < used; i++) variant_close(&s.variants[i]);
    masked_tokens_destroy(&s.masked);
    micro_batch_destroy(&s.packed);
    batch_destroy(&s.samples);
    dataset_destroy(&s.data);
    task_destroy(&s.task);
    bench_close(&s.b);
    return ok;
}
