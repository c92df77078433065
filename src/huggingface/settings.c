// The options of import and export.
#include "huggingface/huggingface.h"

#include <stddef.h>

#define IMPORT(key, type, field, ...)                                                                                  \
    { key, type, offsetof(import_settings, field), __VA_ARGS__ }
static const option import_options[] = {
    IMPORT("import.from", OPTION_STRING, from, "",
           .help = "Hugging Face's folder: config.json, model.safetensors (or its index and parts), vocabulary"),
    IMPORT("import.to", OPTION_STRING, to, "", .help = "run folder to make, with one checkpoint"),
    IMPORT("import.vocab", OPTION_STRING, vocab, "",
           .help =
               "the vocabulary, where the folder has none: a vocab.txt, or a folder with vocab.json and merges.txt"),
    IMPORT("import.lower_case", OPTION_CHOICE, lower_case, "auto", .words = OPTION_WORDS("auto", "off", "on"),
           .help = "with a vocab.txt; auto: what tokenizer_config.json says, else on"),
    IMPORT("import.task", OPTION_STRING, task, "",
           .help = "what the classifier was trained on, a GLUE name or a task file: then paf evaluate works"),
    IMPORT("import.max_length", OPTION_INT, max_length, "128", .low = 2, .high = 1 << 20,
           .help = "tokens of an example for evaluate and predict; no more than there are positions"),
    IMPORT("model.design", OPTION_CHOICE, design, "auto", .words = model_design_words,
           .help = "saf: FFN after attention; paf: side by side; auto: what config.json says, else saf"),
    IMPORT("model.conversion", OPTION_CHOICE, conversion, "drop", .words = model_conversion_words,
           .help = "SAF made PAF: drop the layers' first LayerNorm, or fold it into the weights around it"),
    {0},
};

void import_tables(option_table tables[IMPORT_TABLES], import_settings *s) {
    tables[0] = (option_table){import_options, s};
    tables[1] = (option_table){parallel_options, &s->parallel};
}

#define EXPORT(key, type, field, ...)                                                                                  \
    { "export." key, type, offsetof(export_settings, field), __VA_ARGS__ }
const option export_options[] = {
    EXPORT("from", OPTION_STRING, from, "", .help = "run or checkpoint folder"),
    EXPORT("to", OPTION_STRING, to, "", .help = "folder to make, as Hugging Face has it"),
    EXPORT("checkpoint", OPTION_CHOICE, which, "best", .words = checkpoint_words, .help = "which one of a run folder"),
    {0},
};
