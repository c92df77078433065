// Reading token shards. tokens.json is read as input from strangers: every name, number and sum in it is checked, and
// what the shards hold is checked as it is read.
#include "data/internal.h"

#include <string.h>

#define OPEN_SHARDS 64 // a process may have some 1000 files open, and sockets count too

#define MAKE_AGAIN "make the shards again with paf tokenize"

json_t *shards_vocabulary(const tokenizer *tok) {
    size_t size;
    const char *text = tokenizer_text(tok, &size);
    char checksum[CHECKSUM_SIZE];
    checksum_bytes(checksum, text, size);
    return json_pack("{s:s, s:I, s:b}", "xxh3_128", checksum, "pieces", (json_int_t)tokenizer_size(tok), "lower_case",
                     tokenizer_lower_case(tok));
}

// ---- tokens.json ---------------------------------------------------------------------------------------------------

// Holds the text against its seal.
static bool check_seal(const char *folder, const char *text, size_t size, error *err) {
    char *path = memory_format("%s/" SHARDS_SEAL, folder), *wanted = checksum_seal(SHARDS_FILE, text, size);
    char *seal = text_read(path, NULL, err);
    bool good = seal && (!strcmp(seal, wanted) ||
                         error_set(err, ERROR_INPUT,
                                   "%s/" SHARDS_FILE " does not match its checksum in %s; " MAKE_AGAIN, folder, path));
    memory_free(seal);
    memory_free(wanted);
    memory_free(path);
    return good;
}

static const char *casing(bool lower_case) { return lower_case ? "lower-cased" : "cased"; }

static bool check_vocabulary(const json_t *theirs, const tokenizer *tok, const char *where, error *err) {
    int64_t pieces;
    const char *checksum;
    if (!json_get_int(theirs, "pieces", &pieces, NULL, where, err) ||
        !json_get_string(theirs, "xxh3_128", &checksum, NULL, where, err))
        return false;
    json_t *ours = shards_vocabulary(tok);
    const char *our_checksum = json_string_value(json_object_get(ours, "xxh3_128"));
    bool lower_case = json_is_true(json_object_get(theirs, "lower_case"));
    bool same =
        !strcmp(checksum, our_checksum) && pieces == tokenizer_size(tok) && lower_case == tokenizer_lower_case(tok);
    if (!same)
        error_set(err, ERROR_INPUT,
                  "%s: the vocabulary is not the shards': they were made with %lld pieces, %s (xxh3-128 %.32s), not "
                  "with %lld, %s (%s)",
                  where, (long long)pieces, casing(lower_case), checksum, (long long)tokenizer_size(tok),
                  casing(tokenizer_lower_case(tok)), our_checksum);
    json_decref(ours);
    return same;
}

static bool check_size(const char *path, int64_t wanted, error *err) {
    int64_t size = file_size(path);
    if (size == wanted) return true;
    if (size < 0) return error_set(err, ERROR_INPUT, "%s is missing; " MAKE_AGAIN, path);
    return error_set(err, ERROR_INPUT, "%s %s: it has %lld bytes, not %lld; " MAKE_AGAIN, path,
                     size < wanted ? "is cut off" : "is not as it was written", (long long)size, (long long)wanted);
}

static bool add_shard(shards *s, const json_t *entry, const char *where, error *err) {
    shard *f = &s->list[s->n];
    const char *name, *checksum;
    int64_t bytes;
    if (!json_get_string(entry, "file", &name, NULL, where, err) ||
        !json_get_string(entry, "xxh3_128", &checksum, NULL, where, err) ||
        !json_get_int(entry, "bytes", &bytes, NULL, where, err) ||
        !json_get_int(entry, "documents", &f->documents, NULL, where, err) ||
        !json_get_int(entry, "lines", &f->lines, NULL, where, err) ||
        !json_get_int(entry, "tokens", &f->tokens, NULL, where, err))
        return false;
    if (!file_is_plain_name(name)) return error_set(err, ERROR_INPUT, "%s: \"file\" is no name of a shard", where);
    // Each document has a line and each line a token; 2^56 of them are more than any disk holds, and cannot overflow.
    // The file has room for them, so that memory for as many can be asked for.
    if (f->documents < 1 || f->lines < f->documents || f->tokens < f->lines || f->tokens > INT64_C(1) << 56 ||
        4 * f->tokens + 8 * (f->lines + 1) + 8 * (f->documents + 1) > bytes || strlen(checksum) + 1 != CHECKSUM_SIZE)
        return error_set(err, ERROR_INPUT, "%s: what it says of %s cannot be", where, name);
    memcpy(f->checksum, checksum, CHECKSUM_SIZE);
    f->first = s->counts.tokens;
    f->path = memory_format("%s/%s", s->path, name);
    s->n++;
    s->counts.shards++;
    s->counts.documents += f->documents;
    s->counts.lines += f->lines;
    s->counts.tokens += f->tokens;
    if (s->counts.tokens > INT64_C(1) << 56) return error_set(err, ERROR_INPUT, "%s: too many tokens", where);
    return check_size(f->path, bytes, err);
}

static bool read_manifest(shards *s, const json_t *manifest, const tokenizer *tok, const char *where, error *err) {
    const char *format;
    int64_t tokens, documents;
    if (!json_get_string(manifest, "format", &format, "", where, err)) return false;
    if (strcmp(format, SHARDS_FORMAT))
        return error_set(err, ERROR_INPUT, "%s is not of the format " SHARDS_FORMAT, where);
    if (!json_check_version(manifest, SHARDS_VERSION, where, err) ||
        !check_vocabulary(json_object_get(manifest, "vocabulary"), tok, where, err) ||
        !json_get_int(manifest, "documents", &documents, NULL, where, err) ||
        !json_get_int(manifest, "tokens", &tokens, NULL, where, err) ||
        !json_get_int(manifest, "replaced", &s->counts.replaced, NULL, where, err))
        return false;
    const json_t *list = json_object_get(manifest, "shards");
    if (json_array_size(list) == 0) return error_set(err, ERROR_INPUT, "%s lists no shards", where);
    s->list = memory_allocate(json_array_size(list), sizeof *s->list);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!add_shard(s, json_array_get(list, i), where, err)) return false;
    if (s->counts.tokens != tokens || s->counts.documents != documents)
        return error_set(err, ERROR_INPUT, "%s: its sums are not those of its shards", where);
    return true;
}

bool shards_open(shards *s, const char *path, const tokenizer *tok, error *err) {
    *s = (shards){.path = memory_string(path), .pieces = tokenizer_size(tok)};
    char *where = memory_format("%s/" SHARDS_FILE, path);
    size_t size;
    char *text = text_read(where, &size, err);
    if (text) checksum_bytes(s->checksum, text, size);
    json_t *manifest = text && check_seal(path, text, size, err) ? json_parse(text, size, where, err) : NULL;
    bool good = manifest && read_manifest(s, manifest, tok, where, err);
    json_decref(manifest);
    memory_free(text);
    memory_free(where);
    if (!good) shards_close(s);
    return good;
}

void shards_close(shards *s) {
    for (int64_t i = 0; i < s->n; i++) {
        if (s->list[i].file) h5_close(s->list[i].file, &(error){0});
        memory_free(s->list[i].path);
    }
    memory_free(s->list);
    memory_free(s->path);
    *s = (shards){0};
}

bool shards_verify(const shards *s, int64_t part, int64_t parts, error *err) {
    REQUIRE(part >= 0 && part < parts);
    char checksum[CHECKSUM_SIZE];
    for (int64_t i = part; i < s->n; i += parts) {
        if (!checksum_file(checksum, s->list[i].path, err)) return false;
        if (strcmp(checksum, s->list[i].checksum))
            return error_set(err, ERROR_INPUT, "%s does not match its checksum; " MAKE_AGAIN, s->list[i].path);
    }
    return true;
}

// ---- tokens --------------------------------------------------------------------------------------------------------

// Closes the file that has not been read for longest.
static bool close_oldest(shards *s, error *err) {
    shard *oldest = NULL;
    for (int64_t i = 0; i < s->n; i++)
        if (s->list[i].file && (!oldest || s->list[i].used < oldest->used)) oldest = &s->list[i];
    h5_file *file = oldest->file;
    oldest->file = NULL;
    s->open--;
    return h5_close(file, err);
}

static bool ensure_open(shards *s, shard *f, error *err) {
    f->used = ++s->clock;
    if (f->file) return true;
    if (s->open >= OPEN_SHARDS && !close_oldest(s, err)) return false;
    if (!(f->file = h5_open(f->path, err))) return false;
    s->open++;
    return true;
}

// The shard that holds this token.
static shard *shard_of(const shards *s, int64_t token) {
    int64_t low = 0, high = s->n; // list[low] begins at or before the token, list[high] behind it
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(s->list[middle].first <= token ? &low : &high) = middle;
    }
    return &s->list[low];
}

static bool check_ids(const shards *s, const shard *f, const int32_t *ids, int64_t n, error *err) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->pieces)
            return error_set(err, ERROR_INPUT, "%s holds the id %d, which no piece of the vocabulary has; " MAKE_AGAIN,
                             f->path, ids[i]);
    return true;
}

bool shards_read(shards *s, int64_t first, int64_t n, int32_t *ids, error *err) {
    REQUIRE(first >= 0 && n >= 0 && first <= s->counts.tokens - n);
    while (n > 0) {
        shard *f = shard_of(s, first);
        int64_t at = first - f->first, count = f->tokens - at < n ? f->tokens - at : n;
        if (!ensure_open(s, f, err) ||
            !h5_read(f->file, "ids", H5_INT32, (int64_t[]){at, 0}, (int64_t[]){count, 1}, ids, 1, err) ||
            !check_ids(s, f, ids, count, err))
            return false;
        first += count;
        ids += count;
        n -= count;
    }
    return true;
}

// ---- boundaries ----------------------------------------------------------------------------------------------------

// Starts [n + 1] of n things that divide 0 .. end among them, none empty.
static int64_t *read_starts(const shard *f, const char *name, int64_t n, int64_t end, error *err) {
    int64_t *starts = memory_allocate((size_t)n + 1, sizeof *starts);
    bool good = h5_read(f->file, name, H5_INT64, (int64_t[]){0, 0}, (int64_t[]){n + 1, 1}, starts, 1, err);
    bool sound = good && starts[0] == 0 && starts[n] == end;
    for (int64_t i = 0; sound && i < n; i++) sound = starts[i] < starts[i + 1];
    if (good && !sound)
        error_set(err, ERROR_INPUT, "%s: \"%s\" are no boundaries of %lld parts; " MAKE_AGAIN, f->path, name,
                  (long long)n);
    if (sound) return starts;
    memory_free(starts);
    return NULL;
}

bool shards_read_boundaries(shards *s, int64_t i, int64_t **lines, int64_t **documents, error *err) {
    REQUIRE(i >= 0 && i < s->n);
    shard *f = &s->list[i];
    *lines = *documents = NULL;
    if (!ensure_open(s, f, err) || !(*lines = read_starts(f, "lines", f->lines, f->tokens, err))) return false;
    if ((*documents = read_starts(f, "documents", f->documents, f->lines, err))) return true;
    memory_free(*lines);
    *lines = NULL;
    return false;
}
