// The batches that paf learns from, for tests/compare/pytorch_bench.py, on one rank:
//
//     pytorch_bench finetune TASK DATA VOCAB SEED STEPS BATCH LENGTH
//     pytorch_bench pretrain TOKENS VOCAB SEED STEPS BATCH LENGTH
//
// A line of JSON a step: "ids", "types" and "labels", each a list of sequences. Of fine-tuning, labels are one number a
// sequence; of pretraining, one a token: the piece that was masked, or -100 where nothing is to be guessed.
#include "data/data.h"

#include <string.h>

static void must(bool good, const error *err) {
    if (!good) FATAL("%s", err->text);
}

static json_t *numbers(const int32_t *values, int64_t n) {
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_integer(values[i]));
    return list;
}

// values [tokens], cut into sequences.
static json_t *by_sequence(const micro_batch *b, const int32_t *values) {
    json_t *list = json_array();
    for (int64_t s = 0; s < b->sequences; s++)
        json_array_append_new(list, numbers(values + b->starts[s], b->starts[s + 1] - b->starts[s]));
    return list;
}

// Takes labels' reference.
static void print_step(const micro_batch *b, json_t *labels) {
    json_t *step = json_pack("{s:o, s:o, s:o}", "ids", by_sequence(b, b->ids), "types", by_sequence(b, b->types),
                             "labels", labels);
    REQUIRE(step);
    json_dumpf(step, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(step);
}

typedef struct {
    uint64_t seed;
    int64_t steps, batch, length;
} order;

static order read_order(char **arguments) {
    return (order){strtoull(arguments[0], NULL, 10), strtoll(arguments[1], NULL, 10), strtoll(arguments[2], NULL, 10),
                   strtoll(arguments[3], NULL, 10)};
}

static void finetune(const char *name, const char *folder, const tokenizer *tok, order o) {
    error err = {0};
    task t;
    dataset d;
    must(task_open(&t, name, &err) && dataset_load(&d, &t, folder, "train", tok, o.length, &err), &err);
    batch samples = {0};
    micro_batch packed = micro_batch_create(o.batch * o.length, o.batch);
    for (int64_t step = 0; step < o.steps; step++) {
        batch_sample(&samples, &d, NULL, o.seed, step, o.batch); // --data.order=random
        micro_batch_pack(&packed, &d, &samples, 0, samples.n);
        json_t *labels = json_array();
        for (int64_t s = 0; s < packed.sequences; s++)
            json_array_append_new(labels, json_integer(d.labels[packed.examples[s]]));
        print_step(&packed, labels);
    }
    micro_batch_destroy(&packed);
    batch_destroy(&samples);
    dataset_destroy(&d);
    task_destroy(&t);
}

static json_t *masked_labels(const micro_batch *b, const masked_tokens *masked, int32_t *scratch) {
    for (int64_t i = 0; i < b->tokens; i++) scratch[i] = -100;
    for (int64_t i = 0; i < masked->n; i++) scratch[masked->rows[i]] = masked->labels[i];
    return by_sequence(b, scratch);
}

static void pretrain(const char *folder, const tokenizer *tok, order o) {
    error err = {0};
    shards source;
    sequences all;
    masking m;
    char *path = memory_format("%s/%s", folder, shards_split_names[SHARDS_TRAIN]);
    must(shards_open(&source, path, tok, &err) && sequences_create(&all, &source, tok, o.length, &err) &&
             masking_create(&m, tok, 0.15, false, &err),
         &err);
    batch samples = {0};
    micro_batch packed = micro_batch_create(o.batch * o.length, o.batch);
    masked_tokens masked = masked_tokens_create(masking_capacity(&m, o.batch * o.length, o.batch));
    int32_t *scratch = memory_allocate((size_t)(o.batch * o.length), sizeof *scratch);
    for (int64_t step = 0, next; step < o.steps; step++) {
        sequences_sample(&samples, &all, o.seed, step, o.batch);
        must(sequences_pack(&packed, &all, &samples, 0, samples.n, &next, &err), &err);
        masking_apply(&m, &masked, &packed, random_stream_create(o.seed, RANDOM_MASKING, (uint64_t)step, 0));
        print_step(&packed, masked_labels(&packed, &masked, scratch));
    }
    memory_free(scratch);
    masked_tokens_destroy(&masked);
    micro_batch_destroy(&packed);
    batch_destroy(&samples);
    masking_destroy(&m);
    sequences_destroy(&all);
    shards_close(&source);
    memory_free(path);
}

int main(int argc, char **argv) {
    error err = {0};
    bool classes = argc == 9 && !strcmp(argv[1], "finetune");
    if (!classes && !(argc == 8 && !strcmp(argv[1], "pretrain")))
        FATAL("usage: pytorch_bench finetune TASK DATA | pretrain TOKENS, then VOCAB SEED STEPS BATCH LENGTH");
    char **rest = argv + argc - 5;
    tokenizer *tok = tokenizer_load(rest[0], true, &err);
    must(tok, &err);
    if (classes)
        finetune(argv[2], argv[3], tok, read_order(rest + 1));
    else
        pretrain(argv[2], tok, read_order(rest + 1));
    tokenizer_destroy(tok);
    return 0;
}
