// Text to words as GPT-2 and RoBERTa have them: nothing is dropped or changed, the text is only cut. And the characters
// that stand for bytes in their vocabularies.
#include "tokenizer/internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

// ---- bytes as characters

// A byte that Latin-1 prints is its own character; the others are, in order, the characters from U+0100 on.
static bool is_printed(int byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD); }

void byte_piece(char out[BYTE_PIECE_SIZE], unsigned char byte) {
    int c = byte;
    if (!is_printed(byte)) {
        c = 0x100;
        for (int other = 0; other < byte; other++) c += !is_printed(other);
    }
    memset(out, 0, BYTE_PIECE_SIZE);
    if (c < 0x80) {
        out[0] = (char)c;
    } else {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
    }
}

// ---- words

// GPT-2's pattern. White space is written out, because that of PCRE2 (10.42) holds U+180E, which has not been white
// space since Unicode 6.3; what it should hold is the separators and these few controls.
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
static const char pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

struct byte_splitter {
    pcre2_code *code;
    pcre2_match_data *match;
    char *clean; // [capacity] the text at hand, if it had to be changed
    size_t capacity;
};

byte_splitter *byte_splitter_create(void) {
    byte_splitter *s = memory_allocate(1, sizeof *s);
    int code;
    PCRE2_SIZE where;
    s->code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED, &code, &where, NULL);
    if (!s->code) FATAL("PCRE2 refuses the pattern at %zu: error %d", where, code);
    pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); // where it cannot, the interpreter does the same
    s->match = pcre2_match_data_create(1, NULL);
    if (!s->match) FATAL("out of memory for PCRE2");
    return s;
}

void byte_splitter_destroy(byte_splitter *s) {
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_code_free(s->code);
    memory_free(s->clean);
    memory_free(s);
}

// Bytes of text before the first that is not UTF-8.
static size_t valid_size(const char *text, size_t size) {
    int32_t c = 0;
    for (size_t at = 0, bytes; at < size; at += bytes) {
        bytes = 1;
        if ((unsigned char)text[at] >= 0x80) bytes = unicode_decode(&c, text + at, size - at);
        if (c < 0) return at;
    }
    return size;
}

// Writes the text with U+FFFD for what is not UTF-8 into s->clean; *size becomes its size. Returns how often.
static int64_t clean(byte_splitter *s, const char *text, size_t *size) {
    int64_t replaced = 0;
    size_t used = 0;
    if (s->capacity < 3 * *size) s->clean = memory_resize(s->clean, s->capacity = 3 * *size, 1);
    for (size_t at = 0; at < *size;) {
        size_t valid = valid_size(text + at, *size - at);
        memcpy(s->clean + used, text + at, valid);
        used += valid;
        at += valid;
        if (at == *size) break;
        int32_t c;
        at += unicode_decode(&c, text + at, *size - at);
        memcpy(s->clean + used, "\xEF\xBF\xBD", 3);
        used += 3;
        replaced++;
    }
    *size = used;
    return replaced;
}

int64_t byte_split(byte_splitter *s, const char *text, size_t size, word_function *take, void *context) {
    int64_t replaced = 0;
    if (valid_size(text, size) < size) {
        replaced = clean(s, text, &size);
        text = s->clean;
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->match);
    for (size_t at = 0; at < size; at = ends[1]) {
        int found = pcre2_match(s->code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, s->match, NULL);
        if (found < 1 || ends[1] <= at) FATAL("PCRE2 finds no word where every character is one: error %d", found);
        take(context, text + at, ends[1] - at, false);
    }
    return replaced;
}
