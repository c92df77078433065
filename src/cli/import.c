#include "cli/cli.h"
#include "huggingface/huggingface.h"

static int run_import(int argc, char **argv) {
    import_settings settings = {0};
    option_table tables[IMPORT_TABLES];
    import_tables(tables, &settings);
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_import, tables, IMPORT_TABLES, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc > 1) error_set(&err, ERROR_INPUT, "import: what is %s? Options begin with --", argv[1]);
    if (err.kind != ERROR_NONE || !huggingface_import(&settings, &err)) return cli_fail(&err);
    return 0;
}

static int run_export(int argc, char **argv) {
    export_settings settings = {0};
    option_table table = {export_options, &settings};
    error err = {0};
    bool helped;
    if (!cli_read_options(&command_export, &table, 1, &argc, argv, &helped, &err)) return cli_fail(&err);
    if (helped) return 0;
    if (argc > 1) error_set(&err, ERROR_INPUT, "export: what is %s? Options begin with --", argv[1]);
    if (err.kind != ERROR_NONE || !huggingface_export(&settings, &err)) return cli_fail(&err);
    return 0;
}

const command command_import = {
    .name = "import",
    .usage = "import --import.from=DIR --import.to=RUN [--section.key=value ...]",
    .summary = "a Hugging Face folder (BERT or RoBERTa) to a checkpoint",
    .details =
        "example: build/paf import --import.from=bert-large-uncased --import.to=checkpoints/bert-large\n"
        "DIR has config.json, model.safetensors (whole, or split with its index) and vocab.txt, or vocab.json and\n"
        "merges.txt. finetune and pretrain take RUN as --model.init; with --import.task evaluate takes a classifier.\n"
        "Tensors that paf has no use for are named. --model.design=paf leaves attention.output.LayerNorm out, or with\n"
        "--model.conversion=fold folds it into the weights around it.",
    .run = run_import,
};

const command command_export = {
    .name = "export",
    .usage = "export --export.from=RUN --export.to=DIR [--export.checkpoint=best]",
    .summary = "a checkpoint to a folder that Hugging Face's transformers load",
    .details =
        "example: build/paf export --export.from=checkpoints/sst2 --export.to=sst2-paf\n"
        "DIR gets config.json, model.safetensors, the vocabulary and tokenizer_config.json, and with a PAF model\n"
        "modeling_paf.py: AutoModel.from_pretrained(DIR, trust_remote_code=True) then computes PAF.",
    .run = run_export,
};
