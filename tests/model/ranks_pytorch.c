// The whole model against dumps of an independent PyTorch implementation.
// ranks: 1 2 3 4 5
//
// The dumps are in tests/reference. Dropout, which no other implementation draws the same, is held against finite
// differences.

#include "dump.h"

#define SEQUENCES 7 // of a batch
#define BATCHES 5
#define STEPS 50

typedef struct {
    model_design design;
    bool regression;
    bool balance, recompute;
    tiling tiles;
    exchange_kind exchange;
} variant;

// Everything of one dump file that all variants read.
typedef struct {
    h5_file *file;
    dataset data;
    topology topo;
    placement place;
    model m;
} fixture;

static dataset read_data(h5_file *file, bool regression) {
    dataset d = {0};
    int32_t *lengths = dump_read(file, "batch/lengths", H5_INT32, &d.n);
    d.ids = dump_read(file, "batch/ids", H5_INT32, NULL);
    d.second = dump_read(file, "batch/second", H5_INT32, NULL);
    if (regression)
        d.targets = dump_read(file, "batch/targets", H5_FLOAT32, NULL);
    else
        d.labels = dump_read(file, "batch/labels", H5_INT32, NULL);
    d.starts = memory_allocate((size_t)d.n + 1, sizeof *d.starts);
    for (int64_t i = 0; i < d.n; i++) {
        d.starts[i + 1] = d.starts[i] + lengths[i];
        if (lengths[i] > d.longest) d.longest = lengths[i];
    }
    memory_free(lengths);
    return d;
}

// In place: the model keeps the address of the placement.
static void open_fixture(fixture *f, variant v) {
    *f = (fixture){0};
    error err = {0};
    const char *design = model_design_name(v.design);
    char *path =
        memory_format("tests/reference/model-%s-%s.h5", design, v.regression ? "regression" : "classification");
    f->file = h5_open(path, &err);
    must(f->file, &err);
    memory_free(path);
    f->data = read_data(f->file, v.regression);
    model_config config;
    must(model_config_read(&config, "tests/reference/config.json", v.design, &err), &err);
    parallel_settings settings = {.team = "auto", .replicas = 1, .stages = 1};
    if (v.tiles) one_attention_rank(settings.team);
    double attention = model_attention_work(&config, 12), ffn = model_ffn_work(&config);
    must(topology_create(&f->topo, &settings, attention, ffn, config.heads, &err), &err);
    placement_request q = model_placement_request(&config, &f->topo, v.balance, 12);
    q.tiles = v.tiles;
    must(placement_create(&f->place, &q, &err), &err);
    if (v.tiles == TILES_IN_A_ROW) f->place.grid = (grid_shape){1, f->place.grid.rows * f->place.grid.columns};
    model_request request = {.classes = v.regression ? 1 : 3,
                             .max_tokens = SEQUENCES * f->data.longest,
                             .max_sequences = SEQUENCES,
                             .longest = f->data.longest,
                             .training = true,
                             .recompute = v.recompute,
                             .exchange = v.exchange};
    must(model_create(&f->m, &config, &request, &f->topo, &f->place, &err), &err);
    dump_fill(f->file, "bert.", &f->m.table);
}

static void close_fixture(fixture *f) {
    error err = {0};
    model_destroy(&f->m);
    placement_destroy(&f->place);
    topology_destroy(&f->topo);
    dataset_destroy(&f->data);
    must(h5_close(f->file, &err), &err);
}

// Loss and gradients of batch number i; the loss is the same on every rank. Logits, where wanted, [SEQUENCES, classes].
static double forward_backward(fixture *f, int64_t i, float *logits) {
    batch b = {0};
    batch_range(&b, &f->data, i * SEQUENCES, SEQUENCES);
    micro_batch mb = micro_batch_create(f->m.max_tokens, SEQUENCES);
    assert_int_equal(micro_batch_pack(&mb, &f->data, &b, 0, b.n), SEQUENCES);
    model_pass pass = {.train = true}; // the dump's model has no dropout
    parameter_zero_gradients(&f->m.table);
    model_forward(&f->m, &mb, pass);
    double loss = 0;
    int64_t classes = f->m.classes;
    for (int64_t k = 0; k < f->m.head_n; k++) {
        int64_t s = f->m.head_sequences[k], example = mb.examples[s];
        float *row = f->m.logits + k * classes, *d = f->m.dlogits + k * classes;
        if (logits) memcpy(logits + s * classes, row, (size_t)classes * sizeof *row);
        loss += f->data.targets ? squared_error(d, row, &f->data.targets[example], 1, 1.0f / SEQUENCES)
                                : cross_entropy(d, row, &f->data.labels[example], 1, classes, 1.0f / SEQUENCES);
    }
    model_backward(&f->m, &mb, pass);
    model_reduce_gradients(&f->m, &f->topo);
    comm_sum_doubles(f->topo.team_comm, &loss, 1);
    if (logits) comm_sum_floats(f->topo.team_comm, logits, SEQUENCES * classes);
    micro_batch_destroy(&mb);
    batch_destroy(&b);
    return loss / SEQUENCES;
}

static void check_updates(fixture *f) {
    float *losses = dump_read(f->file, "losses", H5_FLOAT32, NULL);
    float *norms = dump_read(f->file, "norms", H5_FLOAT32, NULL);
    optim_settings s = {.lr = 1e-3,
                        .schedule = SCHEDULE_LINEAR,
                        .warmup = 5,
                        .weight_decay = 0.01,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-6,
                        .clip = 1};
    for (int64_t step = 0; step < STEPS; step++) {
        double loss = forward_backward(f, step % BATCHES, NULL);
        double norm = optim_gradient_norm(&f->m.table, f->topo.team_comm);
        char what[32];
        snprintf(what, sizeof what, "step %d: loss", (int)step);
        assert_close(what, loss, losses[step], 1e-4 * fmax(losses[step], 1e-3));
        snprintf(what, sizeof what, "step %d: norm", (int)step);
        assert_close(what, norm, norms[step], 1e-4 * fmax(norms[step], 1e-3));
        optim_adamw(&f->m.table, &s, optim_learning_rate(&s, step, STEPS), step + 1, optim_clip_factor(norm, s.clip));
    }
    check_values(f->file, "updated", "bert.", &f->m.table);
    memory_free(losses);
    memory_free(norms);
}

static void check(variant v) {
    fixture f;
    open_fixture(&f, v);
    float *loss = dump_read(f.file, "loss", H5_FLOAT32, NULL);
    float *logits = dump_read(f.file, "logits", H5_FLOAT32, NULL);
    float *ours = memory_allocate((size_t)(SEQUENCES * f.m.classes), sizeof *ours);
    double got = forward_backward(&f, 0, ours);
    assert_close("loss", got, *loss, 1e-5 * *loss);
    assert_norm_close("logits", ours, logits, SEQUENCES * f.m.classes, 1e-5);
    check_gradients(f.file, "bert.", &f.m.table, optim_gradient_norm(&f.m.table, f.topo.team_comm));
    check_updates(&f);
    memory_free(ours);
    memory_free(loss);
    memory_free(logits);
    close_fixture(&f);
}

// Every design and task; on more ranks also every exchange and both placements.
static void test_against_pytorch(void **state) {
    (void)state;
    bool one = comm_size(comm_world()) == 1;
    for (int i = 0; i < 16; i++) {
        variant v = {.design = i & 1 ? DESIGN_PAF : DESIGN_SAF,
                     .regression = i & 2,
                     .balance = i & 4,
                     .recompute = (i & 1) == (i >> 1 & 1),
                     .exchange = one     ? EXCHANGE_LOCAL
                                 : i & 8 ? EXCHANGE_SHARED
                                         : EXCHANGE_MPI};
        if (one && i >= 4) break;
        check(v);
    }
}

static void test_tiles(void **state) {
    (void)state;
    const exchange_kind exchanges[] = {EXCHANGE_SHARED, EXCHANGE_MPI};
    for (int i = 0; i < 4; i++)
        check((variant){.design = i & 1 ? DESIGN_PAF : DESIGN_SAF,
                        .balance = true, // to no effect
                        .recompute = i < 2,
                        .tiles = i & 2 ? TILES_IN_A_ROW : TILES,
                        .exchange = comm_size(comm_world()) == 1 ? EXCHANGE_LOCAL : exchanges[i / 2]});
}

// Moves one tensor by `distance` along its gradient, of this length.
static void move(const parameter *p, const float *direction, double length, double distance) {
    for (int64_t j = 0; j < parameter_count(p); j++) p->value[j] += (float)(distance * direction[j] / length);
}

// The slope of the loss along a tensor's gradient is the gradient's length.
static void check_slope(fixture *f, size_t row) {
    const double step = 0.02;
    parameter *p = &f->m.table.rows[row];
    forward_backward(f, 0, NULL);
    float *direction = memory_allocate((size_t)parameter_count(p), sizeof *direction);
    double square = 0;
    for (int64_t j = 0; j < parameter_count(p); j++) {
        direction[j] = p->gradient[j];
        if (p->writer) square += (double)direction[j] * direction[j];
    }
    comm_sum_doubles(f->topo.team_comm, &square, 1);
    double length = sqrt(square);
    if (!is_key_bias(p->name)) {
        move(p, direction, length, step);
        double up = forward_backward(f, 0, NULL);
        move(p, direction, length, -2 * step);
        double down = forward_backward(f, 0, NULL);
        move(p, direction, length, step);
        assert_close(p->name, (up - down) / (2 * step), length, 0.02 * fmax(length, 1e-3));
    }
    memory_free(direction);
}

static void test_dropout(void **state) {
    (void)state;
    for (int design = DESIGN_SAF; design <= DESIGN_PAF; design++) {
        fixture f;
        open_fixture(&f, (variant){.design = design, .balance = true, .exchange = EXCHANGE_AUTO});
        f.m.config.hidden_dropout = f.m.config.attention_dropout = f.m.config.classifier_dropout = 0.3;
        for (size_t i = 0; i < f.m.table.n; i++) check_slope(&f, i);
        close_fixture(&f);
    }
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    test_rank = comm_rank(comm_world());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_pytorch), cmocka_unit_test(test_tiles),
                                       cmocka_unit_test(test_dropout)};
    int failed = cmocka_run_group_tests_name("model against PyTorch", tests, NULL, NULL);
    comm_finish();
    return failed;
}
