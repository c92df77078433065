// base: what every room stands on. Errors and log, memory, random numbers, options, time, text files.
//
// This room knows nothing of MPI, files of ours or models. Nothing here is collective: each call is local to its rank.
#ifndef PAF_BASE_H
#define PAF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PAF_VERSION "0.1.0"

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- errors (error.c) ---------------------------------------------------------------------------------------------
//
// Two kinds of failure, two ways. A programmer's or MPI's failure: FATAL says where and why and ends the world. A
// user's or a file's failure: the function fills `err` and returns false; whoever can, makes all ranks agree on it
// (comm_agree), and one rank prints it once. error_exit_code says what the program ends with.

typedef enum {
    ERROR_NONE = 0,
    ERROR_INTERNAL = 1, // the machine failed us: no memory, disk full, a peer died
    ERROR_INPUT = 2,    // bad usage, configuration or input
    ERROR_DAMAGED = 3,  // a damaged checkpoint
    ERROR_VERSION = 4,  // a file in order, but of a format version that this program does not read
} error_kind;

typedef struct {
    error_kind kind;
    char text[1024]; // what, where, and what to do about it; one line, no full stop needed
} error;

// Fills err and returns false, so that a function can end with `return error_set(&err, ...)`. A text that is too long
// is cut with "...", and control characters in it, which may come from a file, become `?`.
bool error_set(error *err, error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Puts "prefix: " before the text that is already there; returns false.
bool error_prefix(error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
void error_clear(error *err);
// The exit code of the program for this kind: the kind itself, and 2 for ERROR_VERSION.
int error_exit_code(error_kind kind);

#define FATAL(...) fatal_at(__FILE__, __LINE__, __VA_ARGS__)
#define REQUIRE(condition) ((condition) ? (void)0 : fatal_at(__FILE__, __LINE__, "this should hold: %s", #condition))
_Noreturn void fatal_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
// What FATAL calls after it has spoken; the program sets MPI_Abort here. The default is abort().
void fatal_set_handler(void (*handler)(void));

// ---- log (log.c) --------------------------------------------------------------------------------------------------
//
// The root logs, by level, to standard error; what a command is asked for goes to standard output.

typedef enum { LOG_QUIET, LOG_ERROR, LOG_WARN, LOG_INFO } log_level;

void log_set_level(log_level level); // default LOG_INFO
void log_set_root(bool is_root);     // default true; where false, only log_error_any speaks
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error_any(const char *format, ...) __attribute__((format(printf, 1, 2))); // from whichever rank calls it
// A line that the next log line overwrites on a terminal; nothing at all where standard error is a file.
void log_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool log_is_terminal(void);

// ---- memory (memory.c) --------------------------------------------------------------------------------------------

#define MEMORY_ALIGNMENT 64 // a cache line, and the widest vector register

// All of these end the program when memory runs out or the size overflows; none returns NULL, not even for 0 elements.
// Memory comes zeroed, except from memory_resize, whose new part is undefined. Freed with memory_free.
void *memory_allocate(size_t count, size_t size);
void *memory_allocate_aligned(size_t count, size_t size);  // MEMORY_ALIGNMENT
void *memory_resize(void *old, size_t count, size_t size); // old from memory_allocate, or NULL
void memory_free(void *pointer);                           // NULL is nothing
char *memory_string(const char *text);
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Bytes that this machine (or the control group of this container, where it has less) can still give without swapping,
// 0 where it does not say; and the most that this process has had resident so far.
int64_t memory_available(void);
int64_t memory_peak(void);

// Makes room for one more element in an array that doubles: *capacity is in elements.
void *memory_grow(void *array, size_t used, size_t *capacity, size_t size);

// An arena: one block, sized before the first step, handed out piece by piece from its start. Every piece is aligned
// and starts zeroed once; nothing is freed one by one.
//
//     memory                         used         size
//     |  piece 0  |pad| piece 1 |pad|    free      |
typedef struct {
    char *memory;
    size_t size, used;
    const char *name; // for the message when it is too small, which is a programmer's error
} arena;

arena arena_create(const char *name, size_t size);
void *arena_allocate(arena *a, size_t count, size_t size);
void arena_reset(arena *a); // hands everything back, contents stay
void arena_destroy(arena *a);
size_t arena_footprint(size_t count, size_t size); // what arena_allocate(count, size) will take, alignment included

// ---- random numbers (random.c) ------------------------------------------------------------------------------------
//
// Counter-based (Philox4x32-10, Salmon et al., SC 2011): a value is a function of its name, not of what was drawn
// before it, so which rank computes it never changes it. A stream is named by seed, purpose, step and layer; a block
// of four words in it by a row (64 bits: usually a token's global number) and two columns.
//
//     stream key  = first two words of philox(counter = {step low, step high, purpose << 16 | layer, 0}, key = seed)
//     block       = philox(counter = {row low, row high, column, head}, key = stream key)

typedef enum { // part of the checkpoint format: never renumber
    RANDOM_WEIGHTS = 1,
    RANDOM_ORDER = 2,
    RANDOM_DROPOUT_EMBEDDING = 3,
    RANDOM_DROPOUT_ATTENTION = 4, // the branch's output
    RANDOM_DROPOUT_FFN = 5,       // the branch's output
    RANDOM_DROPOUT_PROBABILITIES = 6,
    RANDOM_DROPOUT_HEAD = 7,
    RANDOM_MASKING = 8,
    RANDOM_TEST = 9,
} random_purpose;

typedef struct {
    uint32_t key[2];
} random_stream;

random_stream random_stream_create(uint64_t seed, random_purpose purpose, uint64_t step, uint32_t layer);
void random_block(uint32_t out[4], random_stream stream, uint64_t row, uint32_t column, uint32_t head);
double random_uniform(random_stream stream, uint64_t row, uint32_t column); // [0, 1)
// Two independent standard normals from one block (Box and Muller).
void random_normal_pair(double out[2], random_stream stream, uint64_t row, uint32_t column);
// Element i of a permutation of 0 .. n - 1 that the stream names: a bijection computed index by index (a Feistel
// network walked until it falls inside n), so that an order needs no memory and resumes anywhere. 0 <= i < n.
uint64_t random_permutation(random_stream stream, uint64_t n, uint64_t i);

// ---- INI files (ini.c), over inih ---------------------------------------------------------------------------------

// Called for every key = value, in order; where is "file.ini:12". False, with err filled, ends the reading.
typedef bool (*ini_entry)(void *context, const char *section, const char *key, const char *value, const char *where,
                          error *err);
// A line of more than 199 characters is refused by number (inih would cut it without a word), as is anything that is
// not INI. `#` and `;` begin comments, the latter also behind a value.
bool ini_read(const char *path, ini_entry entry, void *context, error *err);

// ---- options (option.c) -------------------------------------------------------------------------------------------
//
// Every option of the program is a row of its room's table. A room owns a plain struct of settings and the rows that
// describe it; the program joins the rooms' tables, reads the file first, then the command line, and hands the filled
// structs on. Strings are held in the struct as char arrays, so that a settings struct is a value that can be copied.

typedef enum { OPTION_BOOL, OPTION_INT, OPTION_UINT64, OPTION_DOUBLE, OPTION_STRING, OPTION_CHOICE } option_type;

#define OPTION_STRING_SIZE 256 // every OPTION_STRING field is char[OPTION_STRING_SIZE]

// OPTION_BOOL is a bool, on the command line on/off, true/false, yes/no, 1/0, or the bare --key; OPTION_INT is an
// int64_t, OPTION_UINT64 a uint64_t, OPTION_DOUBLE a double, OPTION_CHOICE an enum that counts from 0: its row has the
// word of each value, so that words end at the parser.
typedef struct {
    const char *name; // "section.key"
    option_type type;
    size_t offset;            // of the field in the room's settings struct
    const char *fallback;     // the default, as one would type it
    double low, high;         // inclusive range of numbers; both 0 means any
    const char *const *words; // OPTION_CHOICE: the word of each value of the enum, NULL behind the last
    const char *help;         // one line
} option;

// A row's table of words, where no other row has the same.
#define OPTION_WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

typedef struct {
    const option *rows; // ends with a row whose name is NULL
    void *settings;     // the struct that offsets refer to
} option_table;

// Fills every settings struct with its defaults.
void option_set_defaults(const option_table *tables, size_t n);
// Sets one option from text. where is "file.ini:12" or "command line", for the message. An unknown name suggests the
// nearest one.
bool option_set(const option_table *tables, size_t n, const char *name, const char *value, const char *where,
                error *err);
// Reads [section] key = value lines by ini_read.
bool option_read_file(const option_table *tables, size_t n, const char *path, error *err);
// Reads --section.key=value, --section.key value and --flag. Words that are not options are left in argv[1 ..] and
// *argc is set to their number plus one.
bool option_read_arguments(const option_table *tables, size_t n, int *argc, char **argv, error *err);
// The tables as an INI text that option_read_file reads back to the same values. Caller frees.
char *option_write(const option_table *tables, size_t n);
void option_print_help(FILE *out, const option_table *tables, size_t n);
// The value of one option as text, into out[OPTION_STRING_SIZE].
void option_format(char *out, const option *row, const void *settings);
// Was this option set by file or command line, rather than left at its default? Remembered by option_set.
bool option_is_set(const char *name);
// Edit distance (Levenshtein) of two names, for "did you mean".
size_t option_distance(const char *a, const char *b);

// ---- time (time.c) ------------------------------------------------------------------------------------------------

double time_now(void); // seconds, monotonic
#define TIME_TEXT_SIZE 32
// "3m12s", "1h02m", "45s": into out[TIME_TEXT_SIZE].
void time_format(char *out, double seconds);

// Where a rank's time in a step goes. Spans do not nest: beginning one ends the one before.
typedef enum {
    SPAN_OTHER,
    SPAN_ATTENTION,
    SPAN_FFN,
    SPAN_EXCHANGE, // copying, summing, normalising
    SPAN_IDLE,     // waiting for another rank
    SPAN_EMBEDDING,
    SPAN_HEAD,
    SPAN_OPTIMIZER,
    SPAN_REDUCTION, // of gradients over replicas, as far as the backward pass does not hide it
    SPAN_BUBBLE,    // waiting for another stage
    SPAN_COUNT
} span;

extern const char *const span_names[SPAN_COUNT];

// Ends the current span, begins the next, and returns the one that ended, so that a callee can put it back.
span time_span(span next);
// Seconds spent in each span since the last call, and begins anew.
void time_span_collect(double seconds[SPAN_COUNT]);

// What a rank did when: its spans but for SPAN_OTHER, in the order of time. One that goes on within 5 us of its end
// is the same span still. A full record keeps what it has, and counts what it loses.
typedef struct {
    double begin, end; // as time_now() has them
    span what;
} span_event;

typedef struct {
    span_event *events; // [capacity]
    size_t capacity, n, lost;
} span_record;

// From now on spans are recorded there, behind what it has; NULL: nowhere, as at first. The record is the caller's.
void time_span_record(span_record *record);

// ---- text files (text.c) ------------------------------------------------------------------------------------------

// Reads a whole file; a NUL byte is put behind its end. *size may be NULL. Caller frees. NULL and err on failure.
char *text_read(const char *path, size_t *size, error *err);
// The next line of a buffer: sets *line and *length (without the newline, and without a carriage return before it),
// moves *at on; false at the end.
bool text_next_line(const char *buffer, size_t size, size_t *at, const char **line, size_t *length);
// Makes a text from strangers harmless on a terminal: control characters (of one byte, and U+0080 to U+009F) become
// `?`.
void text_make_printable(char *text);

#endif
