// The development data itself: every row is read, none refused, and labels come out as often as the files hold them.
#include "files.h"

typedef struct {
    const char *task, *split;
    int64_t rows;
    int64_t classes[3]; // rows of each; all 0 for regression and for unlabelled files
    double tokens; // mean length with BERT's uncased vocabulary at 128, to 0.05, where it is known (DESIGN.md); or 0
} split_facts;

static const split_facts facts[] = {
    {"cola", "train", 8551, {2528, 6023}, 0},
    {"cola", "dev", 1043, {322, 721}, 0},
    {"cola", "test", 1063, {0}, 0},
    {"sst2", "train", 67349, {29780, 37569}, 13.3},
    {"sst2", "dev", 872, {428, 444}, 0},
    {"sst2", "test", 1821, {0}, 0},
    {"mrpc", "train", 3668, {1194, 2474}, 53.2},
    {"mrpc", "dev", 408, {129, 279}, 0},
    {"mrpc", "test", 1725, {0}, 0},
    {"stsb", "train", 5749, {0}, 0},
    {"stsb", "dev", 1500, {0}, 0},
    {"stsb", "test", 1379, {0}, 0},
    {"rte", "train", 2490, {1249, 1241}, 0},
    {"rte", "dev", 277, {146, 131}, 0},
    {"rte", "test", 3000, {0}, 0},
    {"mnli", "train", 8999, {3061, 2980, 2958}, 0},
    {"mnli", "dev", 9815, {3479, 3123, 3213}, 0},
    {"qqp", "train", 21497, {13492, 8005}, 0},
    {"qqp", "dev", 2000, {1258, 742}, 0},
};

static void check_split(const split_facts *f, const char *dir, const tokenizer *tok) {
    task t;
    dataset d;
    error err = {0};
    assert_true(task_find(&t, f->task, &err));
    if (!dataset_load(&d, &t, dir, f->split, tok, 128, &err)) fail_msg("%s", err.text);
    assert_int_equal(d.n, f->rows);
    assert_int_equal(d.dropped, 0);
    assert_int_equal(d.replaced, 0);
    assert_true(d.longest <= 128);
    int64_t classes[3] = {0};
    for (int64_t i = 0; d.labels && i < d.n; i++) classes[d.labels[i]]++;
    assert_memory_equal(classes, f->classes, sizeof classes);
    double mean = (double)d.starts[d.n] / (double)d.n;
    if (f->tokens > 0) assert_true(fabs(mean - f->tokens) <= 0.05);
    dataset_destroy(&d);
    task_destroy(&t);
}

static void test_counts(void **state) {
    (void)state;
    error err = {0};
    const char *vocabulary = test_data("vocab/bert-uncased/vocab.txt");
    tokenizer *tok = vocabulary ? tokenizer_load(vocabulary, true, &err) : NULL;
    const char *dir = test_data("glue");
    if (!tok || !dir) {
        tokenizer_destroy(tok);
        skip();
    }
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) check_split(&facts[i], dir, tok);
    tokenizer_destroy(tok);
}

// Scores of STS-B; the means are awk's.
static void test_targets(void **state) {
    (void)state;
    const char *dir = test_data("glue/STS-B");
    if (!dir) skip();
    static const struct {
        const char *split;
        double mean;
    } rows[] = {{"train", 2.701}, {"dev", 2.36391}};
    tokenizer *tok = small_tokenizer();
    for (int s = 0; s < 2; s++) {
        task t;
        dataset d;
        error err = {0};
        double sum = 0;
        assert_true(task_find(&t, "stsb", &err));
        assert_true(dataset_load(&d, &t, dir, rows[s].split, tok, 128, &err)); // the task's own folder will do
        for (int64_t i = 0; i < d.n; i++) sum += (double)d.targets[i];
        assert_true(fabs(sum / (double)d.n - rows[s].mean) < 1e-4);
        dataset_destroy(&d);
        task_destroy(&t);
    }
    tokenizer_destroy(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_targets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
