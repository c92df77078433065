// Vocabularies from text: WordPiece or byte-level BPE.
#include "prepare/prepare.h"

#include <stddef.h>

#define FIELD(name) offsetof(vocab_settings, name)
const option vocab_options[] = {
    {"vocab.kind", OPTION_CHOICE, FIELD(kind), "wordpiece", .words = OPTION_WORDS("wordpiece", "bpe"),
     .help = "wordpiece: BERT's; bpe: RoBERTa's, of bytes"},
    {"vocab.input", OPTION_STRING, FIELD(input), "", .help = "text files or folders of them: PATH[,PATH...]"},
    {"vocab.output", OPTION_STRING, FIELD(output), "",
     .help = "file to write (vocab.txt if not set), or with bpe the folder (vocab)"},
    {"vocab.size", OPTION_INT, FIELD(size), "8000", .low = 1, .high = 1e8, .help = "pieces, special ones included"},
    {"vocab.lower_case", OPTION_BOOL, FIELD(lower_case), "on", .help = "wordpiece: lower-case, and drop accents"},
    {"vocab.min_frequency", OPTION_INT, FIELD(min_frequency), "2", .low = 1, .high = 1e15,
     .help = "a rarer pair is not merged"},
    {"vocab.alphabet", OPTION_INT, FIELD(alphabet), "1000", .low = 1, .high = 1e7,
     .help = "wordpiece: characters kept, the most frequent first"},
    {0},
};

typedef struct {
    vocabulary_counter *counter;
    int64_t replaced;
    double begin; // time_now at the start
} corpus;

// ---- reading

static bool count_file(corpus *c, const file_set *files, size_t i, error *err) {
    size_t size, at = 0, length;
    char *text = text_read(files->paths[i], &size, err);
    if (!text) return false;
    const char *line;
    while (text_next_line(text, size, &at, &line, &length))
        if (!document_begins(line, length) && !document_ends(line, length))
            c->replaced += vocabulary_count(c->counter, line, length);
    memory_free(text);
    log_progress("%zu of %zu files, %lld words", i + 1, files->n, (long long)vocabulary_words(c->counter));
    return true;
}

// ---- training

static void show_progress(int64_t done, int64_t wanted) {
    log_progress("%lld of %lld pieces", (long long)done, (long long)wanted);
}

// WordPiece's one file is the output; BPE's two go into it.
static bool write_files(const char *output, const tokenizer_files *files, error *err) {
    if (files->n == 1) return file_write_atomic(output, files->file[0].text, files->file[0].size, err);
    bool good = file_make_folders(output, err);
    for (size_t i = 0; good && i < files->n; i++) {
        char *path = memory_format("%s/%s", output, files->file[i].name);
        good = file_write_atomic(path, files->file[i].text, files->file[i].size, err);
        memory_free(path);
    }
    return good;
}

static bool train(const corpus *c, const vocab_settings *settings, const char *output, error *err) {
    vocabulary_settings wanted = {.size = settings->size,
                                  .min_frequency = settings->min_frequency,
                                  .alphabet = settings->alphabet,
                                  .lower_case = settings->lower_case};
    tokenizer_files files = {0};
    int64_t pieces = vocabulary_train(c->counter, &wanted, &files, show_progress, err);
    bool good = pieces > 0 && write_files(output, &files, err);
    tokenizer_files_free(&files);
    if (!good) return false;
    if (c->replaced > 0) log_warn("%lld places of invalid UTF-8 were read as U+FFFD", (long long)c->replaced);
    if (pieces < settings->size)
        log_warn("the text has no more pairs that occur %lld times: %lld pieces instead of %lld",
                 (long long)settings->min_frequency, (long long)pieces, (long long)settings->size);
    char seconds[TIME_TEXT_SIZE];
    time_format(seconds, time_now() - c->begin);
    log_info("%s: %lld pieces from %lld words, %lld of them distinct, in %s", output, (long long)pieces,
             (long long)vocabulary_words(c->counter), (long long)vocabulary_distinct_words(c->counter), seconds);
    return true;
}

static bool check(const vocab_settings *settings, bool bpe, size_t n_paths, error *err) {
    static const char *const for_wordpiece[] = {"vocab.lower_case", "vocab.alphabet"};
    if (!settings->input[0] && n_paths == 0)
        return error_set(err, ERROR_INPUT,
                         "no text to train from: name files or folders, --vocab.input=PATH[,PATH...]");
    for (size_t i = 0; i < sizeof for_wordpiece / sizeof *for_wordpiece; i++)
        if (bpe && option_is_set(for_wordpiece[i]))
            return error_set(err, ERROR_INPUT, "%s is for --vocab.kind=wordpiece: bpe keeps every byte as it is",
                             for_wordpiece[i]);
    return true;
}

bool prepare_vocabulary(const vocab_settings *settings, char *const *paths, size_t n, error *err) {
    bool bpe = settings->kind == TOKENIZER_BPE;
    if (!check(settings, bpe, n, err)) return false;
    const char *output = settings->output[0] ? settings->output : bpe ? "vocab" : "vocab.txt";
    corpus c = {.counter = vocabulary_counter_create(settings->kind, settings->lower_case), .begin = time_now()};
    file_set files;
    bool good = file_set_create(&files, settings->input, paths, n, err);
    for (size_t i = 0; good && i < files.n; i++) good = count_file(&c, &files, i, err);
    file_set_destroy(&files);
    good = good && train(&c, settings, output, err);
    vocabulary_counter_destroy(c.counter);
    return good;
}
