// huggingface: their folders, in and out.
//
//     config.json, model.safetensors, vocabulary -> checkpoint -> the same
#ifndef PAF_HUGGINGFACE_H
#define PAF_HUGGINGFACE_H

#include "train/train.h"

typedef enum { CASING_AUTO, CASING_OFF, CASING_ON } import_casing;

typedef struct {
    char from[OPTION_STRING_SIZE];  // import.from
    char to[OPTION_STRING_SIZE];    // import.to
    char vocab[OPTION_STRING_SIZE]; // import.vocab; "": in import.from
    import_casing lower_case;       // import.lower_case
    char task[OPTION_STRING_SIZE];  // import.task
    int64_t max_length;             // import.max_length
    model_design design;            // model.design
    model_conversion conversion;    // model.conversion
    parallel_settings parallel;
} import_settings;

typedef struct {
    char from[OPTION_STRING_SIZE]; // export.from
    char to[OPTION_STRING_SIZE];   // export.to
    checkpoint_choice which;       // export.checkpoint
} export_settings;

extern const option export_options[];

#define IMPORT_TABLES 2
void import_tables(option_table tables[IMPORT_TABLES], import_settings *settings);

// A folder with config.json, model.safetensors and vocabulary to step 0 of a new run folder: the encoder, and the heads
// that there are. Each rank reads what it owns. Collective over the world; the same error on every rank.
bool huggingface_import(const import_settings *settings, error *err);
// A run or checkpoint folder to a folder that transformers loads; a PAF model with the code that computes it, so that
// it is not mistaken for a SAF one. Rank 0 works. Collective as above.
bool huggingface_export(const export_settings *settings, error *err);

#endif
