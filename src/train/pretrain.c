// Pretraining: a masked language model on token shards, those held out in between.
#include "train/internal.h"

#include <math.h>
#include <string.h>

typedef struct {
    trainer t;
    const pretrain_settings *settings;
    shards shards[SHARDS_SPLITS];
    sequences sequences[SHARDS_SPLITS];
    masking masking;
    masked_tokens masked; // of the current micro-batch
    batch heldout;        // what is evaluated on; this replica's part
    int64_t heldout_n;    // the sequences of all parts
} pretrainer;

// ---- what is learnt

// Packs a micro-batch of b, from item `at` on; the first item that is left. Shards that cannot be read in the middle of
// a step, on whichever rank, are a failure of the machine: the run ends, and resumes.
static int64_t pack_masked(pretrainer *p, shards_split split, const batch *b, int64_t at, int flight,
                           random_stream masks) {
    error err = {0};
    int64_t next;
    micro_batch *packed = &p->t.packed[flight];
    if (!sequences_pack(packed, &p->sequences[split], b, at, b->n, &next, &err)) FATAL("%s", err.text);
    masking_apply(&p->masking, &p->masked, packed, masks);
    return next;
}

static void sample(trainer *t) {
    pretrainer *p = (pretrainer *)t;
    const train_settings *train = t->plan.train;
    sequences_sample(&t->samples, &p->sequences[SHARDS_TRAIN], train->seed, t->done, train->batch);
}

static int64_t pack(trainer *t, int64_t at, int flight) {
    random_stream masks = random_stream_create(t->plan.train->seed, RANDOM_MASKING, (uint64_t)t->done, 0);
    return pack_masked((pretrainer *)t, SHARDS_TRAIN, &t->samples, at, flight, masks);
}

static void forward(trainer *t, int flight, model_pass pass, step_work *work) {
    const pretrainer *p = (const pretrainer *)t;
    int64_t correct;
    double loss = model_masked_forward(&t->s.model, &t->packed[flight], &p->masked, pass, &correct);
    if (!trainer_counts(t)) return;
    work->loss += loss; // every rank of the team has it
    work->count += (double)p->masked.n;
    work->heads += (double)p->masked.n;
}

static void backward(trainer *t, int flight, model_pass pass) {
    model_masked_backward(&t->s.model, &t->packed[flight], &((pretrainer *)t)->masked, pass, 1);
}

static void show_progress(double *last, const trainer *t, int64_t done, int64_t n) {
    if (time_now() - *last < 0.5) return;
    *last = time_now();
    log_progress("step %lld/%lld, evaluating held-out text: %lld/%lld sequences", (long long)t->done,
                 (long long)t->steps, (long long)done, (long long)n);
}

// The masks, too, are the same at every evaluation, and in every run with these shards and data options.
static json_t *evaluate(trainer *t, double *loss) {
    pretrainer *p = (pretrainer *)t;
    const batch *b = &p->heldout;
    random_stream masks = random_stream_create(0, RANDOM_MASKING, 0, 1);
    double sums[3] = {0}, last = time_now(); // of losses, masked tokens, and those that were guessed right
    model_take_flight(&t->s.model, 0);
    for (int64_t at = 0; at < b->n;) {
        int64_t correct;
        at = pack_masked(p, SHARDS_HELDOUT, b, at, 0, masks);
        double part =
            model_masked_forward(&t->s.model, &t->packed[0], &p->masked, (model_pass){.train = false}, &correct);
        show_progress(&last, t, at, b->n);
        if (!trainer_counts(t)) continue;
        sums[0] += part;
        sums[1] += (double)p->masked.n;
        sums[2] += (double)correct;
    }
    comm_sum_doubles(t->s.topo.world, sums, 3);
    double count = sums[1] > 0 ? sums[1] : 1;
    *loss = sums[0] / count;
    return json_pack("{s:f, s:f}", "perplexity", exp(fmin(*loss, 709)), "masked_accuracy", sums[2] / count);
}

static double score(const json_t *metrics) { return -json_number_value(json_object_get(metrics, "perplexity")); }

static double head_work(const trainer *t) { return model_masked_work(&t->s.config); }

static int64_t examples(const trainer *t) { return ((const pretrainer *)t)->heldout_n; }

static void add_state(const trainer *t, json_t *state) {
    const pretrainer *p = (const pretrainer *)t;
    json_t *own = json_pack("{s:s, s:f, s:b}", "tokens", p->shards[SHARDS_TRAIN].checksum, "mask", p->masking.share,
                            "whole_words", p->masking.whole_words);
    json_object_set_new(state, "masked_lm", own);
}

static bool same_state(const trainer *t, const json_t *state, error *err) {
    const pretrainer *p = (const pretrainer *)t;
    const json_t *own = json_object_get(state, "masked_lm");
    if (!own) return error_set(err, ERROR_INPUT, "%s holds a run of another kind", t->run.path);
    if (json_number_value(json_object_get(own, "mask")) != p->masking.share)
        return resume_begun_with_another("data.mask", err);
    if (json_is_true(json_object_get(own, "whole_words")) != p->masking.whole_words)
        return resume_begun_with_another("data.whole_words", err);
    const char *checksum;
    if (!json_get_string(own, "tokens", &checksum, NULL, "state", err)) return false;
    if (strcmp(checksum, p->shards[SHARDS_TRAIN].checksum)) return resume_begun_with_another("data.tokens", err);
    return resume_same_number(state, "max_length", t->s.max_length, "data.length", err);
}

static const objective pretraining = {
    .task = "masked_lm",
    .split = "heldout",
    .chosen_by = "the lowest loss on held-out text; last is the end of training",
    .items = "sequences",
    .sample = sample,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .evaluate = evaluate,
    .score = score,
    .head_work = head_work,
    .examples = examples,
    .add_state = add_state,
    .same_state = same_state,
};

// ---- batches that divide

enum { MOST_SEQUENCES = 1000000000, MOST_MICRO_TOKENS = 1 << 24 }; // as train.batch and train.micro_tokens may be

static int64_t divisor_up_to(int64_t n, int64_t most) {
    while (n % most) most--;
    return most;
}

static int64_t divisor_from(int64_t n, int64_t least) {
    while (n % least) least++;
    return least;
}

// Fills train.batch from train.batch_tokens.
static bool settle_batch(pretrain_settings *s, error *err) {
    int64_t length = s->data.length, tokens = s->batch.tokens, parts = s->batch.accumulate;
    if (tokens % length)
        return error_set(
            err, ERROR_INPUT, "train.batch_tokens %lld is not a multiple of data.length %lld; %lld or %lld would be",
            (long long)tokens, (long long)length, (long long)(tokens < length ? length : tokens / length * length),
            (long long)((tokens / length + 1) * length));
    if (tokens) s->train.batch = tokens / length;
    int64_t batch = s->train.batch;
    if (batch > MOST_SEQUENCES)
        return error_set(err, ERROR_INPUT, "a step's batch of %lld sequences is more than %lld", (long long)batch,
                         (long long)MOST_SEQUENCES);
    if (!parts || batch % parts == 0) return true;
    if (parts > batch)
        return error_set(err, ERROR_INPUT,
                         "train.accumulate %lld is more than the %lld sequences of a step, each of "
                         "which could be a part",
                         (long long)parts, (long long)batch);
    return error_set(err, ERROR_INPUT,
                     "a step's batch of %lld sequences does not divide into train.accumulate %lld parts; %lld or %lld "
                     "parts would do, or a batch of %lld or %lld",
                     (long long)batch, (long long)parts, (long long)divisor_up_to(batch, parts),
                     (long long)divisor_from(batch, parts), (long long)(batch / parts * parts),
                     (long long)((batch / parts + 1) * parts));
}

// ---- the run

static bool load_split(pretrainer *p, shards_split split, error *err) {
    const pretrain_data_settings *data = &p->settings->data;
    char *path = memory_format("%s/%s", data->tokens, shards_split_names[split]);
    if (split == SHARDS_HELDOUT && !file_is_folder(path)) {
        memory_free(path);
        return error_set(err, ERROR_INPUT,
                         "%s has no held-out part, on which pretraining is judged; make one with --tokenize.heldout",
                         data->tokens);
    }
    bool ok = shards_open(&p->shards[split], path, p->t.s.tok, err) &&
              sequences_create(&p->sequences[split], &p->shards[split], p->t.s.tok, data->length, err);
    memory_free(path);
    return ok;
}

static bool load_data(pretrainer *p, error *err) {
    const pretrain_data_settings *data = &p->settings->data;
    if (!load_split(p, SHARDS_TRAIN, err) || !load_split(p, SHARDS_HELDOUT, err) ||
        !masking_create(&p->masking, p->t.s.tok, data->mask, data->whole_words, err))
        return false;
    const sequences *heldout = &p->sequences[SHARDS_HELDOUT];
    if (data->heldout && data->heldout < heldout->n)
        sequences_sample(&p->heldout, heldout, 0, 0, data->heldout);
    else
        sequences_range(&p->heldout, heldout, 0, heldout->n);
    p->heldout_n = p->heldout.n;
    return true;
}

// Every rank sees the same shards, and each holds some of them against their checksums.
static bool verify_data(const pretrainer *p, error *err) {
    comm *world = comm_world();
    for (int s = 0; s < SHARDS_SPLITS; s++) {
        char first[CHECKSUM_SIZE];
        memcpy(first, p->shards[s].checksum, sizeof first);
        comm_broadcast(world, first, sizeof first, 0);
        if (strcmp(first, p->shards[s].checksum))
            error_set(err, ERROR_INPUT, "rank %d sees other shards in %s than rank 0", comm_rank(world),
                      p->shards[s].path);
    }
    if (!comm_agree(world, err)) return false;
    for (int s = 0; p->settings->data.verify && s < SHARDS_SPLITS && err->kind == ERROR_NONE; s++)
        shards_verify(&p->shards[s], comm_rank(world), comm_size(world), err);
    return comm_agree(world, err);
}

static void log_data(const pretrainer *p) {
    for (int s = 0; s < SHARDS_SPLITS; s++) {
        const sequences *q = &p->sequences[s];
        log_info(
            "%s: %lld documents, %lld tokens in %lld shard%s; %lld sequences, %.1f tokens on average, longest %lld",
            shards_split_names[s], (long long)q->source->counts.documents, (long long)q->source->counts.tokens,
            (long long)q->source->n, q->source->n == 1 ? "" : "s", (long long)q->n, (double)q->tokens / (double)q->n,
            (long long)q->longest);
    }
}

static double typical_length(const sequences *q) {
    double squares = 0;
    for (int64_t i = 0; i < q->n; i++) squares += (double)q->list[i].length * q->list[i].length;
    return squares / (double)q->tokens;
}

// How much passes through the layers together. A micro-batch that has tokens left when its sequences are used up is
// sound, too; so there need not be as many as the shortest would make.
static bool settle_micro_batch(const pretrainer *p, int64_t *tokens, int64_t *count, error *err) {
    const train_settings *train = p->t.plan.train;
    const sequences *q = &p->sequences[SHARDS_TRAIN], *other = &p->sequences[SHARDS_HELDOUT];
    int64_t longest = q->longest > other->longest ? q->longest : other->longest;
    int64_t parts = p->settings->batch.accumulate, replicas = p->t.plan.parallel->replicas;
    int64_t part = parts ? train->batch / parts : (train->batch + replicas - 1) / replicas; // a replica's, at most
    *tokens = parts ? part * longest : smaller(train->micro_tokens, part * longest);
    *count = parts ? part : smaller(part, (int64_t)(1.25 * (double)*tokens * (double)q->n / (double)q->tokens) + 1);
    if (*tokens > MOST_MICRO_TOKENS)
        return error_set(err, ERROR_INPUT,
                         "a part of %lld sequences may have %lld tokens, more than %d; raise train.accumulate",
                         (long long)part, (long long)*tokens, MOST_MICRO_TOKENS);
    if (*tokens >= longest) return true;
    return error_set(err, ERROR_INPUT, "train.micro_tokens is %lld, but a sequence has up to %lld tokens",
                     (long long)train->micro_tokens, (long long)longest);
}

// Everything up to the first step. Collective over the world.
static bool prepare(pretrainer *p, error *err) {
    trainer *t = &p->t;
    const train_settings *train = t->plan.train;
    const checkpoint *init;
    if (!trainer_open_init(t, &init, err)) return false;
    if (session_read_pretrain_settings(&t->s, p->settings, init, err)) load_data(p, err);
    if (!comm_agree(comm_world(), err)) return false;
    log_data(p);
    if (!verify_data(p, err)) return false;
    const sequences *q = &p->sequences[SHARDS_TRAIN];
    double epoch = (double)q->n / (double)train->batch;
    t->steps = train->max_steps ? train->max_steps : (int64_t)ceil(train->epochs * epoch);
    t->eval_every = train->eval_every ? train->eval_every : (int64_t)ceil(epoch);
    int64_t tokens = 0, count = 0;
    settle_micro_batch(p, &tokens, &count, err);
    int64_t capacity = masking_capacity(&p->masking, tokens, count);
    const model_request request = {.head = HEAD_MASKED_LM,
                                   .max_tokens = tokens,
                                   .max_sequences = count,
                                   .longest = smaller(p->settings->data.length, tokens),
                                   .max_masked = capacity,
                                   .training = true,
                                   .recompute = train->recompute == RECOMPUTE_LAYER};
    t->s.optimizer = &t->plan.optim->optimizer;
    t->s.step_tokens = (double)train->batch * (double)q->tokens / (double)q->n;
    if (!session_build(&t->s, t->plan.parallel, typical_length(q), request, err)) return false;
    batch_deal(&p->heldout, t->s.topo.replica, t->s.topo.replicas);
    trainer_create_packed(t);
    p->masked = masked_tokens_create(capacity);
    return true;
}

static void destroy(pretrainer *p) {
    for (int s = 0; s < SHARDS_SPLITS; s++) {
        sequences_destroy(&p->sequences[s]);
        shards_close(&p->shards[s]);
    }
    masking_destroy(&p->masking);
    masked_tokens_destroy(&p->masked);
    batch_destroy(&p->heldout);
    trainer_destroy(&p->t);
}

bool train_pretrain(const pretrain_settings *settings, error *err) {
    option_table tables[PRETRAIN_TABLES];
    pretrain_settings own = *settings; // the tables can write, too
    pretrain_tables(tables, &own);
    pretrainer p = {
        .t = {.what = &pretraining,
              .plan = {&own.model, &own.train, &own.optim, &own.parallel, &own.run, tables, PRETRAIN_TABLES},
              .run.lock = -1},
        .settings = &own};
    bool ok = settle_batch(&own, err) && prepare(&p, err);
    if (ok) {
        char *name = memory_format("pretrain-%s", model_design_name(p.t.s.config.design));
        ok = trainer_run(&p.t, name, err);
        memory_free(name);
    }
    destroy(&p);
    return ok;
}
