// What a tokenizer makes of a text, to be read.
#ifndef PAF_TESTS_TOKENIZER_PIECES_H
#define PAF_TESTS_TOKENIZER_PIECES_H

#include "../support.h"

#include "tokenizer/tokenizer.h"

// The pieces of a text, joined by spaces. Caller frees.
static inline char *pieces_of(const tokenizer *t, const char *text, size_t size, int64_t *replaced) {
    int32_t *ids = NULL;
    size_t n = 0, capacity = 0;
    size_t added = tokenizer_encode(t, text, size, &ids, &n, &capacity, replaced);
    assert_int_equal(added, n);
    char *all = memory_string("");
    for (size_t i = 0; i < n; i++) {
        char *longer = memory_format("%s%s%s", all, i ? " " : "", tokenizer_piece(t, ids[i]));
        memory_free(all);
        all = longer;
    }
    memory_free(ids);
    return all;
}

#endif
