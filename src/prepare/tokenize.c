// paf tokenize: which files there are, who takes which, and the steps of making shards, with all ranks in step.
#include "prepare/prepare.h"

#include <stddef.h>
#include <string.h>

#define TOKENIZE(key, type, field, ...)                                                                                \
    { "tokenize." key, type, offsetof(tokenize_settings, field), __VA_ARGS__ }
const option tokenize_options[] = {
    TOKENIZE("input", OPTION_STRING, input, "", .help = "text files or folders of them: PATH[,PATH...]"),
    TOKENIZE("output", OPTION_STRING, output, "tokens", .help = "folder to write"),
    TOKENIZE("vocab", OPTION_STRING, vocab, "",
             .help = "BERT's vocab.txt, one piece a line; or RoBERTa's vocab.json with merges.txt beside it, or the "
                     "folder of both"),
    TOKENIZE("lower_case", OPTION_BOOL, lower_case, "on",
             .help = "with a vocab.txt: lower-case the text and drop accents, as BERT uncased does"),
    TOKENIZE(
        "documents", OPTION_CHOICE, documents, "auto", .words = document_form_words,
        .help =
            "one a file, between blank lines, or <doc ...> to </doc>; auto: doc where a file begins so, else blank"),
    TOKENIZE("heldout", OPTION_DOUBLE, heldout, "0.1", .high = 0.99,
             .help = "share of the documents, chosen by their text, that is held out; 0: none"),
    TOKENIZE("tokens_per_shard", OPTION_INT, tokens_per_shard, "16777216", .low = 1, .high = 1e9,
             .help = "a shard that has as many is full; documents are not divided"),
    {0},
};

// ---- files ---------------------------------------------------------------------------------------------------------

// What was made of a text is no text.
static bool check_output(const file_set *t, const char *output, error *err) {
    size_t length = strlen(output);
    for (size_t i = 0; i < t->n; i++)
        if (!strncmp(t->paths[i], output, length) && t->paths[i][length] == '/')
            return error_set(err, ERROR_INPUT, "%s is in the output folder; name another one, outside the text",
                             t->paths[i]);
    return true;
}

// Every rank has looked for itself. Had one found other files, text would be missing or be there twice.
static bool check_same_files(const file_set *t, comm *c, error *err) {
    size_t size = 0, at = 0;
    for (size_t i = 0; i < t->n; i++) size += strlen(t->paths[i]) + 24;
    char *text = memory_allocate(size + 1, 1), mine[CHECKSUM_SIZE], first[CHECKSUM_SIZE];
    for (size_t i = 0; i < t->n; i++)
        at += (size_t)sprintf(text + at, "%s %lld\n", t->paths[i], (long long)t->sizes[i]);
    checksum_bytes(mine, text, at);
    memory_free(text);
    memcpy(first, mine, sizeof first);
    comm_broadcast(c, first, sizeof first, 0);
    if (strcmp(mine, first))
        error_set(err, ERROR_INPUT, "rank %d sees other files than rank 0: the text must be where all ranks see it",
                  comm_rank(c));
    return comm_agree(c, err);
}

// The files of a rank follow each other: those whose middle, by bytes, lies in its part of the whole.
static size_t first_file_of(const file_set *t, int rank, int ranks) {
    int64_t before = 0;
    size_t i = 0;
    for (; i < t->n; i++) {
        double middle = (double)before + (double)t->sizes[i] / 2;
        if (middle * ranks >= (double)t->bytes * rank) break;
        before += t->sizes[i];
    }
    return rank == ranks ? t->n : i;
}

// ---- what is said --------------------------------------------------------------------------------------------------

static void show_progress(int64_t done, int64_t wanted) {
    log_progress("%lld of %lld MB of this rank's text", (long long)(done / 1000000), (long long)(wanted / 1000000));
}

static void report(const tokenize_settings *settings, const file_set *t, const shards_counts counts[SHARDS_SPLITS],
                   double seconds) {
    int64_t replaced = 0;
    for (int split = 0; split < SHARDS_SPLITS; split++) {
        const shards_counts *k = &counts[split];
        replaced += k->replaced;
        if (k->shards > 0)
            log_info("%s/%s: %lld documents, %lld lines, %lld tokens in %lld shard%s", settings->output,
                     shards_split_names[split], (long long)k->documents, (long long)k->lines, (long long)k->tokens,
                     (long long)k->shards, k->shards == 1 ? "" : "s");
    }
    if (replaced > 0) log_warn("%lld place%s of invalid UTF-8 replaced", (long long)replaced, replaced == 1 ? "" : "s");
    char time[TIME_TEXT_SIZE];
    time_format(time, seconds);
    log_info("%zu files, %.1f MB in %s (%.1f MB/s)", t->n, (double)t->bytes / 1e6, time,
             (double)t->bytes / 1e6 / (seconds > 0 ? seconds : 1));
}

// ---- all ranks -----------------------------------------------------------------------------------------------------

static bool make_shards(comm *c, const shards_job *job, const file_set *t, shards_counts counts[SHARDS_SPLITS],
                        error *err) {
    int rank = comm_rank(c), ranks = comm_size(c);
    size_t first = first_file_of(t, rank, ranks), end = first_file_of(t, rank + 1, ranks);
    shards_spool(job, t->paths + first, end - first, rank == 0 ? show_progress : NULL, err);
    if (!comm_agree(c, err)) return false;
    char *account = shards_write(job, err);
    if (comm_agree(c, err)) {
        char **accounts = comm_gather_texts(c, account);
        if (rank == 0) shards_commit(job, accounts, counts, err);
        for (int r = 0; r < ranks; r++) memory_free(accounts[r]);
        memory_free(accounts);
    }
    memory_free(account);
    return comm_agree(c, err);
}

static bool begin_and_make(comm *c, const shards_job *job, const file_set *t, shards_counts counts[SHARDS_SPLITS],
                           error *err) {
    bool root = comm_rank(c) == 0;
    if (root) shards_begin(job, err);
    if (!comm_agree(c, err)) return false;
    bool good = make_shards(c, job, t, counts, err);
    if (!good && root) shards_abandon(job);
    comm_barrier(c); // no rank goes on before it is gone
    return good;
}

static bool read_job(shards_job *job, char *output, const tokenize_settings *settings, bool any_paths, error *err) {
    if (!*settings->input && !any_paths)
        return error_set(err, ERROR_INPUT, "no text to read: name files or folders, --tokenize.input=PATH[,PATH...]");
    size_t length = strlen(strcpy(output, settings->output));
    while (length > 1 && output[length - 1] == '/') output[--length] = 0;
    if (!*output) return error_set(err, ERROR_INPUT, "tokenize.output is not set: name the folder to write");
    if (!*settings->vocab)
        return error_set(err, ERROR_INPUT,
                         "tokenize.vocab is not set: name a vocab.txt, or a folder with vocab.json and merges.txt");
    *job = (shards_job){.output = output, .heldout = settings->heldout, .tokens_per_shard = settings->tokens_per_shard};
    job->form = settings->documents;
    return true;
}

bool prepare_tokens(comm *c, const tokenize_settings *settings, char *const *paths, size_t n, error *err) {
    double begun = time_now();
    char output[OPTION_STRING_SIZE];
    shards_job job = {0};
    shards_counts counts[SHARDS_SPLITS] = {{0}};
    file_set files = {0};
    tokenizer *tok = NULL;
    error_clear(err);
    bool good = read_job(&job, output, settings, n > 0, err) &&
                file_set_create(&files, settings->input, paths, n, err) && check_output(&files, output, err) &&
                (tok = tokenizer_load(settings->vocab, settings->lower_case, err));
    good = comm_agree(c, err) && good && check_same_files(&files, c, err);
    job.rank = comm_rank(c);
    job.ranks = comm_size(c);
    job.tok = tok;
    good = good && begin_and_make(c, &job, &files, counts, err);
    if (good) {
        comm_broadcast(c, counts, sizeof counts, 0);
        report(settings, &files, counts, time_now() - begun);
    }
    tokenizer_destroy(tok);
    file_set_destroy(&files);
    return good;
}
