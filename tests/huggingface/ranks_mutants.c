// Damaged models and corpora: every file that paf reads and strangers write is read or refused with one message.
// ranks: 1 2

// PAF_MUTANTS says how many (default 400, a quarter of each kind). A check that fails on one rank ends all.
#include "../data/files.h"
#include "../mutants.h"

#include "huggingface/huggingface.h"

enum { HIDDEN = 8, INNER = 16, POSITIONS = 12, WORDS = 12, BPE_WORDS = 9, KINDS = 4 };

#define MEMORY_MOST ((int64_t)16 << 20) // to read a file of these, of which none has more than a few KB
#define LEAK_MOST ((int64_t)16 << 10)   // that MPI and HDF5 may keep, whatever the number of mutants

static comm *world;
static bool root;
static char *folder; // the same on every rank; below it, a folder for each of `models`, and `out`
static uint64_t rounds;
static int64_t memory_most; // of all mutants so far; 0 where nobody counts

// ---- what is damaged -----------------------------------------------------------------------------------------------

typedef struct {
    const char *name;
    int64_t rows, columns; // columns 0: a vector
} shape;

static const shape encoder[] = {
    {"embeddings.position_embeddings.weight", POSITIONS, HIDDEN},
    {"embeddings.LayerNorm.weight", HIDDEN, 0},
    {"embeddings.LayerNorm.bias", HIDDEN, 0},
    {"encoder.layer.0.attention.self.query.weight", HIDDEN, HIDDEN},
    {"encoder.layer.0.attention.self.query.bias", HIDDEN, 0},
    {"encoder.layer.0.attention.self.key.weight", HIDDEN, HIDDEN},
    {"encoder.layer.0.attention.self.key.bias", HIDDEN, 0},
    {"encoder.layer.0.attention.self.value.weight", HIDDEN, HIDDEN},
    {"encoder.layer.0.attention.self.value.bias", HIDDEN, 0},
    {"encoder.layer.0.attention.output.dense.weight", HIDDEN, HIDDEN},
    {"encoder.layer.0.attention.output.dense.bias", HIDDEN, 0},
    {"encoder.layer.0.attention.output.LayerNorm.weight", HIDDEN, 0},
    {"encoder.layer.0.attention.output.LayerNorm.bias", HIDDEN, 0},
    {"encoder.layer.0.intermediate.dense.weight", INNER, HIDDEN},
    {"encoder.layer.0.intermediate.dense.bias", INNER, 0},
    {"encoder.layer.0.output.dense.weight", HIDDEN, INNER},
    {"encoder.layer.0.output.dense.bias", HIDDEN, 0},
    {"encoder.layer.0.output.LayerNorm.weight", HIDDEN, 0},
    {"encoder.layer.0.output.LayerNorm.bias", HIDDEN, 0},
    {0},
};
static const shape bert[] = {{"embeddings.word_embeddings.weight", WORDS, HIDDEN},
                             {"embeddings.token_type_embeddings.weight", 2, HIDDEN},
                             {"pooler.dense.weight", HIDDEN, HIDDEN},
                             {"pooler.dense.bias", HIDDEN, 0},
                             {"classifier.weight", 2, HIDDEN},
                             {"classifier.bias", 2, 0},
                             {0}};
static const shape roberta[] = {{"embeddings.word_embeddings.weight", BPE_WORDS, HIDDEN},
                                {"embeddings.token_type_embeddings.weight", 1, HIDDEN},
                                {"lm_head.dense.weight", HIDDEN, HIDDEN},
                                {"lm_head.dense.bias", HIDDEN, 0},
                                {"lm_head.layer_norm.weight", HIDDEN, 0},
                                {"lm_head.layer_norm.bias", HIDDEN, 0},
                                {"lm_head.bias", BPE_WORDS, 0},
                                {"lm_head.decoder.weight", BPE_WORDS, HIDDEN},
                                {0}};

#define CONFIG(type, words, types)                                                                                     \
    "{\"model_type\": \"" type "\", \"vocab_size\": " words ", \"hidden_size\": 8, \"num_hidden_layers\": 1, "         \
    "\"num_attention_heads\": 2, \"intermediate_size\": 16, \"max_position_embeddings\": 12, "                         \
    "\"type_vocab_size\": " types ", \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12, "                            \
    "\"id2label\": {\"0\": \"not_entailment\", \"1\": \"entailment\"}}"

static const struct {
    const char *name, *config, *task;
    const shape *head;       // beside the encoder
    bool split;              // encoder and head in a file each
    const char *files[3][2]; // name and text
} models[] = {
    {"bert",
     CONFIG("bert", "12", "2"),
     "rte",
     bert,
     false,
     {{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nab\n##b\n##c\n\xc3\xa9\n"},
      {"tokenizer_config.json", "{\"do_lower_case\": false, \"model_max_length\": 12}"}}},
    {"split",
     CONFIG("bert", "12", "2"),
     "",
     bert,
     true,
     {{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nab\n##b\n##c\n\xc3\xa9\n"}}},
    {"roberta",
     CONFIG("roberta", "9", "1"),
     "",
     roberta,
     false,
     {{"vocab.json", "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"a\": 4, \"b\": 5, \"ab\": 6, "
                     "\"\\u0120\": 7, \"\\u0120ab\": 8}"},
      {"merges.txt", "#version: 0.2\na b\n\xc4\xa0 ab\n"}}},
};
enum { MODELS = sizeof models / sizeof *models };

typedef struct {
    int model;
    const char *file;
    char *original; // read at the start
    size_t size;
} target;

static target targets[] = {
    {0, "model.safetensors", NULL, 0}, {1, "model.safetensors.index.json", NULL, 0},
    {1, "one.safetensors", NULL, 0},   {2, "model.safetensors", NULL, 0},
    {0, "config.json", NULL, 0},       {2, "config.json", NULL, 0},
    {0, "vocab.txt", NULL, 0},         {2, "vocab.json", NULL, 0},
    {2, "merges.txt", NULL, 0},        {0, "tokenizer_config.json", NULL, 0},
};
enum { TARGETS = sizeof targets / sizeof *targets };

// ---- models as they should be --------------------------------------------------------------------------------------

static char *place(int model, const char *file) { return memory_format("%s/%s/%s", folder, models[model].name, file); }

// The tensors of one or two lists, the second NULL or not.
static void write_tensors(int model, const char *file, const shape *first, const shape *second) {
    safetensors_tensor tensors[64];
    float data[INNER * HIDDEN];
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) data[i] = (float)(i % 7);
    size_t n = 0;
    for (; first; first = second, second = NULL)
        for (const shape *s = first; s->name; s++)
            tensors[n++] = (safetensors_tensor){
                .name = (char *)s->name, .dimensions = s->columns ? 2 : 1, .shape = {s->rows, s->columns}};
    error err = {0};
    char *path = place(model, file);
    safetensors_writer *w = safetensors_create(path, tensors, n, &err);
    bool good = w;
    for (size_t i = 0; good && i < n; i++)
        good = safetensors_write(w, data, tensors[i].shape[0] * (tensors[i].dimensions == 2 ? tensors[i].shape[1] : 1),
                                 &err);
    if (!good || !safetensors_finish(w, true, &err)) FATAL("%s", err.text);
    memory_free(path);
}

static void write_index(int model) {
    json_t *map = json_object(), *index = json_pack("{s:o}", "weight_map", map);
    for (const shape *s = encoder; s->name; s++) json_object_set_new(map, s->name, json_string("one.safetensors"));
    for (const shape *s = models[model].head; s->name; s++)
        json_object_set_new(map, s->name, json_string("two.safetensors"));
    error err = {0};
    char *path = place(model, "model.safetensors.index.json");
    if (!json_write(path, index, &err)) FATAL("%s", err.text);
    memory_free(path);
    json_decref(index);
}

static void write_model(int model) {
    char *in = memory_format("%s/%s", folder, models[model].name);
    write_text(in, "config.json", models[model].config);
    for (int i = 0; i < 3 && models[model].files[i][0]; i++)
        write_text(in, models[model].files[i][0], models[model].files[i][1]);
    if (models[model].split) {
        write_tensors(model, "one.safetensors", encoder, NULL);
        write_tensors(model, "two.safetensors", models[model].head, NULL);
        write_index(model);
    } else {
        write_tensors(model, "model.safetensors", encoder, models[model].head);
    }
    memory_free(in);
}

static void read_targets(void) {
    for (int t = 0; t < TARGETS; t++) {
        error err = {0};
        char *path = place(targets[t].model, targets[t].file);
        targets[t].original = text_read(path, &targets[t].size, &err);
        if (!targets[t].original) FATAL("%s", err.text);
        memory_free(path);
    }
}

// ---- one mutant ----------------------------------------------------------------------------------------------------

static bool import_model(int model, error *err) {
    import_settings s = {0};
    option_table tables[IMPORT_TABLES];
    import_tables(tables, &s);
    option_set_defaults(tables, IMPORT_TABLES);
    snprintf(s.from, sizeof s.from, "%s/%s", folder, models[model].name);
    snprintf(s.to, sizeof s.to, "%s/out", folder);
    snprintf(s.task, sizeof s.task, "%s", models[model].task);
    bool good = huggingface_import(&s, err);
    if (root) file_remove_tree(s.to, &(error){0});
    comm_barrier(world);
    return good;
}

static void write_target(const target *t, const char *bytes, size_t size) {
    char *in = memory_format("%s/%s", folder, models[t->model].name);
    if (root) write_bytes(in, t->file, bytes, size);
    comm_barrier(world);
    memory_free(in);
}

static void judge(bool good, const error *err, int64_t taken, const char *file, uint64_t round) {
    if (good ? err->kind != ERROR_NONE : !mutant_told_once(err))
        FATAL("mutant %llu of %s: kind %d: %s", (unsigned long long)round, file, (int)err->kind, err->text);
    if (taken > MEMORY_MOST)
        FATAL("mutant %llu of %s took %lld bytes", (unsigned long long)round, file, (long long)taken);
    if (taken > memory_most) memory_most = taken;
}

// What all rounds of a kind, which began with so much allocated, come to.
static void sum_up(const char *kind, uint64_t good, int64_t begin) {
    char memory[64] = "";
    if (memory_most > 0) snprintf(memory, sizeof memory, "; at most %lld KiB", (long long)memory_most >> 10);
    if (root)
        print_message("             %llu mutants of %s, %llu still read%s\n", (unsigned long long)rounds, kind,
                      (unsigned long long)good, memory);
    REQUIRE(good > 0 && good < rounds);
    REQUIRE(mutant_memory_kept(begin) < LEAK_MOST);
}

// The targets first to last by turns, in the first `window` bytes of each.
static void try_targets(const char *kind, int first, int last, size_t window) {
    uint64_t good = 0;
    int64_t begin = mutant_memory_begin();
    for (uint64_t round = 0; round < rounds; round++) {
        int which = first + (int)(round % (uint64_t)(last - first + 1));
        const target *t = &targets[which];
        mutant m = mutant_create(t->original, t->size, window, round, (uint32_t)which);
        write_target(t, m.bytes, m.size);
        memory_free(m.bytes);
        error err = {0};
        int64_t before = mutant_memory_begin();
        bool read = import_model(t->model, &err);
        judge(read, &err, mutant_memory_taken(before), t->file, round);
        good += read;
        write_target(t, t->original, t->size);
    }
    sum_up(kind, good, begin);
}

// ---- the tests -----------------------------------------------------------------------------------------------------

static void test_whole(void **state) {
    (void)state;
    for (int model = 0; model < MODELS; model++) {
        error err = {0};
        if (!import_model(model, &err)) FATAL("%s: %s", models[model].name, err.text);
    }
}

static void test_safetensors(void **state) {
    (void)state;
    try_targets("safetensors", 0, 3, 2600); // mostly the header
}

static void test_config(void **state) {
    (void)state;
    try_targets("config.json", 4, 5, SIZE_MAX);
}

static void test_vocabulary(void **state) {
    (void)state;
    try_targets("vocabularies", 6, 9, SIZE_MAX);
}

static void test_tsv(void **state) {
    (void)state;
    static const struct {
        const char *task, *text;
    } files[] = {
        {"rte", "\xef\xbb\xbfindex\ts1\ts2\tlabel\n0\ta b c\td e f g h i j k l\tentailment\n1\ta\tb\tnot_entailment\n"
                "2\tx y z \xc3\xa9\t\"q\"\tentailment\n"},
        {"stsb",
         "1\t2\t3\t4\t5\t6\t7\ta\tb\tscore\r\n1\t2\t3\t4\t5\t6\t7\ta\tb\t5.000\r\n1\t2\t3\t4\t5\t6\t7\ta\tb\t0.25"},
        {"qqp", "id\tq1\tq2\tone\ttwo\tsame\n1\t1\t2\ta\tb\t1\n2\t1\t2\ta\tb\n4\t1\t2\te\tf\t0\n"},
        {"cola", "x\t1\t\ta b c\nx\t0\t*\tb c d\nx\t0\t*\tb c d"},
    };
    static const char *const splits[] = {"train", "dev", "test"};
    tokenizer *tok = small_tokenizer();
    uint64_t good = 0;
    int64_t begin = mutant_memory_begin();
    for (uint64_t round = 0; round < rounds; round++) {
        const char *text = files[round % 4].text, *split = splits[round / 4 % 3];
        mutant m = mutant_create(text, strlen(text), SIZE_MAX, round, TARGETS);
        task t;
        dataset d;
        error err = {0};
        char *name = memory_format("%s.tsv", split);
        assert_true(task_find(&t, files[round % 4].task, &err));
        if (root) write_bytes(folder, name, m.bytes, m.size);
        comm_barrier(world);
        int64_t before = mutant_memory_begin();
        bool read = dataset_load(&d, &t, folder, split, tok, 12, &err);
        judge(read, &err, mutant_memory_taken(before), name, round);
        if (read) assert_sound(&d, &t, 12);
        good += read;
        dataset_destroy(&d);
        task_destroy(&t);
        memory_free(name);
        memory_free(m.bytes);
        comm_barrier(world);
    }
    tokenizer_destroy(tok);
    sum_up("TSV", good, begin);
}

int main(int argc, char **argv) {
    comm_start(&argc, &argv);
    log_set_level(LOG_QUIET);
    world = comm_world();
    root = comm_rank(world) == 0;
    const char *wanted = getenv("PAF_MUTANTS");
    rounds = (wanted ? strtoull(wanted, NULL, 10) : 400) / KINDS;
    REQUIRE(rounds > 0);
    char *own = root ? test_folder() : NULL;
    folder = comm_broadcast_text(world, own, 0);
    for (int model = 0; root && model < MODELS; model++) write_model(model);
    comm_barrier(world);
    read_targets();
    mutant_watch_memory(MEMORY_MOST);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),      cmocka_unit_test(test_safetensors), cmocka_unit_test(test_config),
        cmocka_unit_test(test_vocabulary), cmocka_unit_test(test_tsv),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int t = 0; t < TARGETS; t++) memory_free(targets[t].original);
    memory_free(own);
    memory_free(folder);
    comm_finish();
    return failed;
}
