// Tensors in the safetensors format: read, written, and with random damage in it. The last is worth most under
// SAN=address,undefined.
#include "../mutants.h"

#include "storage/storage.h"

#define MUTANTS 4000

static char *folder;

static char *place(const char *name) { return memory_format("%s/%s", folder, name); }

static void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_true(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

// A file of this header and data.
static void write_model(const char *name, const char *header, const void *data, size_t size) {
    char *path = place(name), *bytes = memory_allocate(8 + strlen(header) + size, 1);
    uint64_t length = strlen(header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, size);
    write_file(path, bytes, 8 + length + size);
    memory_free(bytes);
    memory_free(path);
}

static safetensors *open_model(const char *name, error *err) {
    char *path = place(name);
    error_clear(err);
    safetensors *s = safetensors_open(path, err);
    memory_free(path);
    return s;
}

static void expect_refusal(const char *name, const char *words) {
    error err;
    safetensors *s = open_model(name, &err);
    if (s) fail_msg("%s was read; expected: %s", name, words);
    assert_int_equal(err.kind, ERROR_INPUT);
    if (!strstr(err.text, words)) fail_msg("\"%s\" does not say: %s", err.text, words);
}

// ---- reading -------------------------------------------------------------------------------------------------------

static void test_types(void **state) {
    (void)state;
    struct {
        float f32[2];
        uint16_t f16[8], bf16[4];
        double f64[2];
        int64_t i64[1];
    } data = {{1.5f, -3},
              {0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff, 0x7c00, 0x03ff, 0xfc00},
              {0x3f80, 0xc040, 0x0001, 0x7f80},
              {0.1, -1e300},
              {7}};
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                 "\"b\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[8,24]},"
                                 "\"c\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[24,32]},"
                                 "\"d\":{\"dtype\":\"F64\",\"shape\":[1,2],\"data_offsets\":[32,48]},"
                                 "\"e\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[48,56]}}   ";
    write_model("types", header, &data, sizeof data);
    const struct {
        const char *name;
        int64_t size[2];
        float values[8];
    } wanted[] = {
        {"a", {2, 1}, {1.5f, -3}},
        {"b", {8, 1}, {1, -2, 0x1p-24f, -0.0f, 65504, INFINITY, 1023 * 0x1p-24f, -INFINITY}},
        {"c", {2, 2}, {1, -3, 0x1p-133f, INFINITY}},
        {"d", {1, 2}, {0.1f, -INFINITY}},
    };
    error err;
    safetensors *s = open_model("types", &err);
    assert_non_null(s);
    size_t n;
    const safetensors_tensor *all = safetensors_list(s, &n);
    assert_int_equal(n, 5);
    assert_string_equal(all[4].name, "e");
    assert_null(safetensors_find(s, "f"));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        float values[8];
        int64_t count = wanted[i].size[0] * wanted[i].size[1];
        const safetensors_tensor *t = safetensors_find(s, wanted[i].name);
        assert_true(safetensors_read(s, t, (int64_t[]){0, 0}, wanted[i].size, values, wanted[i].size[1], &err));
        assert_memory_equal(values, wanted[i].values, (size_t)count * sizeof *values);
    }
    float none;
    assert_false(safetensors_read(s, &all[4], (int64_t[]){0, 0}, (int64_t[]){1, 1}, &none, 1, &err));
    assert_non_null(strstr(err.text, "\"e\" has type I64"));
    safetensors_close(s);
}

// More than is converted at a time.
static void test_long_rows(void **state) {
    (void)state;
    enum { N = 70000 };
    static uint16_t shorts[2 * N];
    static float wanted[2 * N], got[2 * N];
    for (uint32_t i = 0; i < 2 * N; i++) {
        uint32_t bits = (i % 0x7f00) << 16;
        shorts[i] = (uint16_t)(bits >> 16);
        memcpy(&wanted[i], &bits, sizeof bits);
    }
    write_model("long", "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,70000],\"data_offsets\":[0,280000]}}", shorts,
                sizeof shorts);
    error err;
    safetensors *s = open_model("long", &err);
    assert_non_null(s);
    const safetensors_tensor *t = safetensors_find(s, "a");
    assert_true(safetensors_read(s, t, (int64_t[]){0, 0}, (int64_t[]){2, N}, got, N, &err));
    assert_memory_equal(got, wanted, sizeof got);
    assert_true(safetensors_read(s, t, (int64_t[]){0, 1}, (int64_t[]){2, N - 1}, got, N - 1, &err));
    assert_memory_equal(got, wanted + 1, (N - 1) * sizeof *got);
    assert_memory_equal(got + N - 1, wanted + N + 1, (N - 1) * sizeof *got);
    safetensors_close(s);
}

// Every rectangle of a matrix, where its columns begin and end at multiples of `step`.
static void read_rectangles(const safetensors *s, const safetensors_tensor *t, const float *wanted, int64_t step) {
    int64_t rows = t->shape[0], columns = t->shape[1];
    float *got = memory_allocate((size_t)(rows * columns + rows), sizeof *got);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 1; h <= rows - r; h++)
            for (int64_t c = 0; c < columns; c += step)
                for (int64_t w = columns - c; w > 0; w -= step) {
                    error err;
                    int64_t stride = w + (h + w) % 2;
                    assert_true(safetensors_read(s, t, (int64_t[]){r, c}, (int64_t[]){h, w}, got, stride, &err));
                    for (int64_t i = 0; i < h; i++)
                        assert_memory_equal(got + i * stride, wanted + (r + i) * columns + c, (size_t)w * 4);
                }
    memory_free(got);
}

static void test_round_trip(void **state) {
    (void)state;
    enum { ROWS = 3, COLUMNS = 5, LONG = 40000 };
    static float small[ROWS * COLUMNS], vector[7], large[2 * LONG];
    for (int i = 0; i < ROWS * COLUMNS; i++) small[i] = (float)i;
    for (int i = 0; i < 7; i++) vector[i] = 1 / (1 + (float)i);
    for (int i = 0; i < 2 * LONG; i++) large[i] = sinf((float)i);
    const safetensors_tensor tensors[] = {{.name = "small", .dimensions = 2, .shape = {ROWS, COLUMNS}},
                                          {.name = "vector", .dimensions = 1, .shape = {7}},
                                          {.name = "large", .dimensions = 2, .shape = {2, LONG}}};
    error err;
    char *path = place("model.safetensors");
    safetensors_writer *w = safetensors_create(path, tensors, 3, &err);
    assert_non_null(w);
    assert_true(safetensors_write(w, small, ROWS * COLUMNS, &err) && safetensors_write(w, vector, 3, &err));
    assert_true(safetensors_write(w, vector + 3, 4, &err) && safetensors_write(w, large, 2 * LONG, &err));
    assert_false(file_exists(path));
    assert_true(safetensors_finish(w, true, &err));
    assert_true(file_exists(path) && file_size(path) % 8 == 0); // the header is padded
    safetensors *s = open_model("", &err);
    assert_non_null(s);
    read_rectangles(s, safetensors_find(s, "small"), small, 1);
    read_rectangles(s, safetensors_find(s, "large"), large, 13333);
    float part[2];
    assert_true(
        safetensors_read(s, safetensors_find(s, "vector"), (int64_t[]){4, 0}, (int64_t[]){2, 1}, part, 1, &err));
    assert_memory_equal(part, vector + 4, sizeof part);
    safetensors_close(s);
    assert_true(file_remove_tree(path, &err));
    w = safetensors_create(path, tensors, 3, &err);
    assert_true(safetensors_finish(w, false, &err));
    char *draft = memory_format("%s.tmp", path);
    assert_false(file_exists(path) || file_exists(draft));
    memory_free(draft);
    memory_free(path);
    assert_null(safetensors_create("/nowhere/model.safetensors", tensors, 3, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
}

// ---- refusals ------------------------------------------------------------------------------------------------------

#define ENTRY(name, type, shape, offsets)                                                                              \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_refusals(void **state) {
    (void)state;
    static const char data[32];
    const struct {
        const char *header;
        size_t size;
        const char *words;
    } cases[] = {
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 9, "1 bytes at its end"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 7, "do not lie within"},
        {"{" ENTRY("a", "F32", "[2]", "[4,12]") "}", 12, "a gap before tensor \"a\""},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[1]", "[4,8]") "}", 8, "an overlap before"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("a", "F32", "[2]", "[0,8]") "}", 8, "duplicate"},
        {"{" ENTRY("a", "F32", "[3]", "[0,8]") "}", 8, "do not fit its shape"},
        {"{" ENTRY("a", "F16", "[2]", "[0,8]") "}", 8, "do not fit its shape"},
        {"{" ENTRY("a", "F33", "[2]", "[0,8]") "}", 8, "\"dtype\""},
        {"{" ENTRY("a", "F32", "[-2]", "[0,8]") "}", 8, "from 0 up"},
        {"{" ENTRY("a", "F32", "[2.0]", "[0,8]") "}", 8, "from 0 up"},
        {"{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", 8, "at most 8"},
        {"{" ENTRY("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "larger than any file"},
        {"{" ENTRY("a", "F32", "[2]", "[8,0]") "}", 8, "do not lie within"},
        {"{" ENTRY("a", "F32", "[2]", "[-8,0]") "}", 8, "do not lie within"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8,8]") "}", 8, "two whole numbers"},
        {"{" ENTRY("a", "F32", "[2]", "[0,99999999999999999999]") "}", 8, "too big"},
        {"{" ENTRY("\\u001b[2J", "F32", "[3]", "[0,8]") "}", 8, "\"?[2J\""},
        {"{\"a\":7}", 0, "\"dtype\""},
        {"[]", 0, "no JSON object"},
        {"{", 0, "expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_model("refused", cases[i].header, data, cases[i].size);
        expect_refusal("refused", cases[i].words);
    }
    char *path = place("refused");
    write_file(path, "1234567", 7);
    expect_refusal("refused", "too short");
    write_file(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_refusal("refused", "no safetensors file");
    memory_free(path);
    expect_refusal("nothing", "there is no file");
    write_model("empty", "{}", data, 0);
    write_model("zeros", "{" ENTRY("a", "F32", "[0]", "[0,0]") "," ENTRY("b", "F32", "[4,0,1]", "[0,0]") "}", data, 0);
    error err;
    safetensors *s = open_model("empty", &err), *z = open_model("zeros", &err);
    assert_true(s && z);
    safetensors_close(s);
    safetensors_close(z);
}

static void test_index(void **state) {
    (void)state;
    static const float data[] = {1, 2, 3};
    char *index = place("model.safetensors.index.json"), *pickled = place("pytorch_model.bin");
    error err;
    expect_refusal("", "neither model.safetensors nor its index");
    write_file(pickled, "PK", 2);
    expect_refusal("", "only PyTorch can read");
    write_model("one", "{" ENTRY("a", "F32", "[2]", "[0,8]") "}", data, 8);
    write_model("two", "{" ENTRY("b", "F32", "[1]", "[0,4]") "}", data + 2, 4);
    const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"weight_map\": {\"a\": \"one\", \"b\": \"../two\"}}", "leads out of the folder"},
        {"{\"weight_map\": {\"a\": \".one\"}}", "leads out of the folder"},
        {"{\"weight_map\": {\"a\": \"below/one\"}}", "leads out of the folder"},
        {"{\"weight_map\": {\"a\": \"three\"}}", "there is no file"},
        {"{\"weight_map\": {\"a\": \"two\"}}", "\"a\" is not in two"},
        {"{\"weight_map\": {\"a\": 1}}", "\"a\" has no file name"},
        {"{\"weight_map\": {}}", "\"weight_map\" should be"},
        {"[]", "\"weight_map\" should be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(index, cases[i].text, strlen(cases[i].text));
        expect_refusal("", cases[i].words);
    }
    static const char good[] = "{\"metadata\": {}, \"weight_map\": {\"b\": \"two\", \"a\": \"one\"}}";
    write_file(index, good, strlen(good));
    safetensors *s = open_model("", &err);
    assert_non_null(s);
    float value;
    assert_true(safetensors_read(s, safetensors_find(s, "b"), (int64_t[]){0, 0}, (int64_t[]){1, 1}, &value, 1, &err));
    assert_close("value", value, 3, 0);
    safetensors_close(s);
    write_model("two", "{" ENTRY("b", "F32", "[1]", "[0,4]") "," ENTRY("a", "F32", "[1]", "[4,8]") "}", data, 8);
    expect_refusal("", "both have a tensor \"a\"");
    assert_true(file_remove_tree(index, &err) && file_remove_tree(pickled, &err));
    memory_free(index);
    memory_free(pickled);
}

// ---- random damage -------------------------------------------------------------------------------------------------

static void read_everything(const safetensors *s) {
    size_t n;
    const safetensors_tensor *all = safetensors_list(s, &n);
    for (size_t i = 0; i < n; i++) {
        error err;
        int64_t size[2] = {all[i].shape[0], all[i].dimensions == 2 ? all[i].shape[1] : 1};
        if (all[i].dimensions != 1 && all[i].dimensions != 2) continue;
        float values[256];
        assert_true(size[0] * size[1] <= 256);
        safetensors_read(s, &all[i], (int64_t[]){0, 0}, size, values, size[1], &err);
    }
}

static void test_damage(void **state) {
    (void)state;
    static const char header[] =
        "{" ENTRY("bert.embeddings", "F32", "[2,3]", "[0,24]") "," ENTRY("x", "BF16", "[4]", "[24,32]") "," ENTRY(
            "ids", "I64", "[1,1]", "[32,40]") "," ENTRY("h", "F16", "[4]", "[40,48]") "}";
    static const char data[48] = "some numbers";
    char whole[1024], *path = place("mutant");
    uint64_t length = strlen(header);
    memcpy(whole, &length, 8);
    memcpy(whole + 8, header, length);
    memcpy(whole + 8 + length, data, sizeof data);
    int good = 0;
    for (uint64_t round = 0; round < MUTANTS; round++) {
        mutant m = mutant_create(whole, 8 + length + sizeof data, 8 + length, round, 0);
        write_file(path, m.bytes, m.size);
        memory_free(m.bytes);
        error err;
        safetensors *s = open_model("mutant", &err);
        if (s) {
            good++;
            read_everything(s);
        } else {
            assert_true(mutant_told_once(&err));
        }
        safetensors_close(s);
    }
    print_message("             %d of %d mutants could still be read\n", good, MUTANTS);
    assert_true(good > 0 && good < MUTANTS / 2);
    memory_free(path);
}

static int setup(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    error err;
    bool good = file_remove_tree(folder, &err);
    memory_free(folder);
    return good ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types), cmocka_unit_test(test_long_rows),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_index), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
