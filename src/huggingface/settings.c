// The options of import and export.
#include "huggingface/huggingface.h"

#include <stddef.h>

#define IMPORT(key, type, field, ...)                                                                                  \
    { key, type, offsetof(import_settings, field), __VA_ARGS__ }
static const option import_options[] = {
    IMPORT("import.from", OPTION_STRING, from, "", 0, 0, NULL,
           "Hugging Face's folder: config.json, model.safetensors (or its index and parts), vocabulary"),
    IMPORT("import.to", OPTION_STRING, to, "", 0, 0, NULL, "run folder to make, with one checkpoint"),
    IMPORT("import.vocab", OPTION_STRING, vocab, "", 0, 0, NULL,
           "the vocabulary, where the folder has none: a vocab.txt, or a folder with vocab.json and merges.txt"),
    IMPORT("import.lower_case", OPTION_CHOICE, lower_case, "auto", 0, 0, "auto off on",
           "with a vocab.txt; auto: what tokenizer_config.json says, else on"),
    IMPORT("import.task", OPTION_STRING, task, "", 0, 0, NULL,
           "what the classifier was trained on, a GLUE name or a task file: then paf evaluate works"),
    IMPORT("import.max_length", OPTION_INT, max_length, "128", 2, 1 << 20, NULL,
           "tokens of an example for evaluate and predict; no more than there are positions"),
    IMPORT("model.design", OPTION_CHOICE, design, "auto", 0, 0, "auto saf paf",
           "saf: FFN after attention; paf: side by side; auto: what config.json says, else saf"),
    IMPORT("model.conversion", OPTION_CHOICE, conversion, "drop", 0, 0, "drop fold",
           "SAF made PAF: drop the layers' first LayerNorm, or fold it into the weights around it"),
    {0},
};

void import_tables(option_table tables[IMPORT_TABLES], import_settings *s) {
    tables[0] = (option_table){import_options, s};
    tables[1] = (option_table){parallel_options, &s->parallel};
}

#define EXPORT(key, type, field, ...)                                                                                  \
    { "export." key, type, offsetof(export_settings, field), __VA_ARGS__ }
const option export_options[] = {
    EXPORT("from", OPTION_STRING, from, "", 0, 0, NULL, "run or checkpoint folder"),
    EXPORT("to", OPTION_STRING, to, "", 0, 0, NULL, "folder to make, as Hugging Face has it"),
    EXPORT("checkpoint", OPTION_CHOICE, which, "best", 0, 0, "best latest", "which one of a run folder"),
    {0},
};
