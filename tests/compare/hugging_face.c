// What paf computes with a checkpoint, as a safetensors file, for tests/compare/hugging_face.py:
//
//     launch/mpi RANKS hugging_face CHECKPOINT SEQUENCES OUT TEAM STEPS [--train.lr=...]
//
// SEQUENCES has a line of numbers a sequence: its label, where its tokens of type 1 begin, and its tokens. OUT gets
// `hidden` [T, H], and by head `logits`, `loss`, and under `gradient.NAME` the gradients of the mean loss; then all
// sequences are learnt from STEPS times, with the optimizer's options, and `losses` [STEPS] and `trained.NAME` say how.
// Logits over the vocabulary come from one rank alone. Without a head it is the hidden states and nothing else.
#include "model/internal.h"
#include "train/train.h"

#include <string.h>

typedef struct {
    micro_batch mb;
    masked_tokens all; // every token guesses itself
    int32_t *labels;
} input;

typedef struct {
    safetensors_tensor tensors[4096];
    float *data[4096];
    size_t n;
} output;

typedef struct {
    checkpoint k;
    model_config config;
    bool masked;     // has a masked-LM head
    int64_t classes; // of its classifier; 0: none
    topology topo;
    placement place;
    model m;
    input in;
    float *logits; // [sequences, classes]
} subject;

static void must(bool good, const error *err) {
    if (!good) FATAL("%s", err->text);
}

static void read_input(input *in, const char *path) {
    error err = {0};
    size_t size, at = 0, length;
    char *text = text_read(path, &size, &err);
    must(text, &err);
    in->mb = micro_batch_create((int64_t)size, (int64_t)size);
    in->all = masked_tokens_create((int64_t)size);
    in->labels = memory_allocate(size, sizeof *in->labels);
    const char *line;
    micro_batch *mb = &in->mb;
    while (text_next_line(text, size, &at, &line, &length)) {
        char *next;
        in->labels[mb->sequences] = (int32_t)strtol(line, &next, 10);
        int64_t second = strtol(next, &next, 10), t = 0;
        for (; next < line + length; t++, mb->tokens++) {
            mb->ids[mb->tokens] = in->all.labels[mb->tokens] = (int32_t)strtol(next, &next, 10);
            mb->positions[mb->tokens] = (int32_t)t;
            mb->types[mb->tokens] = t >= second;
            mb->numbers[mb->tokens] = mb->tokens;
            in->all.rows[mb->tokens] = (int32_t)mb->tokens;
        }
        mb->longest = t > mb->longest ? t : mb->longest;
        mb->starts[++mb->sequences] = (int32_t)mb->tokens;
    }
    in->all.n = mb->tokens;
    memory_free(text);
}

// ---- the file ------------------------------------------------------------------------------------------------------

// Adds a tensor, of zeros yet.
static float *put_empty(output *out, const char *name, int dimensions, int64_t rows, int64_t columns) {
    REQUIRE(out->n < sizeof out->tensors / sizeof *out->tensors);
    out->tensors[out->n] =
        (safetensors_tensor){.name = memory_string(name), .dimensions = dimensions, .shape = {rows, columns}};
    out->data[out->n] = memory_allocate((size_t)(rows * columns), sizeof *out->data[0]);
    return out->data[out->n++];
}

static void put(output *out, const char *name, const float *data, int64_t rows, int64_t columns) {
    memcpy(put_empty(out, name, 2, rows, columns), data, (size_t)(rows * columns) * sizeof *data);
}

// The whole of a tensor of which data is this rank's part. Collective over the team.
static void put_whole(output *out, const char *kind, const parameter *p, const float *data, comm *team) {
    char *name = memory_format("%s.%s", kind, p->name);
    float *whole = put_empty(out, name, p->dimensions, p->shape[0], p->shape[1]);
    for (int64_t r = 0; p->writer && r < p->size[0]; r++)
        memcpy(whole + (p->offset[0] + r) * p->shape[1] + p->offset[1], data + r * p->size[1],
               (size_t)p->size[1] * sizeof *data);
    comm_sum_floats(team, whole, p->shape[0] * p->shape[1]);
    memory_free(name);
}

static void write_output(const output *out, const char *path) {
    error err = {0};
    safetensors_writer *w = safetensors_create(path, out->tensors, out->n, &err);
    must(w, &err);
    for (size_t i = 0; i < out->n; i++) {
        const safetensors_tensor *t = &out->tensors[i];
        must(safetensors_write(w, out->data[i], t->shape[0] * (t->dimensions == 2 ? t->shape[1] : 1), &err), &err);
    }
    must(safetensors_finish(w, true, &err), &err);
}

static void destroy_output(output *out) {
    for (size_t i = 0; i < out->n; i++) {
        memory_free(out->tensors[i].name);
        memory_free(out->data[i]);
    }
}

// ---- the model -----------------------------------------------------------------------------------------------------

static bool any(const char *name, void *context) {
    (void)name, (void)context;
    return true;
}

// Config, without dropout, and heads.
static void read_checkpoint(subject *s, const char *path) {
    error err = {0};
    size_t size;
    must(checkpoint_open(&s->k, comm_world(), path, CHECKPOINT_LATEST, &err), &err);
    char *text = checkpoint_read_file(&s->k, "config.json", &size, &err);
    must(text, &err);
    json_t *json = json_parse(text, size, "config.json", &err), *tensors = json_object_get(s->k.manifest, "tensors");
    must(json && model_config_from_json(&s->config, json, DESIGN_AUTO, "config.json", &err), &err);
    s->config.hidden_dropout = s->config.attention_dropout = s->config.classifier_dropout = 0;
    const json_t *classifier = json_object_get(tensors, "classifier.bias");
    if (!classifier) classifier = json_object_get(tensors, "classifier.out_proj.bias");
    s->classes = json_integer_value(json_array_get(json_object_get(classifier, "shape"), 0));
    s->masked = json_object_get(tensors, "cls.predictions.bias") || json_object_get(tensors, "lm_head.bias");
    json_decref(json);
    memory_free(text);
}

static void make_model(subject *s, const char *team) {
    error err = {0};
    const model_config *c = &s->config;
    parallel_settings settings = {.replicas = 1, .stages = 1, .balance = true};
    snprintf(settings.team, sizeof settings.team, "%s", team);
    double attention = model_attention_work(c, 20), ffn = model_ffn_work(c);
    must(topology_create(&s->topo, &settings, attention, ffn, c->heads, &err), &err);
    placement_request request = model_placement_request(c, &s->topo, true, 20);
    must(placement_create(&s->place, &request, &err), &err);
    model_request wanted = {.head = s->masked ? HEAD_MASKED_LM : HEAD_CLASSIFIER,
                            .classes = s->classes ? s->classes : 1,
                            .max_tokens = s->in.mb.tokens,
                            .max_sequences = s->in.mb.sequences,
                            .longest = s->in.mb.longest,
                            .max_masked = s->in.mb.tokens,
                            .training = true,
                            .exchange = EXCHANGE_AUTO};
    bool headless = !s->masked && !s->classes;
    must(model_create(&s->m, c, &wanted, &s->topo, &s->place, &err), &err);
    must(checkpoint_load(&s->k, comm_world(), &s->m.table, false, headless ? any : NULL, NULL, &err), &err);
    s->logits = memory_allocate((size_t)(s->in.mb.sequences * wanted.classes), sizeof *s->logits);
}

static const model_pass pass = {.train = true};

// Sets s->logits and m->dlogits; returns the mean loss. The same on every rank.
static double classify(subject *s) {
    model *m = &s->m;
    int64_t all = s->in.mb.sequences * m->classes;
    double loss = 0;
    float scale = 1 / (float)s->in.mb.sequences;
    memset(s->logits, 0, (size_t)all * sizeof *s->logits);
    model_forward(m, &s->in.mb, pass);
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t sequence = m->head_sequences[i];
        const int32_t *label = &s->in.labels[sequence];
        const float *row = m->logits + i * m->classes, target = (float)*label;
        float *d = m->dlogits + i * m->classes;
        memcpy(s->logits + sequence * m->classes, row, (size_t)m->classes * sizeof *row);
        loss += m->classes == 1 ? squared_error(d, row, &target, 1, scale)
                                : cross_entropy(d, row, label, 1, m->classes, scale);
    }
    comm_sum_doubles(s->topo.team_comm, &loss, 1);
    comm_sum_floats(s->topo.team_comm, s->logits, all);
    return loss * scale;
}

static double forward(subject *s) {
    int64_t correct;
    if (!s->masked) return classify(s);
    return model_masked_forward(&s->m, &s->in.mb, &s->in.all, pass, &correct) / (double)s->in.all.n;
}

static void backward(subject *s) {
    if (s->masked)
        model_masked_backward(&s->m, &s->in.mb, &s->in.all, pass, 1 / (float)s->in.all.n);
    else
        model_backward(&s->m, &s->in.mb, pass);
}

// ---- what is compared ----------------------------------------------------------------------------------------------

static void compute(subject *s, output *out) {
    model *m = &s->m;
    train_step_begin(m);
    float loss = (float)forward(s);
    put(out, "hidden", exchange_slot(m->ex, slot_of_input(m, s->config.layers)), s->in.mb.tokens, s->config.hidden);
    if (s->classes) put(out, "logits", s->logits, s->in.mb.sequences, s->classes);
    if (s->masked && comm_size(s->topo.team_comm) == 1)
        put(out, "logits", m->masked.logits, s->in.all.n, s->config.vocabulary);
    if (!s->masked && !s->classes) return;
    put_empty(out, "loss", 1, 1, 1)[0] = loss;
    backward(s);
    model_reduce_gradients(m, &s->topo);
    for (size_t i = 0; i < m->table.n; i++)
        put_whole(out, "gradient", &m->table.rows[i], m->table.rows[i].gradient, s->topo.team_comm);
}

static void train(subject *s, output *out, const optim_settings *optim, int64_t steps) {
    model *m = &s->m;
    float *losses = put_empty(out, "losses", 1, steps, 1);
    for (int64_t step = 0; step < steps; step++) {
        train_step_begin(m);
        losses[step] = (float)forward(s);
        backward(s);
        train_step_end(m, &s->topo, optim, optim_learning_rate(optim, step, steps), step + 1, 1);
    }
    for (size_t i = 0; i < m->table.n; i++)
        put_whole(out, "trained", &m->table.rows[i], m->table.rows[i].value, s->topo.team_comm);
}

int main(int argc, char **argv) {
    error err = {0};
    optim_settings optim;
    option_table table = {optim_options, &optim};
    comm_start(&argc, &argv);
    option_set_defaults(&table, 1);
    must(option_read_arguments(&table, 1, &argc, argv, &err), &err);
    if (argc != 6) FATAL("usage: hugging_face CHECKPOINT SEQUENCES OUT TEAM STEPS [--train.lr=...]");
    static subject s;
    static output out;
    read_checkpoint(&s, argv[1]);
    read_input(&s.in, argv[2]);
    make_model(&s, argv[4]);
    compute(&s, &out);
    if (s.masked || s.classes) train(&s, &out, &optim, strtoll(argv[5], NULL, 10));
    if (comm_rank(comm_world()) == 0) write_output(&out, argv[3]);
    destroy_output(&out);
    comm_finish();
    return 0;
}
