// Masked-LM models against dumps of an independent PyTorch implementation.
// ranks: 1 2 3 4 5
//
// Loss, logits at masked positions, gradients, and 50 steps of AdamW and of LAMB.

#include "dump.h"

enum { SEQUENCES = 7, BATCHES = 5, STEPS = 50 };

typedef struct {
    const char *dump, *config, *prefix;
    model_design design;
    bool balance, recompute;
    tiling tiles;
    exchange_kind exchange;
} variant;

typedef struct {
    variant v;
    h5_file *file;
    dataset data; // ids and starts; second: where type 1 begins is not used
    int32_t *types;
    int64_t n_masked;
    int32_t *rows, *labels; // [n_masked] of all batches
    topology topo;
    placement place;
    model m;
    int64_t correct;
} fixture;

static void read_data(fixture *f) {
    dataset *d = &f->data;
    int32_t *lengths = dump_read(f->file, "batch/lengths", H5_INT32, &d->n);
    d->ids = dump_read(f->file, "batch/ids", H5_INT32, NULL);
    d->starts = memory_allocate((size_t)d->n + 1, sizeof *d->starts);
    d->second = lengths;
    for (int64_t i = 0; i < d->n; i++) {
        d->starts[i + 1] = d->starts[i] + lengths[i];
        if (lengths[i] > d->longest) d->longest = lengths[i];
    }
    f->types = dump_read(f->file, "batch/types", H5_INT32, NULL);
    f->rows = dump_read(f->file, "batch/rows", H5_INT32, &f->n_masked);
    f->labels = dump_read(f->file, "batch/labels", H5_INT32, NULL);
}

// In place: the model keeps the address of the placement.
static void open_fixture(fixture *f, variant v) {
    *f = (fixture){.v = v};
    error err = {0};
    char *path = memory_format("tests/reference/%s.h5", v.dump);
    f->file = h5_open(path, &err);
    must(f->file, &err);
    memory_free(path);
    read_data(f);
    model_config config;
    must(model_config_read(&config, v.config, v.design, &err), &err);
    parallel_settings settings = {.team = "auto", .replicas = 1, .stages = 1};
    if (v.tiles) one_attention_rank(settings.team);
    double attention = model_attention_work(&config, 12), ffn = model_ffn_work(&config);
    must(topology_create(&f->topo, &settings, attention, ffn, config.heads, &err), &err);
    placement_request q = model_placement_request(&config, &f->topo, v.balance, 12);
    q.tiles = v.tiles;
    must(placement_create(&f->place, &q, &err), &err);
    if (v.tiles == TILES_IN_A_ROW) f->place.grid = (grid_shape){1, f->place.grid.rows * f->place.grid.columns};
    model_request request = {.head = HEAD_MASKED_LM,
                             .max_tokens = SEQUENCES * f->data.longest,
                             .max_sequences = SEQUENCES,
                             .longest = f->data.longest,
                             .max_masked = SEQUENCES * f->data.longest,
                             .training = true,
                             .recompute = v.recompute,
                             .exchange = v.exchange};
    must(model_create(&f->m, &config, &request, &f->topo, &f->place, &err), &err);
    dump_fill(f->file, v.prefix, &f->m.table);
}

static void close_fixture(fixture *f) {
    error err = {0};
    model_destroy(&f->m);
    placement_destroy(&f->place);
    topology_destroy(&f->topo);
    dataset_destroy(&f->data);
    memory_free(f->types);
    memory_free(f->rows);
    memory_free(f->labels);
    must(h5_close(f->file, &err), &err);
}

// Sequences [from, to) of the data as a micro-batch, and their masked tokens.
static void pack(const fixture *f, micro_batch *mb, masked_tokens *masked, int64_t from, int64_t to) {
    batch b = {0};
    batch_range(&b, &f->data, from, to - from);
    assert_int_equal(micro_batch_pack(mb, &f->data, &b, 0, b.n), b.n);
    batch_destroy(&b);
    int64_t first = f->data.starts[from], end = f->data.starts[to];
    memcpy(mb->types, f->types + first, (size_t)(end - first) * sizeof *mb->types);
    masked->n = 0;
    for (int64_t i = 0; i < f->n_masked; i++) {
        if (f->rows[i] < first || f->rows[i] >= end) continue;
        masked->rows[masked->n] = (int32_t)(f->rows[i] - first);
        masked->labels[masked->n++] = f->labels[i];
    }
}

// Mean loss and gradients of batch number i, cut into micro-batches of so many sequences; the same on every rank.
static double forward_backward(fixture *f, int64_t i, int64_t part) {
    micro_batch mb = micro_batch_create(f->m.max_tokens, SEQUENCES);
    masked_tokens masked = masked_tokens_create(f->m.masked.capacity);
    int64_t first = i * SEQUENCES, end = first + SEQUENCES, correct;
    pack(f, &mb, &masked, first, end);
    int64_t n = masked.n;
    double loss = 0;
    parameter_zero_gradients(&f->m.table);
    f->correct = 0;
    for (int64_t at = first; at < end; at += part) {
        pack(f, &mb, &masked, at, at + part < end ? at + part : end);
        model_pass pass = {.train = true}; // the dump's model has no dropout
        loss += model_masked_forward(&f->m, &mb, &masked, pass, &correct);
        model_masked_backward(&f->m, &mb, &masked, pass, 1.0f / (float)n);
        f->correct += correct;
    }
    model_reduce_gradients(&f->m, &f->topo);
    micro_batch_destroy(&mb);
    masked_tokens_destroy(&masked);
    return loss / (double)n;
}

// Without a backward pass: the logits of the first batch, this rank's part against the dump's.
static void check_logits(fixture *f) {
    int64_t n, rows = f->m.mine->vocabulary.count, first = f->m.mine->vocabulary.first;
    float *wanted = dump_read(f->file, "logits", H5_FLOAT32, &n);
    int64_t pieces = f->m.config.vocabulary;
    micro_batch mb = micro_batch_create(f->m.max_tokens, SEQUENCES);
    masked_tokens masked = masked_tokens_create(f->m.masked.capacity);
    pack(f, &mb, &masked, 0, SEQUENCES);
    assert_int_equal(n, masked.n * pieces);
    int64_t right = 0, correct;
    double loss = model_masked_forward(&f->m, &mb, &masked, (model_pass){.train = true}, &correct);
    float *recorded = dump_read(f->file, "loss", H5_FLOAT32, NULL);
    assert_close("loss", loss / (double)masked.n, *recorded, 1e-5 * *recorded);
    for (int64_t i = 0; i < masked.n; i++) {
        const float *row = wanted + i * pieces;
        assert_norm_close("logits", f->m.masked.logits + i * rows, row + first, rows, 1e-5);
        int64_t best = 0;
        for (int64_t k = 1; k < pieces; k++)
            if (row[k] > row[best]) best = k;
        right += best == masked.labels[i];
    }
    assert_int_equal(correct, right);
    micro_batch_destroy(&mb);
    masked_tokens_destroy(&masked);
    memory_free(wanted);
    memory_free(recorded);
}

static void check_updates(fixture *f, const char *optimizer, optim_settings s) {
    char losses_name[32], norms_name[32], group[32];
    snprintf(losses_name, sizeof losses_name, "losses-%s", optimizer);
    snprintf(norms_name, sizeof norms_name, "norms-%s", optimizer);
    snprintf(group, sizeof group, "updated-%s", optimizer);
    float *losses = dump_read(f->file, losses_name, H5_FLOAT32, NULL);
    float *norms = dump_read(f->file, norms_name, H5_FLOAT32, NULL);
    s.optimizer = strcmp(optimizer, "lamb") ? OPTIM_ADAMW : OPTIM_LAMB;
    for (int64_t step = 0; step < STEPS; step++) {
        double loss = forward_backward(f, step % BATCHES, SEQUENCES);
        double norm = optim_gradient_norm(&f->m.table, f->topo.team_comm);
        char what[64];
        snprintf(what, sizeof what, "%s, step %d: loss", optimizer, (int)step);
        assert_close(what, loss, losses[step], 1e-4 * losses[step]);
        snprintf(what, sizeof what, "%s, step %d: norm", optimizer, (int)step);
        assert_close(what, norm, norms[step], 1e-4 * norms[step]);
        optim_update(&f->m.table, &s, optim_learning_rate(&s, step, STEPS), step + 1, optim_clip_factor(norm, s.clip),
                     f->topo.team_comm);
    }
    check_values(f->file, group, f->v.prefix, &f->m.table);
    memory_free(losses);
    memory_free(norms);
}

static const optim_settings adamw = {.lr = 1e-3,
                                     .schedule = SCHEDULE_LINEAR,
                                     .warmup = 5,
                                     .weight_decay = 0.01,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .epsilon = 1e-6,
                                     .clip = 1};

static optim_settings lamb(void) {
    optim_settings s = adamw;
    s.lr = 5e-3;
    s.power = 0.5;
    s.schedule = SCHEDULE_POLYNOMIAL;
    return s;
}

static void check(variant v, const char *optimizer) {
    fixture f;
    open_fixture(&f, v);
    check_logits(&f);
    float *loss = dump_read(f.file, "loss", H5_FLOAT32, NULL);
    for (int64_t part = SEQUENCES; part >= 1; part -= 3) { // whole, in two, sequence by sequence (one has no mask)
        double got = forward_backward(&f, 0, part);
        assert_close("loss", got, *loss, 1e-5 * *loss);
        check_gradients(f.file, v.prefix, &f.m.table, optim_gradient_norm(&f.m.table, f.topo.team_comm));
    }
    if (optimizer) check_updates(&f, optimizer, strcmp(optimizer, "lamb") ? adamw : lamb());
    memory_free(loss);
    close_fixture(&f);
}

// Both designs and optimizers; on more ranks also both exchanges and placements.
static void test_bert(void **state) {
    (void)state;
    bool one = comm_size(comm_world()) == 1;
    for (int i = 0; i < 16; i++) {
        bool paf = i & 1;
        variant v = {.dump = paf ? "masked-paf" : "masked-saf",
                     .config = "tests/reference/config-masked.json",
                     .prefix = "bert.",
                     .design = paf ? DESIGN_PAF : DESIGN_SAF,
                     .balance = i & 4,
                     .recompute = paf == (i >> 1 & 1),
                     .exchange = one ? EXCHANGE_LOCAL : (i & 8 ? EXCHANGE_SHARED : EXCHANGE_MPI)};
        if (one && i >= 4) break;
        check(v, i & 2 ? "lamb" : "adamw");
    }
}

static void test_tiles(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++)
        check((variant){.dump = i & 1 ? "masked-paf" : "masked-saf",
                        .config = "tests/reference/config-masked.json",
                        .prefix = "bert.",
                        .design = i & 1 ? DESIGN_PAF : DESIGN_SAF,
                        .tiles = i & 2 ? TILES_IN_A_ROW : TILES,
                        .exchange = EXCHANGE_AUTO},
              "lamb");
}

static void test_roberta(void **state) {
    (void)state;
    check((variant){.dump = "masked-paf-roberta",
                    .config = "tests/reference/config-masked-roberta.json",
                    .prefix = "roberta.",
                    .design = DESIGN_PAF,
                    .balance = true,
                    .exchange = EXCHANGE_AUTO},
          NULL);
}

// Nothing to guess: no loss, no gradient, on any rank.
static void test_nothing_masked(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, (variant){.dump = "masked-paf",
                               .config = "tests/reference/config-masked.json",
                               .prefix = "bert.",
                               .design = DESIGN_PAF,
                               .exchange = EXCHANGE_AUTO});
    micro_batch mb = micro_batch_create(f.m.max_tokens, SEQUENCES);
    masked_tokens masked = masked_tokens_create(f.m.masked.capacity);
    int64_t correct;
    pack(&f, &mb, &masked, 0, SEQUENCES);
    masked.n = 0;
    parameter_zero_gradients(&f.m.table);
    assert_close("loss", model_masked_forward(&f.m, &mb, &masked, (model_pass){.train = true}, &correct), 0, 0);
    assert_int_equal(correct, 0);
    model_masked_backward(&f.m, &mb, &masked, (model_pass){.train = true}, 1);
    assert_close("norm", optim_gradient_norm(&f.m.table, f.topo.team_comm), 0, 0);
    micro_batch_destroy(&mb);
    masked_tokens_destroy(&masked);
    close_fixture(&f);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    test_rank = comm_rank(comm_world());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bert), cmocka_unit_test(test_tiles),
                                       cmocka_unit_test(test_roberta), cmocka_unit_test(test_nothing_masked)};
    int failed = cmocka_run_group_tests_name("masked-LM model against PyTorch", tests, NULL, NULL);
    comm_finish();
    return failed;
}
