// Task files and their JSON with random damage: each is either read or refused with one message, and nothing worse
// happens. What strangers write is damaged in tests/huggingface/ranks_mutants.c.
#include "../mutants.h"
#include "files.h"

#define ROUNDS 2000

// ---- verdicts ------------------------------------------------------------------------------------------------------

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
            assert_true(mutant_told_once(&err));
        }
        dataset_destroy(&d);
    }
}

// ---- the tests -----------------------------------------------------------------------------------------------------

static char *folder;
static tokenizer *tok;

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
        const char *text = texts[round % 3];
        mutant m = mutant_create(text, strlen(text), SIZE_MAX, round, 1);
        write_bytes(folder, "mine.ini", m.bytes, m.size);
        memory_free(m.bytes);
        if (!task_read(&t, path, &err)) {
            assert_true(mutant_told_once(&err));
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
            assert_true(mutant_told_once(&err));
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
        mutant m = mutant_create(text, strlen(text), SIZE_MAX, round, 2);
        json_t *parsed = json_loadb(m.bytes, m.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        memory_free(m.bytes);
        if (parsed && task_from_json(&back, parsed, &err)) {
            good++;
            task_destroy(&back);
        } else if (parsed) {
            bad++;
            assert_true(mutant_told_once(&err));
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
