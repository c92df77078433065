#include "train/train.h"

#include <stddef.h>

#define TRAIN(key, type, field, ...)                                                                                   \
    { "train." key, type, offsetof(train_settings, field), __VA_ARGS__ }
static const option train_options[] = {
    TRAIN("epochs", OPTION_DOUBLE, epochs, "3", .high = 1e6, .help = "passes over what is trained on"),
    TRAIN("max_steps", OPTION_INT, max_steps, "0", .high = 1e12, .help = "steps; 0: as many as train.epochs makes"),
    TRAIN("batch", OPTION_INT, batch, "32", .low = 1, .high = 1e9, .help = "examples or sequences a step"),
    TRAIN("micro_tokens", OPTION_INT, micro_tokens, "4096", .low = 16, .high = 1 << 24,
          .help = "tokens that pass through the layers together, at most"),
    TRAIN("eval_every", OPTION_INT, eval_every, "0", .high = 1e12, .help = "steps between evaluations; 0: every epoch"),
    TRAIN("recompute", OPTION_CHOICE, recompute, "off", .words = model_recompute_words,
          .help = "layer: compute layers again in the backward pass instead of keeping what they hold"),
    TRAIN("seed", OPTION_UINT64, seed, "1", .help = "of weights, order, masks and dropout"),
    {0},
};

#define DATA(key, type, field, ...)                                                                                    \
    { "data." key, type, offsetof(pretrain_data_settings, field), __VA_ARGS__ }
static const option pretrain_data_options[] = {
    DATA("tokens", OPTION_STRING, tokens, "", .help = "a folder of token shards, as paf tokenize makes them"),
    DATA("vocab", OPTION_STRING, vocab, "",
         .help =
             "the shards' vocabulary: a vocab.txt, or a folder with vocab.json and merges.txt; model.init brings one"),
    DATA("lower_case", OPTION_BOOL, lower_case, "on", .help = "with a vocab.txt: as the shards were made"),
    DATA("length", OPTION_INT, length, "128", .low = 8, .high = 1 << 20,
         .help = "tokens of a sequence, special ones included"),
    DATA("heldout", OPTION_INT, heldout, "1024", .high = 1e12,
         .help = "held-out sequences of an evaluation, always the same ones; 0: all"),
    DATA("mask", OPTION_DOUBLE, mask, "0.15", .low = 0.001, .high = 0.9,
         .help = "the share of tokens that are to be guessed"),
    DATA("whole_words", OPTION_BOOL, whole_words, "off", .help = "mask whole words instead of pieces"),
    DATA("verify", OPTION_BOOL, verify, "on", .help = "hold the shards against their checksums first"),
    {0},
};

#define BATCH(key, type, field, ...)                                                                                   \
    { "train." key, type, offsetof(pretrain_batch_settings, field), __VA_ARGS__ }
static const option pretrain_batch_options[] = {
    BATCH("batch_tokens", OPTION_INT, tokens, "0", .high = 1e12,
          .help =
              "a step's batch in tokens instead, full sequences of data.length; 0: train.batch says it in sequences"),
    BATCH(
        "accumulate", OPTION_INT, accumulate, "0", .high = 1e9,
        .help =
            "cut a step's batch into so many parts that pass one after the other, replicas a share of them each; 0: as "
            "train.micro_tokens says"),
    {0},
};

#define RUN(key, type, field, ...)                                                                                     \
    { "run." key, type, offsetof(run_settings, field), __VA_ARGS__ }
static const option run_options[] = {
    RUN("out", OPTION_STRING, out, "",
        .help = "run folder (empty: checkpoints/TASK-DESIGN, or checkpoints/pretrain-DESIGN)"),
    RUN("resume", OPTION_CHOICE, resume, "off", .words = OPTION_WORDS("off", "auto"),
        .help = "auto: go on from the run folder's newest checkpoint"),
    RUN("save", OPTION_BOOL, save, "on", .help = "off: no checkpoints, nothing can be gone on with; for measuring"),
    RUN("checkpoint_every", OPTION_INT, checkpoint_every, "0", .high = 1e12,
        .help = "steps between checkpoints, besides those at evaluations"),
    RUN("keep", OPTION_INT, keep, "1", .low = 1, .high = 1000000,
        .help = "newest checkpoints that are kept, besides the best"),
    RUN("log_every", OPTION_DOUBLE, log_every, "10", .high = 86400, .help = "seconds between lines in a log file"),
    RUN("trace", OPTION_STRING, trace, "",
        .help = "write there, as Chrome trace JSON, what each rank did in a few steps; launch/plot-trace draws it"),
    RUN("trace_from", OPTION_INT, trace_from, "3", .low = 1, .high = 1e12, .help = "the first step that is traced"),
    RUN("trace_steps", OPTION_INT, trace_steps, "2", .low = 1, .high = 1000, .help = "how many steps are traced"),
    {0},
};

#define EVALUATE(key, type, field, ...)                                                                                \
    { key, type, offsetof(evaluate_settings, field), __VA_ARGS__ }
static const option evaluate_options[] = {
    EVALUATE("data.dir", OPTION_STRING, data_dir, "", .help = "GLUE's folder, or the task's own"),
    EVALUATE("evaluate.split", OPTION_STRING, split, "",
             .help = "dev (evaluate) or test (predict), unless said; or any other split of the task"),
    EVALUATE("evaluate.checkpoint", OPTION_CHOICE, which, "best", .words = checkpoint_words,
             .help = "which one of a run folder"),
    EVALUATE("evaluate.task", OPTION_STRING, task, "",
             .help = "another task of the same labels, as ax is for a model of mnli; unless said, the model's own"),
    EVALUATE("evaluate.out", OPTION_STRING, out, "",
             .help = "evaluate: also write the result there as JSON; predict: the submission file"),
    EVALUATE("train.micro_tokens", OPTION_INT, micro_tokens, "4096", .low = 16, .high = 1 << 24,
             .help = "tokens that pass through the layers together, at most"),
    {0},
};

void finetune_tables(option_table tables[FINETUNE_TABLES], finetune_settings *s) {
    tables[0] = (option_table){data_options, &s->data};
    tables[1] = (option_table){model_options, &s->model};
    tables[2] = (option_table){train_options, &s->train};
    tables[3] = (option_table){optim_options, &s->optim};
    tables[4] = (option_table){parallel_options, &s->parallel};
    tables[5] = (option_table){run_options, &s->run};
}

void pretrain_tables(option_table tables[PRETRAIN_TABLES], pretrain_settings *s) {
    tables[0] = (option_table){pretrain_data_options, &s->data};
    tables[1] = (option_table){model_options, &s->model};
    tables[2] = (option_table){train_options, &s->train};
    tables[3] = (option_table){pretrain_batch_options, &s->batch};
    tables[4] = (option_table){optim_options, &s->optim};
    tables[5] = (option_table){parallel_options, &s->parallel};
    tables[6] = (option_table){run_options, &s->run};
}

void evaluate_tables(option_table tables[EVALUATE_TABLES], evaluate_settings *s) {
    tables[0] = (option_table){evaluate_options, s};
    tables[1] = (option_table){parallel_options, &s->parallel};
}
