// The other side of tests/compare/tokens.py: reads texts from standard input and writes a line for each.
//
//     tokens ids VOCAB uncased|cased     the ids of its pieces; VOCAB is what tokenizer_load takes
//     tokens words uncased|cased         its words, before they are cut into pieces
//     tokens words bytes                 the sizes of its words as RoBERTa has them
//     tokens time VOCAB uncased|cased    all texts, then MB/s of encoding them, in one line
//
// A text is its size in bytes, a newline, the bytes, a newline.
#include "tokenizer/internal.h"

#include <string.h>

typedef struct {
    char *bytes;
    size_t size, capacity;
} text;

static bool read_text(text *t) {
    if (scanf("%zu", &t->size) != 1) return false;
    if (getchar() != '\n') FATAL("a size without a newline");
    if (t->size > t->capacity) t->bytes = memory_resize(t->bytes, t->capacity = 2 * t->size, 1);
    if (fread(t->bytes, 1, t->size, stdin) != t->size) FATAL("a text that is cut short");
    return true;
}

static void print_word(void *context, const char *word, size_t size, bool too_long) {
    (void)context;
    printf("%.*s%s ", (int)size, word, too_long ? "..." : "");
}

static void print_words(text *t, bool lower_case) {
    while (read_text(t)) {
        words_split(t->bytes, t->size, lower_case, print_word, NULL);
        putchar('\n');
    }
}

static void print_size(void *context, const char *word, size_t size, bool too_long) {
    (void)context, (void)word, (void)too_long;
    printf("%zu ", size);
}

static void print_sizes(text *t) {
    byte_splitter *splitter = byte_splitter_create();
    while (read_text(t)) {
        byte_split(splitter, t->bytes, t->size, print_size, NULL);
        putchar('\n');
    }
    byte_splitter_destroy(splitter);
}

static void print_ids(text *t, const tokenizer *tokens) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    for (; read_text(t); n = 0) {
        tokenizer_encode(tokens, t->bytes, t->size, &ids, &n, &capacity, NULL);
        for (size_t i = 0; i < n; i++) printf("%d ", ids[i]);
        putchar('\n');
    }
    memory_free(ids);
}

static void print_speed(text *t, const tokenizer *tokens) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0, bytes = 0, pieces = 0;
    double seconds = 0;
    for (; read_text(t); n = 0) {
        double begin = time_now();
        pieces += tokenizer_encode(tokens, t->bytes, t->size, &ids, &n, &capacity, NULL);
        seconds += time_now() - begin;
        bytes += t->size;
    }
    printf("%.1f MB, %zu pieces, %.1f MB/s\n", (double)bytes / 1e6, pieces, (double)bytes / 1e6 / seconds);
    memory_free(ids);
}

int main(int argc, char **argv) {
    bool words = argc == 3 && strcmp(argv[1], "words") == 0;
    if (!words && argc != 4) FATAL("usage: tokens words CASING|bytes | tokens ids|time VOCAB CASING");
    bool lower_case = strcmp(argv[argc - 1], "uncased") == 0;
    text t = {0};
    if (words && strcmp(argv[2], "bytes") == 0) {
        print_sizes(&t);
    } else if (words) {
        print_words(&t, lower_case);
    } else {
        error err = {0};
        tokenizer *tokens = tokenizer_load(argv[2], lower_case, &err);
        if (!tokens) FATAL("%s", err.text);
        (strcmp(argv[1], "ids") == 0 ? print_ids : print_speed)(&t, tokens);
        tokenizer_destroy(tokens);
    }
    memory_free(t.bytes);
    return 0;
}
