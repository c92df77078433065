// Text to words, as BERT's own clean-up does it, character by character:
//
//     bytes -> characters -> clean (drop controls, white space to a space) -> space around CJK ideographs
//           -> [uncased: canonical decomposition, nonspacing marks dropped, lower case] -> split at spaces and
//           punctuation
//
// Characters are utf8proc's, except where the tables that BERT's vocabulary is used with are older or newer than its:
// those ranges are in unicode_exceptions.h.
#include "tokenizer/internal.h"
#include "tokenizer/unicode_exceptions.h"

#include <string.h>
#include <utf8proc.h>

// ---- UTF-8

size_t unicode_decode(int32_t *c, const char *text, size_t size) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned char first = s[0];
    if (first < 0x80) return *c = first, 1;
    size_t more = first < 0xC2 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
    // The second byte's range rules out overlong forms, surrogates and what is above U+10FFFF.
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    int32_t value = first & (0x3F >> more);
    *c = -1;
    for (size_t i = 1; i <= more; i++) {
        if (i == size || s[i] < low || s[i] > high) return i;
        value = value << 6 | (s[i] & 0x3F);
        low = 0x80, high = 0xBF;
    }
    if (more > 0) *c = value;
    return more + 1;
}

// ---- what a character is

typedef enum {
    CLASS_LETTER,
    CLASS_SPACE,
    CLASS_DROPPED,
    CLASS_PUNCTUATION
} character_class; // a letter is all the rest

static const unsigned char ascii_class[128] = {
    [0 ... 8] = CLASS_DROPPED,
    ['\t'] = CLASS_SPACE,
    ['\n'] = CLASS_SPACE,
    [11 ... 12] = CLASS_DROPPED,
    ['\r'] = CLASS_SPACE,
    [14 ... 31] = CLASS_DROPPED,
    [' '] = CLASS_SPACE,
    ['!' ... '/'] = CLASS_PUNCTUATION,
    [':' ... '@'] = CLASS_PUNCTUATION,
    ['[' ... '`'] = CLASS_PUNCTUATION,
    ['{' ... '~'] = CLASS_PUNCTUATION,
    [127] = CLASS_DROPPED,
};

static const unicode_exception *find_exception(int32_t c) {
    size_t low = 0, high = sizeof unicode_exceptions / sizeof *unicode_exceptions;
    if (c < unicode_exceptions[0].first) return NULL;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > unicode_exceptions[middle].last)
            low = middle + 1;
        else if (c < unicode_exceptions[middle].first)
            high = middle;
        else
            return &unicode_exceptions[middle];
    }
    return NULL;
}

static character_class class_of(int32_t c) {
    if (c < 128) return ascii_class[c];
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        return CLASS_DROPPED;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return CLASS_SPACE;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return CLASS_PUNCTUATION;
    default:
        return c == 0xFFFD ? CLASS_DROPPED : CLASS_LETTER;
    }
}

static bool is_white_space(int32_t c) {
    if ((c >= '\t' && c <= '\r') || c == 0x85) return true;
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

size_t unicode_trim(const char *text, size_t size) {
    while (size > 0) {
        size_t start = size - 1;
        while (start > 0 && size - start < 4 && ((unsigned char)text[start] & 0xC0) == 0x80) start--;
        int32_t c;
        if (start + unicode_decode(&c, text + start, size - start) != size || c < 0 || !is_white_space(c)) break;
        size = start;
    }
    return size;
}

// The blocks that BERT puts spaces around. 2B920 is what the reference has; the block itself begins at 2B820.
static bool is_ideograph(int32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

// ---- the word being put together

#define RUN_SIZE (WORD_CHARACTERS + 1) // one more makes the word too long in any case

typedef struct {
    bool lower_case;
    word_function *take;
    void *context;
    char word[WORD_BYTES];
    size_t size;
    int64_t characters; // counts on behind WORD_CHARACTERS, though nothing more is stored
    // Marks with a combining class, in canonical order, until the next character without one ends their run. Nonspacing
    // marks never come here: they are dropped, and what is left of a run keeps its order.
    int32_t run[RUN_SIZE];
    int16_t run_class[RUN_SIZE];
    int run_size;
} splitter;

static void end_word(splitter *s) {
    if (s->characters > 0) s->take(s->context, s->word, s->size, s->characters > WORD_CHARACTERS);
    s->size = 0;
    s->characters = 0;
}

static void put_letter(splitter *s, int32_t c) {
    if (++s->characters > WORD_CHARACTERS) return;
    if (c < 128)
        s->word[s->size++] = (char)c;
    else
        s->size += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)s->word + s->size);
}

static void put_punctuation(splitter *s, int32_t c) {
    end_word(s);
    put_letter(s, c);
    end_word(s);
}

static void end_run(splitter *s) {
    for (int i = 0; i < s->run_size; i++) put_letter(s, s->run[i]);
    s->run_size = 0;
}

static void add_to_run(splitter *s, int32_t c, int16_t combining) {
    if (s->run_size == RUN_SIZE) return;
    int i = s->run_size++;
    for (; i > 0 && s->run_class[i - 1] > combining; i--) {
        s->run[i] = s->run[i - 1];
        s->run_class[i] = s->run_class[i - 1];
    }
    s->run[i] = c;
    s->run_class[i] = combining;
}

// One character of a canonical decomposition.
static void add_part(splitter *s, int32_t c) {
    const utf8proc_property_t *property = utf8proc_get_property(c);
    if (property->combining_class == 0) end_run(s);
    if (property->category == UTF8PROC_CATEGORY_MN) return;
    if (property->combining_class != 0)
        add_to_run(s, c, property->combining_class);
    else if (class_of(c) == CLASS_PUNCTUATION)
        put_punctuation(s, c);
    else
        put_letter(s, utf8proc_tolower(c));
}

static void add_decomposed(splitter *s, int32_t c) {
    utf8proc_int32_t parts[32]; // canonical decompositions have four characters at most
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    REQUIRE(n >= 0 && n <= 32);
    for (utf8proc_ssize_t i = 0; i < n; i++) add_part(s, parts[i]);
}

static void add_exception(splitter *s, int32_t c, const unicode_exception *exception) {
    if (s->lower_case && exception->kind == EXCEPTION_MARK) return;
    if (s->lower_case && exception->kind == EXCEPTION_KEPT_MARK) {
        add_to_run(s, c, utf8proc_get_property(c)->combining_class);
        return;
    }
    end_run(s);
    if (exception->kind == EXCEPTION_PUNCTUATION)
        put_punctuation(s, c);
    else
        put_letter(s, s->lower_case ? c + exception->to_lower : c);
}

static void add_character(splitter *s, int32_t c) {
    const unicode_exception *exception = find_exception(c);
    if (exception) {
        add_exception(s, c, exception);
        return;
    }
    switch (class_of(c)) {
    case CLASS_DROPPED:
        return;
    case CLASS_SPACE:
        end_run(s);
        end_word(s);
        return;
    case CLASS_PUNCTUATION:
    case CLASS_LETTER:
        break;
    }
    bool ideograph = is_ideograph(c);
    if (ideograph) {
        end_run(s);
        end_word(s);
    }
    if (s->lower_case)
        add_decomposed(s, c);
    else if (class_of(c) == CLASS_PUNCTUATION)
        put_punctuation(s, c);
    else
        put_letter(s, c);
    if (ideograph) end_word(s);
}

// The same for ASCII, which most text is.
static inline void add_ascii(splitter *s, unsigned char c) {
    character_class kind = ascii_class[c];
    if (kind == CLASS_DROPPED) return;
    if (s->run_size > 0) end_run(s);
    if (kind == CLASS_LETTER)
        put_letter(s, s->lower_case && c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    else if (kind == CLASS_SPACE)
        end_word(s);
    else
        put_punctuation(s, c);
}

int64_t words_split(const char *text, size_t size, bool lower_case, word_function *take, void *context) {
    splitter s;
    s.lower_case = lower_case;
    s.take = take;
    s.context = context;
    s.size = 0;
    s.characters = 0;
    s.run_size = 0;
    int64_t replaced = 0;
    for (size_t at = 0; at < size;) {
        if ((unsigned char)text[at] < 128) {
            add_ascii(&s, (unsigned char)text[at++]);
            continue;
        }
        int32_t c;
        at += unicode_decode(&c, text + at, size - at);
        if (c < 0)
            replaced++; // U+FFFD stands here, and is dropped at once
        else
            add_character(&s, c);
    }
    end_run(&s);
    end_word(&s);
    return replaced;
}
