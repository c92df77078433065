// glue: all of GLUE. Many runs, each by task, design and seed, and one table of them.
#ifndef PAF_GLUE_H
#define PAF_GLUE_H

#include "train/train.h"

// ---- settings (settings.c) -----------------------------------------------------------------------------------------

typedef enum { INTERMEDIATE_OFF, INTERMEDIATE_MNLI } glue_intermediate;
typedef enum { KEEP_BEST, KEEP_ALL } glue_keep;

typedef struct {
    char tasks[OPTION_STRING_SIZE];    // glue.tasks: NAME[,NAME...]
    char designs[OPTION_STRING_SIZE];  // glue.designs
    int64_t seeds;                     // glue.seeds: train.seed and those behind it
    char recipes[OPTION_STRING_SIZE];  // glue.recipes: PREFIX of INI files
    char init_saf[OPTION_STRING_SIZE]; // glue.init_saf; "": model.init
    char init_paf[OPTION_STRING_SIZE]; // glue.init_paf
    glue_intermediate intermediate;    // glue.intermediate
    bool predict;                      // glue.predict
    glue_keep keep;                    // glue.keep
} glue_settings;

#define GLUE_TABLES (1 + FINETUNE_TABLES)
// The option tables over both structs of settings: the list's own, and what its runs have in common.
void glue_tables(option_table tables[GLUE_TABLES], glue_settings *settings, finetune_settings *finetune);

// ---- the runs (list.c, glue.c) --------------------------------------------------------------------------------------

#define GLUE_DESIGNS 2 // indexed by model_design

typedef struct {
    char name[OPTION_STRING_SIZE]; // as data.task has it
    task task;
    finetune_settings settings; // the caller's to fill: how it is trained, whatever the design and seed
} glue_task;

typedef struct {
    glue_settings settings;
    glue_task *tasks; // [n], in the order asked for
    size_t n, capacity;
    bool designs[GLUE_DESIGNS];
} glue_list;

// Opens the tasks that settings list. False and err where a task or design is unknown or named twice; what was made,
// glue_list_destroy takes. Local to the rank.
bool glue_list_create(glue_list *l, const glue_settings *settings, error *err);
void glue_list_destroy(glue_list *l);
// Fine-tunes every task by every design and seed, each in a folder of its own below out, TASK-DESIGN-SEED. What has
// results there is not run again, what was begun is gone on with; both must have been made with the same settings,
// which is looked at before anything runs. After each run the table: standard output, table.csv and table.md. A signal
// that stops a run ends the list. Collective over the world; the same error on every rank.
bool glue_run_list(const glue_list *l, const char *out, error *err);

// ---- their table (table.c): local to the rank -----------------------------------------------------------------------

typedef struct {
    size_t n;
    double median, low, high; // of an even number the median is the mean of the two in the middle
} glue_spread;

glue_spread glue_spread_of(const double *values, size_t n); // zeros for n = 0

typedef struct {
    char task[TASK_NAME_SIZE]; // "mnli"
    char part[TASK_NAME_SIZE]; // "mnli-mm", or the task's name once more
    char metric[64];
    double *values[GLUE_DESIGNS]; // [n], a run each, as fractions
    size_t n[GLUE_DESIGNS], capacity[GLUE_DESIGNS];
} glue_row;

typedef struct {
    glue_row *rows; // [n], in the order in which they were first added to
    size_t n, capacity;
    bool shown[GLUE_DESIGNS];
} glue_table;

typedef enum { GLUE_TEXT, GLUE_MARKDOWN, GLUE_CSV } glue_format;

// A run's value. All that is of one task must be added before another task's.
void glue_table_add(glue_table *t, const char *task, const char *part, const char *metric, model_design design,
                    double value);
// Means over tasks, where a task's score is the mean of its rows' medians, as GLUE's own is. Over those tasks that all
// designs shown have whole; how many these are comes back.
int glue_table_averages(const glue_table *t, double averages[GLUE_DESIGNS]);
// CSV has fractions, the others percent. Caller frees.
char *glue_table_write(const glue_table *t, glue_format format);
void glue_table_destroy(glue_table *t);

#endif
