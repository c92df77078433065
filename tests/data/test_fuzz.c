// Files and JSON with random damage: each is either read or refused with one message, and nothing worse happens. Worth
// most under SAN=address,undefined.
#include "files.h"

#define ROUNDS 2000

typedef struct {
    char bytes[4096];
    size_t size;
} buffer;

// ---- damage --------------------------------------------------------------------------------------------------------

static random_stream stream;
static uint64_t drawn;

static size_t draw(size_t n) {
    uint32_t block[4];
    random_block(block, stream, drawn++, 0, 0);
    return block[0] % n;
}

static void insert(buffer *b, size_t at, const char *bytes, size_t size) {
    if (b->size + size > sizeof b->bytes) return;
    memmove(b->bytes + at + size, b->bytes + at, b->size - at);
    memmove(b->bytes + at, bytes, size);
    b->size += size;
}

static void damage_once(buffer *b) {
    static const struct {
        const char *bytes;
        size_t size;
    } pieces[] = {{"\t", 1},      {"\n", 1},  {"\r\n", 2},    {"\0", 1}, {"\xff", 1}, {"\xef\xbb\xbf", 3},
                  {"[", 1},       {" = ", 3}, {";", 1},       {"\"", 1}, {"-1", 2},   {"9999999999999999999", 19},
                  {"\x1b[2J", 4}, {"nan", 3}, {"\\u0000", 6}, {"]", 1},  {"{", 1},    {",", 1},
                  {"\xc3", 1},    {"../", 3}};
    size_t at = draw(b->size + 1), left = b->size - at, length = left ? draw(left < 40 ? left : 40) : 0;
    char copy[64];
    switch (draw(6)) {
    case 0: // another byte
        if (left) b->bytes[at] = (char)draw(256);
        break;
    case 1: // something left out
        memmove(b->bytes + at, b->bytes + at + length, left - length);
        b->size -= length;
        break;
    case 2: // something twice
        memcpy(copy, b->bytes + at, length);
        insert(b, draw(b->size + 1), copy, length);
        break;
    case 3: // cut off
        if (draw(4) == 0) b->size = at;
        break;
    default: {
        size_t piece = draw(sizeof pieces / sizeof *pieces);
        insert(b, at, pieces[piece].bytes, pieces[piece].size);
    }
    }
}

static buffer damaged(const char *text, uint64_t round, uint32_t kind) {
    buffer b = {.size = strlen(text)};
    memcpy(b.bytes, text, b.size);
    stream = random_stream_create(11, RANDOM_TEST, round, kind);
    drawn = 0;
    for (size_t n = 1 + draw(4); n > 0; n--) damage_once(&b);
    return b;
}

// ---- verdicts ------------------------------------------------------------------------------------------------------

static void assert_one_message(const error *err) {
    assert_int_equal(err->kind, ERROR_INPUT);
    assert_true(err->text[0]);
    for (const char *at = err->text; *at; at++) assert_true((unsigned char)*at >= ' ' && *at != 127);
}

static void assert_sound(const dataset *d, const task *t, int64_t max_length) {
    assert_true(d->n > 0 && d->starts[0] == 0 && d->longest <= max_length);
    for (int64_t i = 0; i < d->n; i++) {
        int64_t length = dataset_length(d, i);
        assert_true(length >= 2 && length <= d->longest);
        assert_true(d->second[i] >= 2 && d->second[i] <= length);
        if (d->labels) assert_true(d->labels[i] >= 0 && d->labels[i] < t->classes);
        if (d->targets) assert_true(d->targets[i] >= t->low && d->targets[i] <= t->high);
    }
}

static void load_all(const task *t, const char *folder, const tokenizer *tok, int *good) {
    static const char *const splits[] = {"train", "dev", "test"};
    for (int s = 0; s < 3; s++) {
        dataset d;
        error err = {0};
        if (dataset_load(&d, t, folder, splits[s], tok, 12, &err)) {
            assert_sound(&d, t, 12);
            assert_int_equal(err.kind, ERROR_NONE);
            ++*good;
        } else {
            assert_one_message(&err);
        }
        dataset_destroy(&d);
    }
}

// ---- the tests -----------------------------------------------------------------------------------------------------

static char *folder;
static tokenizer *tok;

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
    int good = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        task t;
        error err = {0};
        buffer b = damaged(files[round % 4].text, round, 0);
        assert_true(task_find(&t, files[round % 4].task, &err));
        write_bytes(folder, "train.tsv", b.bytes, b.size);
        write_bytes(folder, "dev.tsv", b.bytes, b.size);
        write_bytes(folder, "test.tsv", b.bytes, b.size);
        load_all(&t, folder, tok, &good);
        task_destroy(&t);
    }
    assert_in_range(good, ROUNDS / 4, 3 * ROUNDS - ROUNDS / 4); // both happen, and often
}

static void test_task_files(void **state) {
    (void)state;
    static const char *const texts[] = {
        "[task]\nname = mine\nmetric = accuracy\nlabels = auto\n[columns]\ntext = 1, 2\nlabel = 3\nheader = yes\n"
        "[test]\nlabel = none\nfile = dev.tsv\n",
        "[task]\nmetric = accuracy_f1\nlabel = x\nlabel = y\nsubmission = S.tsv\n[columns]\ntext = 2\nlabel = last\n"
        "fields = 3\ndrop_wrong = yes\n",
        "[task]\nmetric = correlation\nlow = -1\nhigh = 7 ; comment\nfolder = there\n[train]\ntext = 1\nlabel = "
        "2\n[dev]\n"
        "text = 1\nlabel = 2\n[test]\ntext = 1\n",
    };
    const char *rows = "a\tb\tx\nc d\te\ty\nf\tg\tx\n";
    char *path = memory_format("%s/mine.ini", folder);
    int good = 0, loaded = 0;
    write_text(folder, "train.tsv", rows);
    write_text(folder, "dev.tsv", rows);
    write_text(folder, "test.tsv", rows);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        task t;
        error err = {0};
        buffer b = damaged(texts[round % 3], round, 1);
        write_bytes(folder, "mine.ini", b.bytes, b.size);
        if (!task_read(&t, path, &err)) {
            assert_one_message(&err);
            continue;
        }
        good++;
        json_t *value = task_to_json(&t); // whatever was read can be carried on
        task back;
        assert_true(task_from_json(&back, value, &err));
        json_decref(value);
        task_destroy(&back);
        if (task_collect_labels(&t, folder, &err))
            load_all(&t, folder, tok, &loaded);
        else
            assert_one_message(&err);
        task_destroy(&t);
    }
    memory_free(path);
    assert_in_range(good, ROUNDS / 20, ROUNDS - ROUNDS / 20);
    assert_true(loaded > 0);
}

static void test_json(void **state) {
    (void)state;
    size_t n;
    int good = 0, bad = 0;
    const char *const *names = task_glue_names(&n);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        task t, back;
        error err = {0};
        assert_true(task_find(&t, names[round % n], &err));
        json_t *value = task_to_json(&t);
        char *text = json_dumps(value, 0);
        buffer b = damaged(text, round, 2);
        json_t *parsed = json_loadb(b.bytes, b.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (parsed && task_from_json(&back, parsed, &err)) {
            good++;
            task_destroy(&back);
        } else if (parsed) {
            bad++;
            assert_one_message(&err);
        }
        json_decref(parsed);
        json_decref(value);
        free(text);
        task_destroy(&t);
    }
    assert_true(good > ROUNDS / 20 && bad > ROUNDS / 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_task_files),
        cmocka_unit_test(test_json),
    };
    folder = test_folder();
    tok = small_tokenizer();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    error err = {0};
    file_remove_tree(folder, &err);
    tokenizer_destroy(tok);
    memory_free(folder);
    return failed;
}
