// JSON over jansson. A key that comes twice is refused: two readers would disagree about which one counts.
#include "storage/storage.h"

#include <string.h>

json_t *json_read(const char *path, error *err) {
    size_t size;
    char *text = text_read(path, &size, err);
    if (!text) return NULL;
    json_t *value = json_parse(text, size, path, err);
    memory_free(text);
    return value;
}

json_t *json_read_foreign(const char *path, error *err) {
    if (file_size(path) <= JSON_FOREIGN_MOST) return json_read(path, err);
    error_set(err, ERROR_INPUT, "%s has more than %lld MB, which no such file needs", path,
              (long long)(JSON_FOREIGN_MOST >> 20));
    return NULL;
}

json_t *json_parse(const char *text, size_t size, const char *where, error *err) {
    json_error_t reason;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &reason);
    if (!value) error_set(err, ERROR_INPUT, "%s:%d: %s", where, reason.line > 0 ? reason.line : 1, reason.text);
    return value;
}

char *json_format(const json_t *value, bool indented, size_t *size) {
    size_t flags = JSON_REAL_PRECISION(17) | (indented ? JSON_INDENT(2) : JSON_COMPACT);
    size_t length = json_dumpb(value, NULL, 0, flags);
    if (length == 0) FATAL("a value that is no JSON was to be written");
    char *text = memory_allocate(length + 2, 1);
    json_dumpb(value, text, length, flags);
    if (indented) text[length++] = '\n';
    if (size) *size = length;
    return text;
}

bool json_write(const char *path, const json_t *value, error *err) {
    size_t size;
    char *text = json_format(value, true, &size);
    bool good = file_write_atomic(path, text, size, err);
    memory_free(text);
    return good;
}

// ---- members ------------------------------------------------------------------------------------------------------

static bool wrong(const char *key, const char *wanted, const char *where, error *err) {
    return error_set(err, ERROR_INPUT, "%s: \"%s\" should be %s", where, key, wanted);
}

static bool missing(const char *key, const char *where, error *err) {
    return error_set(err, ERROR_INPUT, "%s: \"%s\" is missing", where, key);
}

bool json_get_int(const json_t *object, const char *key, int64_t *value, const int64_t *fallback, const char *where,
                  error *err) {
    const json_t *member = json_object_get(object, key);
    if (!member && !fallback) return missing(key, where, err);
    if (member && !json_is_integer(member)) return wrong(key, "a whole number", where, err);
    *value = member ? (int64_t)json_integer_value(member) : *fallback;
    return true;
}

bool json_check_version(const json_t *object, int64_t newest, const char *where, error *err) {
    int64_t version = 0;
    if (!json_get_int(object, "version", &version, NULL, where, err)) return false;
    if (version < 1)
        return error_set(err, ERROR_INPUT, "%s: \"version\" is %lld, and versions begin at 1", where,
                         (long long)version);
    return version <= newest ||
           error_set(err, ERROR_VERSION,
                     "%s was written by format version %lld; this paf reads up to %lld: use a newer paf", where,
                     (long long)version, (long long)newest);
}

bool json_get_double(const json_t *object, const char *key, double *value, const double *fallback, const char *where,
                     error *err) {
    const json_t *member = json_object_get(object, key);
    if (!member && !fallback) return missing(key, where, err);
    if (member && !json_is_number(member)) return wrong(key, "a number", where, err);
    *value = member ? json_number_value(member) : *fallback;
    return true;
}

bool json_get_string(const json_t *object, const char *key, const char **value, const char *fallback, const char *where,
                     error *err) {
    const json_t *member = json_object_get(object, key);
    if (!member && !fallback) return missing(key, where, err);
    if (member && !json_is_string(member)) return wrong(key, "text", where, err);
    *value = member ? json_string_value(member) : fallback;
    return true;
}
