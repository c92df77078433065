// SAF's weights folded into PAF's: against a naive computation of what the folding promises.
// ranks: 1 2 4
#include "dump.h"
#include "model/internal.h"

enum { TOKENS = 19, SEQUENCES = 3 };

typedef struct {
    model_config config;
    topology topo;
    placement place;
    model m;
    parameter_table whole; // SAF's encoder, all of it on every rank
    micro_batch batch;
} fixture;

// ---- SAF's weights

static void add(parameter_table *table, const char *name, int64_t out, int64_t in) {
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    parameter_add(table, full, in ? 2 : 1, out, in ? in : 1, SPLIT_NONE, 0, 0, false, false,
                  in ? INITIAL_NORMAL : INITIAL_ONE);
    snprintf(full, sizeof full, "%s.bias", name);
    parameter_add(table, full, 1, out, 1, SPLIT_NONE, 0, 0, false, false, INITIAL_ZERO);
}

static parameter *find(const fixture *f, int64_t layer, const char *part) {
    char name[256];
    snprintf(name, sizeof name, "encoder.layer.%d.%s", (int)layer, part);
    return parameter_find(&f->whole, layer < 0 ? part : name);
}

static const float *values(const fixture *f, int64_t layer, const char *part) { return find(f, layer, part)->value; }

static void make_weights(fixture *f) {
    const model_config *c = &f->config;
    const struct {
        const char *part;
        int64_t out, in;
    } parts[] = {{"attention.self.query", c->hidden, c->hidden}, {"attention.self.key", c->hidden, c->hidden},
                 {"attention.self.value", c->hidden, c->hidden}, {"attention.output.dense", c->hidden, c->hidden},
                 {"attention.output.LayerNorm", c->hidden, 0},   {"intermediate.dense", c->intermediate, c->hidden},
                 {"output.dense", c->hidden, c->intermediate},   {"output.LayerNorm", c->hidden, 0}};
    add(&f->whole, "embeddings.word_embeddings", c->vocabulary, c->hidden);
    add(&f->whole, "embeddings.position_embeddings", c->positions, c->hidden);
    add(&f->whole, "embeddings.token_type_embeddings", c->types, c->hidden);
    add(&f->whole, "embeddings.LayerNorm", c->hidden, 0);
    for (int64_t l = 0; l < c->layers; l++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            char name[128];
            snprintf(name, sizeof name, "encoder.layer.%d.%s", (int)l, parts[i].part);
            add(&f->whole, name, parts[i].out, parts[i].in);
        }
    parameter_allocate(&f->whole, false, false);
    parameter_initialise(&f->whole, 1, 0.2);
    for (size_t i = 0; i < f->whole.n; i++) // gains and biases that are not all alike
        for (int64_t j = 0; f->whole.rows[i].dimensions == 1 && j < f->whole.rows[i].shape[0]; j++)
            f->whole.rows[i].value[j] += (float)(0.3 * sin((double)(7 * i + 1) * (double)(j + 1)));
}

// This rank's part of each, and other rows (the head's) left alone.
static void take_weights(const fixture *f, parameter_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        parameter *p = &table->rows[i];
        const parameter *from = parameter_find(&f->whole, p->name);
        for (int64_t r = 0; from && r < p->size[0]; r++)
            memcpy(p->value + r * p->size[1], from->value + (p->offset[0] + r) * from->shape[1] + p->offset[1],
                   (size_t)p->size[1] * sizeof(float));
    }
}

// ---- naive

static void naive_linear(const fixture *f, int64_t layer, const char *part, float *y, const float *x, int64_t in,
                         int64_t out) {
    char name[128];
    snprintf(name, sizeof name, "%s.weight", part);
    const float *weight = values(f, layer, name);
    snprintf(name, sizeof name, "%s.bias", part);
    const float *bias = values(f, layer, name);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t o = 0; o < out; o++) {
            double sum = bias[o];
            for (int64_t i = 0; i < in; i++) sum += (double)weight[o * in + i] * x[t * in + i];
            y[t * out + o] = (float)sum;
        }
}

static void naive_norm(const fixture *f, int64_t layer, const char *part, float *y, const float *x) {
    int64_t h = f->config.hidden;
    char name[128];
    snprintf(name, sizeof name, "%s.weight", part);
    const float *gain = values(f, layer, name);
    snprintf(name, sizeof name, "%s.bias", part);
    const float *shift = values(f, layer, name);
    for (int64_t t = 0; t < TOKENS; t++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < h; i++) mean += x[t * h + i] / (double)h;
        for (int64_t i = 0; i < h; i++) square += (x[t * h + i] - mean) * (x[t * h + i] - mean) / (double)h;
        for (int64_t i = 0; i < h; i++)
            y[t * h + i] = (float)((x[t * h + i] - mean) / sqrt(square + f->config.norm_epsilon) * gain[i] + shift[i]);
    }
}

static void naive_attention(const fixture *f, int64_t layer, float *y, const float *x) {
    static const char *const parts[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
    int64_t h = f->config.hidden, heads = f->config.heads, size = h / heads;
    float *row = memory_allocate((size_t)(TOKENS * h), sizeof *row), *out = memory_allocate((size_t)(TOKENS * h), 4);
    float *qkv = memory_allocate((size_t)(3 * TOKENS * h), sizeof *qkv), *lse = memory_allocate(TOKENS * 64, 4);
    for (int part = 0; part < 3; part++) {
        naive_linear(f, layer, parts[part], row, x, h, h);
        for (int64_t t = 0; t < TOKENS; t++)
            for (int64_t i = 0; i < h; i++)
                qkv[((part * heads + i / size) * TOKENS + t) * size + i % size] = row[t * h + i];
    }
    naive_attention_forward(out, lse, qkv, f->batch.starts, SEQUENCES, f->batch.numbers, heads, 0, size, (dropout){0});
    naive_linear(f, layer, "attention.output.dense", y, out, h, h);
    memory_free(row);
    memory_free(out);
    memory_free(qkv);
    memory_free(lse);
}

static void naive_ffn(const fixture *f, int64_t layer, float *y, const float *x) {
    int64_t n = f->config.intermediate;
    float *act = memory_allocate((size_t)(TOKENS * n), sizeof *act);
    naive_linear(f, layer, "intermediate.dense", act, x, f->config.hidden, n);
    for (int64_t i = 0; i < TOKENS * n; i++) act[i] = (float)(0.5 * act[i] * (1 + erf(act[i] / sqrt(2))));
    naive_linear(f, layer, "output.dense", y, act, n, f->config.hidden);
    memory_free(act);
}

// The deviation of what the LayerNorm below this layer puts out, over dimensions, for normalised values of variance 1.
static double naive_deviation(const fixture *f, int64_t layer) {
    const char *below = layer ? "output.LayerNorm" : "embeddings.LayerNorm";
    char name[128];
    snprintf(name, sizeof name, "%s.weight", below);
    const float *gain = values(f, layer - 1, name);
    snprintf(name, sizeof name, "%s.bias", below);
    const float *shift = values(f, layer - 1, name);
    double h = (double)f->config.hidden, mean = 0, variance = 0;
    for (int64_t i = 0; i < f->config.hidden; i++) mean += shift[i] / h;
    for (int64_t i = 0; i < f->config.hidden; i++)
        variance += ((double)gain[i] * gain[i] + (shift[i] - mean) * (shift[i] - mean)) / h;
    return sqrt(variance);
}

// x [TOKENS, H] after all layers: of SAF, or of what folding makes of it.
static void naive_encoder(const fixture *f, bool saf, float *x) {
    const int64_t h = f->config.hidden, n = TOKENS * h;
    const float *words = values(f, -1, "embeddings.word_embeddings.weight"),
                *positions = values(f, -1, "embeddings.position_embeddings.weight"),
                *types = values(f, -1, "embeddings.token_type_embeddings.weight");
    float *a = memory_allocate((size_t)n, sizeof *a), *u = memory_allocate((size_t)n, sizeof *u);
    for (int64_t i = 0; i < n; i++)
        x[i] = words[f->batch.ids[i / h] * h + i % h] + positions[f->batch.positions[i / h] * h + i % h] +
               types[f->batch.types[i / h] * h + i % h];
    naive_norm(f, -1, "embeddings.LayerNorm", x, x);
    for (int64_t l = 0; l < f->config.layers; l++) {
        const float *g = values(f, l, "attention.output.LayerNorm.weight"),
                    *b = values(f, l, "attention.output.LayerNorm.bias");
        double deviation = naive_deviation(f, l);
        naive_attention(f, l, a, x);
        for (int64_t i = 0; i < n; i++) a[i] += x[i];
        for (int64_t i = 0; i < n; i++) u[i] = (float)(g[i % h] / deviation * x[i] + b[i % h]); // what FFN sees
        for (int64_t i = 0; !saf && i < n; i++) a[i] = (float)(g[i % h] / deviation * a[i] + b[i % h]);
        if (saf) {
            naive_norm(f, l, "attention.output.LayerNorm", a, a);
            memcpy(u, a, (size_t)n * sizeof *u);
        }
        naive_ffn(f, l, x, u);
        for (int64_t i = 0; i < n; i++) x[i] += a[i];
        naive_norm(f, l, "output.LayerNorm", x, x);
    }
    memory_free(a);
    memory_free(u);
}

// ---- the model

static void make_batch(fixture *f) {
    static const int32_t starts[SEQUENCES + 1] = {0, 8, 9, TOKENS};
    f->batch = micro_batch_create(TOKENS, SEQUENCES);
    micro_batch *mb = &f->batch;
    mb->tokens = TOKENS;
    mb->sequences = SEQUENCES;
    mb->longest = TOKENS - 9;
    memcpy(mb->starts, starts, sizeof starts);
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t t = starts[s]; t < starts[s + 1]; t++) {
            mb->ids[t] = t * 31 % (int32_t)f->config.vocabulary;
            mb->positions[t] = t - starts[s];
            mb->types[t] = t % 2;
            mb->numbers[t] = t;
        }
}

static void open_fixture(fixture *f) {
    *f = (fixture){0};
    error err = {0};
    must(model_config_read(&f->config, "tests/reference/config.json", DESIGN_PAF, &err), &err);
    parallel_settings settings = {.team = "auto", .replicas = 1, .stages = 1};
    double attention = model_attention_work(&f->config, 12), ffn = model_ffn_work(&f->config);
    must(topology_create(&f->topo, &settings, attention, ffn, f->config.heads, &err), &err);
    placement_request q = model_placement_request(&f->config, &f->topo, true, 12);
    must(placement_create(&f->place, &q, &err), &err);
    model_request request = {
        .classes = 2, .max_tokens = TOKENS, .max_sequences = SEQUENCES, .longest = TOKENS, .exchange = EXCHANGE_AUTO};
    must(model_create(&f->m, &f->config, &request, &f->topo, &f->place, &err), &err);
    parameter_initialise(&f->m.table, 1, 0.02);
    make_batch(f);
    make_weights(f);
}

static void close_fixture(fixture *f) {
    micro_batch_destroy(&f->batch);
    parameter_destroy(&f->whole);
    model_destroy(&f->m);
    placement_destroy(&f->place);
    topology_destroy(&f->topo);
}

// Takes the weights, folds them, and returns the hidden states after all layers [TOKENS, H].
static const float *folded(fixture *f) {
    parameter_table norms;
    model_norms_create(&norms, &f->config);
    take_weights(f, &norms);
    take_weights(f, &f->m.table);
    model_fold_norms(&f->m.table, &norms, &f->config);
    parameter_destroy(&norms);
    model_forward(&f->m, &f->batch, (model_pass){.train = false});
    return exchange_slot(f->m.ex, slot_of_input(&f->m, f->config.layers));
}

static void check_against(fixture *f, bool saf) {
    int64_t n = TOKENS * f->config.hidden;
    float *wanted = memory_allocate((size_t)n, sizeof *wanted);
    naive_encoder(f, saf, wanted);
    assert_norm_close("hidden states", folded(f), wanted, n, 2e-6);
    memory_free(wanted);
}

static void test_promise(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    find(&f, 1, "attention.output.LayerNorm.weight")->value[3] *= -1;
    check_against(&f, false);
    close_fixture(&f);
}

static void fill(const fixture *f, int64_t layer, const char *part, float value) {
    parameter *p = find(f, layer, part);
    for (int64_t i = 0; i < parameter_count(p); i++) p->value[i] = value;
}

// Where attention adds nothing, and all tokens have the same deviation, nothing is lost.
static void test_nothing_lost(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    for (int64_t l = 0; l < f.config.layers; l++) {
        fill(&f, l, "attention.output.dense.weight", 0);
        fill(&f, l, "attention.output.dense.bias", 0);
        bool embedding = l == 0;
        fill(&f, l - 1, embedding ? "embeddings.LayerNorm.weight" : "output.LayerNorm.weight", 0.7f);
        fill(&f, l - 1, embedding ? "embeddings.LayerNorm.bias" : "output.LayerNorm.bias", 0);
    }
    check_against(&f, true);
    close_fixture(&f);
}

// Gains that vanish, some and all of a LayerNorm: query, key and value are divided by them.
static void test_vanishing_gains(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    find(&f, 0, "attention.output.LayerNorm.weight")->value[5] = 0;
    fill(&f, 2, "attention.output.LayerNorm.weight", 0);
    const float *hidden = folded(&f);
    for (int64_t i = 0; i < TOKENS * f.config.hidden; i++) assert_true(isfinite(hidden[i]));
    close_fixture(&f);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    test_rank = comm_rank(comm_world());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_promise), cmocka_unit_test(test_nothing_lost),
                                       cmocka_unit_test(test_vanishing_gains)};
    int failed = cmocka_run_group_tests_name("SAF made PAF", tests, NULL, NULL);
    comm_finish();
    return failed;
}
