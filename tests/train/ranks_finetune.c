// A run of the driver, begun, stopped and gone on with: what its folder says afterwards, and what is refused.
// ranks: 1 2

// A check that fails on one rank ends all (REQUIRE), so that the others do not wait for it.
#include "../support.h"

#include "glue/glue.h"
#include "storage/storage.h"

#include <signal.h>

static comm *world;
static char *folder; // holds task, texts, vocabulary and models; the same on every rank

// ---- a toy task ----------------------------------------------------------------------------------------------------

enum { WORDS = 12, SPECIAL = 5, EXAMPLES = 24 };

static void write_text(const char *name, const char *text) {
    error err = {0};
    char *path = memory_format("%s/%s", folder, name);
    if (!file_write_atomic(path, text, strlen(text), &err)) FATAL("%s", err.text);
    memory_free(path);
}

// Pairs of words; the label says whether the first comes before the second.
static void write_examples(const char *name) {
    char text[EXAMPLES * 32] = "";
    for (int i = 0; i < EXAMPLES; i++) {
        int a = i * 5 % WORDS, b = i * 7 % WORDS;
        sprintf(text + strlen(text), "w%c w%c\tw%c\t%d\n", 'a' + a, 'a' + b, 'a' + b, a < b);
    }
    write_text(name, text);
}

static void write_config(const char *name, int pieces, int types) {
    char *text = memory_format("{\"vocab_size\": %d, \"hidden_size\": 16, \"num_hidden_layers\": 1, "
                               "\"num_attention_heads\": 2, \"intermediate_size\": 32, "
                               "\"max_position_embeddings\": 16, \"type_vocab_size\": %d}",
                               pieces, types);
    write_text(name, text);
    memory_free(text);
}

static void write_vocabulary(const char *name, bool backwards) {
    char text[512] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (int i = 0; i < WORDS; i++) sprintf(text + strlen(text), "w%c\n", 'a' + (backwards ? WORDS - 1 - i : i));
    write_text(name, text);
}

// The same words as byte-level BPE: a letter behind w, and in front of it "w" or " w".
static void write_bpe(const char *name, bool backwards) {
    char *path = memory_format("%s/%s", folder, name), *file;
    char pieces[1024] = "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"w\": 4, \"\u0120w\": 5, \"\u0120\": 6";
    error err = {0};
    if (!file_make_folders(path, &err)) FATAL("%s", err.text);
    for (int i = 0; i < WORDS; i++)
        sprintf(pieces + strlen(pieces), ", \"%c\": %d", 'a' + (backwards ? WORDS - 1 - i : i), 7 + i);
    strcat(pieces, "}");
    file = memory_format("%s/vocab.json", name);
    write_text(file, pieces);
    memory_free(file);
    file = memory_format("%s/merges.txt", name);
    write_text(file, "#version: 0.2\n\u0120 w\n");
    memory_free(file);
    memory_free(path);
}

static void write_range(const char *name, int high) {
    char *text =
        memory_format("[task]\nmetric = correlation\nlow = 0\nhigh = %d\n[columns]\ntext = 1, 2\nlabel = 3\n", high);
    write_text(name, text);
    memory_free(text);
}

static void write_toy(void) {
    write_text("toy.ini", "[task]\nmetric = accuracy\nlabel = 0\nlabel = 1\n[columns]\ntext = 1, 2\nlabel = 3\n");
    write_text("one-text.ini", "[task]\nmetric = accuracy\nlabel = 0\nlabel = 1\n[columns]\ntext = 1\nlabel = 3\n");
    write_range("to-one.ini", 1);
    write_range("also-to-one.ini", 1);
    write_range("to-two.ini", 2);
    write_examples("train.tsv");
    write_examples("dev.tsv");
    write_config("model.json", SPECIAL + WORDS, 2);
    write_config("one-type.json", SPECIAL + WORDS, 1);
    write_config("bpe.json", 7 + WORDS, 1);
    write_vocabulary("vocab.txt", false);
    write_vocabulary("backwards.txt", true);
    write_bpe("bpe", false);
    write_bpe("bpe-backwards", true);
}

static char *in_folder(const char *name) { return memory_format("%s/%s", folder, name); }

static void set_path(char *out, const char *name) { snprintf(out, OPTION_STRING_SIZE, "%s/%s", folder, name); }

static finetune_settings settings_of(const char *run, int64_t steps) {
    finetune_settings s = {0};
    option_table tables[FINETUNE_TABLES];
    finetune_tables(tables, &s);
    option_set_defaults(tables, FINETUNE_TABLES);
    set_path(s.data.task, "toy.ini");
    snprintf(s.data.dir, sizeof s.data.dir, "%s", folder);
    set_path(s.data.vocab, "vocab.txt");
    s.data.max_length = 16;
    set_path(s.model.config, "model.json");
    set_path(s.run.out, run);
    s.train.batch = 4;
    s.train.max_steps = steps;
    s.train.eval_every = 2;
    return s;
}

static void must_run(const finetune_settings *s) {
    error err = {0};
    if (!train_finetune(s, &err)) FATAL("%s", err.text);
}

static finetune_settings resumed(finetune_settings s) {
    s.run.resume = RESUME_AUTO;
    return s;
}

// Fails with this kind of error, and with words that name the culprit.
static void must_fail(const finetune_settings *s, error_kind kind, const char *words) {
    error err = {0};
    if (train_finetune(s, &err)) FATAL("it went on, where %s should have been refused", words);
    if (err.kind != kind || !strstr(err.text, words)) FATAL("%d: %s", (int)err.kind, err.text);
}

// ---- what a run folder says ----------------------------------------------------------------------------------------

static json_t *results_of(const char *run) {
    error err = {0};
    char *name = memory_format("%s/results.json", run), *path = in_folder(name);
    json_t *results = json_read(path, &err);
    if (!results) FATAL("%s", err.text);
    memory_free(path);
    memory_free(name);
    return results;
}

// How often metrics.jsonl tells a training step, or an evaluation at it.
static int times_told(const char *run, int64_t step, bool evaluation) {
    error err = {0};
    char *name = memory_format("%s/metrics.jsonl", run), *path = in_folder(name);
    size_t size, at = 0, length;
    char *text = text_read(path, &size, &err);
    if (!text) FATAL("%s", err.text);
    const char *line;
    int times = 0;
    while (text_next_line(text, size, &at, &line, &length)) {
        json_t *told = json_parse(line, length, path, &err);
        if (!told) FATAL("%s", err.text);
        bool is_evaluation = json_object_get(told, "split");
        times += json_integer_value(json_object_get(told, "step")) == step && is_evaluation == evaluation;
        json_decref(told);
    }
    memory_free(text);
    memory_free(path);
    memory_free(name);
    return times;
}

static void check_whole(const char *run, int64_t steps) {
    comm_barrier(world); // the root writes, all look
    json_t *results = results_of(run), *last = json_object_get(results, "last");
    REQUIRE(json_is_object(json_object_get(results, "metrics")));
    REQUIRE(json_integer_value(json_object_get(results, "step")) > 0);
    REQUIRE(json_is_object(json_object_get(last, "metrics")));
    REQUIRE(json_integer_value(json_object_get(last, "step")) == steps);
    json_decref(results);
    for (int64_t s = 1; s <= steps; s++) {
        REQUIRE(times_told(run, s, false) == 1);
        REQUIRE(times_told(run, s, true) == (s % 2 == 0 || s == steps));
    }
}

// ---- tests ---------------------------------------------------------------------------------------------------------

static void test_run(void **state) {
    (void)state;
    finetune_settings s = settings_of("whole", 5);
    must_run(&s);
    check_whole("whole", 5);
    must_fail(&s, ERROR_INPUT, "holds a run already");
}

static void test_more_steps(void **state) {
    (void)state;
    finetune_settings s = settings_of("more", 4);
    must_run(&s);
    s.train.max_steps = 8;
    s = resumed(s);
    must_run(&s);
    check_whole("more", 8);
}

// A job that is started once more after its end leaves what it has found.
static void test_resume_when_done(void **state) {
    (void)state;
    finetune_settings s = settings_of("done", 4);
    must_run(&s);
    s = resumed(s);
    must_run(&s);
    check_whole("done", 4);
}

// A run that ended before its first checkpoint has told steps that are now told anew.
static void test_resume_before_first_checkpoint(void **state) {
    (void)state;
    error err = {0};
    char *run = in_folder("early"), *metrics = in_folder("early/metrics.jsonl");
    const char *line = "{\"step\":1,\"loss\":0.7}\n";
    if (comm_rank(world) == 0)
        REQUIRE(file_make_folders(run, &err) && file_write_atomic(metrics, line, strlen(line), &err));
    comm_barrier(world);
    finetune_settings s = resumed(settings_of("early", 4));
    must_run(&s);
    check_whole("early", 4);
    memory_free(run);
    memory_free(metrics);
}

// Another model, or words with other numbers, cannot go on where this one was.
static void test_resume_as_another(void **state) {
    (void)state;
    finetune_settings s = settings_of("other", 2), changed;
    s.model.design = DESIGN_SAF;
    must_run(&s);
    s.train.max_steps = 4;
    changed = resumed(s);
    changed.model.design = DESIGN_PAF;
    must_fail(&changed, ERROR_INPUT, "design");
    changed = resumed(s);
    set_path(changed.data.vocab, "backwards.txt");
    must_fail(&changed, ERROR_INPUT, "vocab");
    changed = resumed(s);
    changed.train.batch = 8;
    must_fail(&changed, ERROR_INPUT, "train.batch 4, now it is 8");
    changed = resumed(s);
    changed.data.order = ORDER_RANDOM;
    must_fail(&changed, ERROR_INPUT, "data.order even, now it is random");
}

// What an older program has left, which knew no other order than the random one and did not say so.
static void forget_order(const char *step) {
    error err = {0};
    size_t size;
    char *path = memory_format("%s/%s/manifest.json", folder, step);
    char *seal_path = memory_format("%s/%s/manifest.xxh3", folder, step);
    json_t *manifest = json_read(path, &err);
    if (!manifest) FATAL("%s", err.text);
    REQUIRE(json_object_del(json_object_get(manifest, "state"), "order") == 0);
    char *text = json_format(manifest, true, &size), *seal = checksum_seal("manifest.json", text, size);
    REQUIRE(file_write_atomic(path, text, size, &err) && file_write_atomic(seal_path, seal, strlen(seal), &err));
    json_decref(manifest);
    memory_free(text);
    memory_free(seal);
    memory_free(path);
    memory_free(seal_path);
}

static void test_resume_without_order(void **state) {
    (void)state;
    finetune_settings s = settings_of("old", 2);
    s.data.order = ORDER_RANDOM;
    must_run(&s);
    if (comm_rank(world) == 0) forget_order("old/step-00000002");
    comm_barrier(world);
    s = resumed(s);
    s.train.max_steps = 4;
    finetune_settings even = s;
    even.data.order = ORDER_EVEN;
    must_fail(&even, ERROR_INPUT, "data.order random, now it is even");
    must_run(&s);
    check_whole("old", 4);
}

// Pairs need two rows of token types; a model with one would read beyond its table.
static void test_pairs_need_two_types(void **state) {
    (void)state;
    finetune_settings s = settings_of("types", 2);
    set_path(s.model.config, "one-type.json");
    must_fail(&s, ERROR_INPUT, "type_vocab_size");
}

static bool answer(const finetune_settings *s, const char *task, error *err) {
    evaluate_settings e;
    option_table tables[EVALUATE_TABLES];
    evaluate_tables(tables, &e);
    option_set_defaults(tables, EVALUATE_TABLES);
    snprintf(e.data_dir, sizeof e.data_dir, "%s", folder);
    if (task) set_path(e.task, task);
    return train_evaluate(s->run.out, &e, err);
}

// The run's model evaluates this task, NULL: its own.
static void must_answer(const finetune_settings *s, const char *task) {
    error err = {0};
    if (!answer(s, task, &err)) FATAL("%s", err.text);
}

static void must_not_answer(const finetune_settings *s, const char *task, const char *words) {
    error err = {0};
    if (answer(s, task, &err)) FATAL("%s should have been refused", task);
    if (err.kind != ERROR_INPUT || !strstr(err.text, words)) FATAL("%d: %s", (int)err.kind, err.text);
}

// Another task may be answered if it has the same labels, or the same limits, and texts that the model can take.
static void test_another_task(void **state) {
    (void)state;
    finetune_settings s = settings_of("one-text", 2);
    set_path(s.data.task, "one-text.ini");
    set_path(s.model.config, "one-type.json");
    must_run(&s);
    must_not_answer(&s, "toy.ini", "type_vocab_size");
    must_not_answer(&s, "to-one.ini", "the labels of to-one are not those of one-text");
    s = settings_of("to-one", 2);
    set_path(s.data.task, "to-one.ini");
    must_run(&s);
    must_answer(&s, "also-to-one.ini");
    must_not_answer(&s, "to-two.ini", "the limits of to-two are not those of to-one");
}

// RoBERTa's pairs need one, and both files of the vocabulary travel with the checkpoint.
static void test_bpe(void **state) {
    (void)state;
    finetune_settings s = settings_of("roberta", 2), changed;
    set_path(s.model.config, "bpe.json");
    set_path(s.data.vocab, "bpe");
    must_run(&s);
    s.train.max_steps = 4;
    changed = resumed(s);
    set_path(changed.data.vocab, "bpe-backwards");
    must_fail(&changed, ERROR_INPUT, "data.vocab");
    s = resumed(s);
    must_run(&s);
    check_whole("roberta", 4);
    must_answer(&s, NULL);
    set_path(changed.data.vocab, "vocab.txt");
    set_path(changed.model.config, "one-type.json");
    must_fail(&changed, ERROR_INPUT, "type_vocab_size");
}

// A model that has lost its numbers is told so, wherever that shows first: here the first update is far too long, and
// the evaluation behind it meets what is no number.
static void test_divergence(void **state) {
    (void)state;
    finetune_settings s = settings_of("diverging", 4);
    s.train.eval_every = 1;
    s.optim.lr = 1e25;
    must_fail(&s, ERROR_INTERNAL, "lower train.lr");
}

// The last step is evaluated, though one was asked to stop just then; and so it is where an evaluation was due before.
static void test_stop(void **state) {
    (void)state;
    finetune_settings s = settings_of("stopped", 2);
    must_run(&s); // has set the handler, which from here on has heard of the signal
    raise(SIGUSR1);
    s = settings_of("stopped-at-end", 1);
    must_run(&s);
    check_whole("stopped-at-end", 1);
    s = settings_of("stopped-between", 6);
    for (int i = 0; i < 6; i++) {
        must_run(&s); // one step
        s = resumed(s);
    }
    check_whole("stopped-between", 6);
}

// A list ends with the run in whose last step it was asked to stop: no other begins.
static void test_stop_of_list(void **state) {
    (void)state;
    error err = {0};
    glue_settings wanted;
    finetune_settings unused;
    option_table tables[GLUE_TABLES];
    glue_tables(tables, &wanted, &unused);
    option_set_defaults(tables, GLUE_TABLES);
    set_path(wanted.tasks, "toy.ini");
    glue_list list;
    if (!glue_list_create(&list, &wanted, &err)) FATAL("%s", err.text);
    list.tasks[0].settings = settings_of("unused", 1);
    char *out = in_folder("list"), *next = in_folder("list/toy-saf-2");
    if (!glue_run_list(&list, out, &err)) FATAL("%s", err.text);
    check_whole("list/toy-saf-1", 1);
    REQUIRE(!file_exists(next));
    memory_free(next);
    memory_free(out);
    glue_list_destroy(&list);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    log_set_level(LOG_QUIET);
    world = comm_world();
    bool root = comm_rank(world) == 0;
    char *own = root ? test_folder() : NULL;
    folder = comm_broadcast_text(world, own, 0);
    if (root) write_toy();
    comm_barrier(world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_more_steps),
        cmocka_unit_test(test_resume_when_done),
        cmocka_unit_test(test_resume_before_first_checkpoint),
        cmocka_unit_test(test_resume_as_another),
        cmocka_unit_test(test_resume_without_order),
        cmocka_unit_test(test_pairs_need_two_types),
        cmocka_unit_test(test_another_task),
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_stop), // the signal is remembered
        cmocka_unit_test(test_stop_of_list),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    memory_free(own);
    memory_free(folder);
    comm_finish();
    return failed;
}
