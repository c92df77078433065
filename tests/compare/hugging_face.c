// What paf computes with a checkpoint, as a safetensors file, for tests/compare/hugging_face.py:
//
//     launch/mpi RANKS hugging_face CHECKPOINT SEQUENCES OUT TEAM
//
// SEQUENCES has a line of numbers a sequence: its label, where its tokens of type 1 begin, and its tokens. OUT gets
// `hidden` [T, H], and by head `logits`, and `loss`; from one rank also the logits over the vocabulary and, under
// `gradient.NAME`, the gradients of the mean loss. Without a head it is the hidden states alone.
#include "checkpoint/checkpoint.h"
#include "data/data.h"
#include "model/internal.h"

#include <string.h>

typedef struct {
    micro_batch mb;
    masked_tokens all; // every token guesses itself
    int32_t *labels;
} input;

typedef struct {
    safetensors_tensor tensors[4096];
    const float *data[4096];
    size_t n;
} output;

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

static void put(output *out, const char *name, const float *data, int dimensions, int64_t rows, int64_t columns) {
    out->tensors[out->n] =
        (safetensors_tensor){.name = memory_string(name), .dimensions = dimensions, .shape = {rows, columns}};
    out->data[out->n++] = data;
}

static void write_output(const output *out, const char *path) {
    error err = {0};
    safetensors_writer *w = safetensors_create(path, out->tensors, out->n, &err);
    must(w, &err);
    for (size_t i = 0; i < out->n; i++) {
        const safetensors_tensor *t = &out->tensors[i];
        must(safetensors_write(w, out->data[i], t->shape[0] * (t->dimensions == 2 ? t->shape[1] : 1), &err), &err);
        memory_free(t->name);
    }
    must(safetensors_finish(w, true, &err), &err);
}

// Logits [sequences, classes] on every rank; returns this rank's part of the loss and leaves m->dlogits.
static double classify(model *m, const input *in, float *logits) {
    double loss = 0;
    float scale = 1 / (float)in->mb.sequences;
    model_forward(m, &in->mb, (model_pass){.train = true});
    for (int64_t i = 0; i < m->head_n; i++) {
        int64_t s = m->head_sequences[i];
        const float *row = m->logits + i * m->classes, target = (float)in->labels[s];
        float *d = m->dlogits + i * m->classes;
        memcpy(logits + s * m->classes, row, (size_t)m->classes * sizeof *row);
        loss += m->classes == 1 ? squared_error(d, row, &target, 1, scale)
                                : cross_entropy(d, row, &in->labels[s], 1, m->classes, scale);
    }
    return loss * scale;
}

static bool any(const char *name, void *context) {
    (void)name, (void)context;
    return true;
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    comm *world = comm_world();
    if (argc != 5) FATAL("usage: hugging_face CHECKPOINT SEQUENCES OUT TEAM");
    error err = {0};
    checkpoint k;
    must(checkpoint_open(&k, world, argv[1], "latest", &err), &err);
    size_t size;
    char *text = checkpoint_read_file(&k, "config.json", &size, &err);
    json_t *json = json_parse(text, size, "config.json", &err), *tensors = json_object_get(k.manifest, "tensors");
    model_config c;
    must(model_config_from_json(&c, json, "auto", "config.json", &err), &err);
    c.hidden_dropout = c.attention_dropout = c.classifier_dropout = 0; // as in transformers' eval()
    const json_t *classifier = json_object_get(tensors, "classifier.bias");
    if (!classifier) classifier = json_object_get(tensors, "classifier.out_proj.bias");
    bool masked = json_object_get(tensors, "cls.predictions.bias") || json_object_get(tensors, "lm_head.bias");
    int64_t classes = classifier ? json_integer_value(json_array_get(json_object_get(classifier, "shape"), 0)) : 1;
    input in = {0};
    read_input(&in, argv[2]);
    topology topo;
    placement place;
    parallel_settings settings = {.replicas = 1, .stages = 1, .balance = true};
    snprintf(settings.team, sizeof settings.team, "%s", argv[4]);
    must(topology_create(&topo, &settings, model_attention_work(&c, 20), model_ffn_work(&c), c.heads, &err), &err);
    placement_request request = model_placement_request(&c, &topo, true, 20);
    must(placement_create(&place, &request, &err), &err);
    model_request wanted = {.head = masked ? HEAD_MASKED_LM : HEAD_CLASSIFIER,
                            .classes = classes,
                            .max_tokens = in.mb.tokens,
                            .max_sequences = in.mb.sequences,
                            .longest = in.mb.longest,
                            .max_masked = in.mb.tokens,
                            .training = true,
                            .exchange = "auto"};
    model m;
    must(model_create(&m, &c, &wanted, &topo, &place, &err), &err);
    must(checkpoint_load(&k, world, &m.table, false, masked || classifier ? NULL : any, NULL, &err), &err);

    static output out;
    bool alone = comm_size(world) == 1;
    double loss;
    float *logits = memory_allocate((size_t)(in.mb.sequences * classes), sizeof *logits), loss_written;
    if (masked) {
        int64_t correct;
        loss = model_masked_forward(&m, &in.mb, &in.all, (model_pass){.train = true}, &correct) / (double)in.all.n;
    } else {
        loss = classify(&m, &in, logits);
        comm_sum_doubles(topo.team_comm, &loss, 1);
        comm_sum_floats(topo.team_comm, logits, in.mb.sequences * classes);
    }
    loss_written = (float)loss;
    size_t hidden_bytes = (size_t)(in.mb.tokens * c.hidden) * sizeof(float);
    float *hidden = memory_allocate(1, hidden_bytes), *vocabulary = NULL;
    memcpy(hidden, exchange_slot(m.ex, slot_of_input(&m, c.layers)), hidden_bytes);
    put(&out, "hidden", hidden, 2, in.mb.tokens, c.hidden);
    if (classifier) put(&out, "logits", logits, 2, in.mb.sequences, classes);
    if (masked && alone) {
        size_t bytes = (size_t)(in.all.n * c.vocabulary) * sizeof(float);
        vocabulary = memory_allocate(1, bytes); // the backward pass overwrites it
        memcpy(vocabulary, m.masked.logits, bytes);
        put(&out, "logits", vocabulary, 2, in.all.n, c.vocabulary);
    }
    if (masked || classifier) put(&out, "loss", &loss_written, 1, 1, 1);
    if (alone && (masked || classifier)) {
        if (masked)
            model_masked_backward(&m, &in.mb, &in.all, (model_pass){.train = true}, 1 / (float)in.all.n);
        else
            model_backward(&m, &in.mb, (model_pass){.train = true});
        for (size_t i = 0; i < m.table.n; i++) {
            const parameter *p = &m.table.rows[i];
            char *name = memory_format("gradient.%s", p->name);
            put(&out, name, p->gradient, p->dimensions, p->shape[0], p->shape[1]);
            memory_free(name);
        }
    }
    if (comm_rank(world) == 0) write_output(&out, argv[3]);
    comm_finish();
    return 0;
}
