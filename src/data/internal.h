// What the files of data share among themselves.
#ifndef PAF_DATA_INTERNAL_H
#define PAF_DATA_INTERNAL_H

#include "data/data.h"

// ---- tasks ---------------------------------------------------------------------------------------------------------

// More distinct labels than this are a wrong column, not a task.
#define TASK_LABELS_MAX 10000

extern const char *const task_metric_names[]; // by metric_kind, NULL behind the last

// The metric of this name into *metric; an unknown one is an error that suggests the nearest.
bool task_parse_metric(metric_kind *metric, const char *name, error *err);
// Everything that must hold in a task, wherever it came from. Labels may still be missing.
bool task_check(const task *t, error *err);
// The word of the list that is nearest to `name`. words ends with NULL and is not empty.
const char *task_nearest_word(const char *const *words, const char *name);
bool task_text_is_utf8(const char *text, size_t length);
// Is it valid UTF-8 without control characters?
bool task_text_is_clean(const char *text, size_t length);

// ---- rows of a TSV file --------------------------------------------------------------------------------------------
//
//     [byte order mark] [header line] row* [one empty line]
//
// A row is fields separated by tabs, ended by a newline, a carriage return before it or not. Nothing is quoted.

typedef struct {
    const char *start;
    size_t length;
} field;

typedef struct {
    field text[2]; // the columns of task_columns; empty where there is none
    field label;
} row;

typedef struct {
    const char *path; // borrowed, for messages
    const task_columns *columns;
    char *text;
    size_t size, at;
    int64_t line;    // the one read last, from 1
    int64_t fields;  // a row has this many
    int64_t dropped; // rows left out because they had another number
} row_reader;

typedef enum { ROW_READ, ROW_END, ROW_WRONG } row_status; // ROW_WRONG: err is set

bool row_reader_open(row_reader *r, const char *path, const task_columns *columns, error *err);
// An upper bound of the rows in the file.
int64_t row_reader_bound(const row_reader *r);
row_status row_reader_next(row_reader *r, row *out, error *err);
void row_reader_close(row_reader *r);

// A field as it may stand in a message: what a terminal would not show as text becomes '?', a long one is cut.
#define FIELD_EXCERPT_SIZE 64
const char *field_excerpt(char out[FIELD_EXCERPT_SIZE], field f);

// ---- batches (batch.c) ---------------------------------------------------------------------------------------------

void batch_empty(batch *b, int64_t capacity);
void batch_append(batch *b, int64_t example, int64_t length); // next in sampling order
void micro_batch_empty(micro_batch *m);
// Is there room for item, and is it of the same part as the first one packed?
bool micro_batch_takes(const micro_batch *m, const batch_item *item, const batch_item *first);
// Appends a sequence whose tokens all have type 0; the caller fills its ids [item->length], which are returned.
int32_t *micro_batch_append(micro_batch *m, const batch_item *item);

// ---- documents of text files (corpus.c) ----------------------------------------------------------------------------
//
// A line is what a newline ends, without it and without a carriage return before it. A blank line holds spaces, tabs
// and the like at most. A document's lines are those that are not blank; without any, it is none.

typedef struct {
    char *text; // [size] the lines, each with a newline behind it, whatever the file has there
    size_t size, capacity;
} document;

typedef struct {
    const char *path; // borrowed, for messages
    FILE *file;
    document_form form;
    char *line; // getline's
    size_t line_capacity;
    bool started;
} corpus_reader;

bool corpus_open(corpus_reader *r, const char *path, document_form form, error *err);
// The next document, whose memory is used again; false at the end, and where err is set.
bool corpus_next(corpus_reader *r, document *d, error *err);
void corpus_close(corpus_reader *r);
// Which part of the corpus a document belongs to: held out if the first 32 bits of its text's checksum, as a number,
// are below heldout 2^32. The same text is never on both sides.
shards_split corpus_split(const document *d, double heldout);

// ---- spools (spool.c) ----------------------------------------------------------------------------------------------
//
// What a rank has made of its files, until shards are cut from it, in two files of the machine's own numbers:
//
//     spool/00003.documents    a spool_document each
//     spool/00003.tokens       of each document: int64 tokens of each line [lines], then int32 ids [tokens]

typedef struct {
    int64_t split, lines, tokens, replaced;
} spool_document;

// Goes through the spools of all ranks, in rank order.
typedef struct {
    const shards_job *job;
    int64_t rank;
    FILE *documents, *tokens; // of this rank
    int64_t at, reached;      // bytes of tokens: where the current document begins, and where the file stands
    spool_document current;
} spool_reader;

char *spool_folder(const shards_job *job);
// The next document into current; false at the end, and where err is set.
bool spool_next(spool_reader *r, error *err);
// Its lengths [lines] and ids [tokens]; a document may as well be left unread.
bool spool_read(spool_reader *r, int64_t *lengths, int32_t *ids, error *err);
void spool_close(spool_reader *r);

// ---- the format of token shards (shards.c): checkpoints/TOKENS.md --------------------------------------------------

#define SHARDS_FORMAT "paf-tokens"
#define SHARDS_VERSION 1
#define SHARDS_FILE "tokens.json"
#define SHARDS_SEAL "tokens.xxh3"
#define SHARD_NAME "shard-%05lld.h5"

// {"xxh3_128", "pieces", "lower_case"}; the caller's reference.
json_t *shards_vocabulary(const tokenizer *tok);

#endif
