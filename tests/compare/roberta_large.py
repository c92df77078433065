#!/usr/bin/env python3
"""A RoBERTa-large of random weights through paf and back; see tests/compare/roberta_large, which runs this."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

CONFIG = "configs/models/roberta-large.json"
DATA = pathlib.Path(os.environ["PAF_DATA"])
ROWS = 6  # of RTE's dev split, to evaluate on


def measured(report, command):
    """Runs a rank, and leaves its peak of resident memory in a file of its own."""
    code = subprocess.call(command)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    pathlib.Path(report, str(os.getpid())).write_text(str(peak))
    sys.exit(code)


if len(sys.argv) > 1:
    measured(sys.argv[1], sys.argv[2:])

import torch
import transformers
from hugging_face import BUILD, agree, compare_bytes, outputs, paf, random_sequences, run, say
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy


def put_vocabulary(folder):
    for name in "vocab.json", "merges.txt":
        shutil.copy(DATA / "vocab/roberta" / name, folder)


def import_measured(source, run_folder, team, ranks):
    """The sum of the ranks' peaks has to stay within the file's size and a tenth."""
    size = (source / "model.safetensors").stat().st_size
    with tempfile.TemporaryDirectory() as report:
        began = time.monotonic()
        run("launch/mpi", str(ranks), sys.executable, __file__, report, f"{BUILD}/paf", "import",
            f"--import.from={source}", f"--import.to={run_folder}", f"--parallel.team={team}")
        seconds = time.monotonic() - began
        peaks = [int(path.read_text()) for path in pathlib.Path(report).iterdir()]
    assert len(peaks) == ranks
    print(f"import on {team}: file {size / 1e6:.0f} MB, peak of its ranks "
          f"{' + '.join(f'{peak / 1e6:.0f}' for peak in peaks)} MB, {seconds:.0f} s")
    say(f"import on {team}", {"memory of the file's size": sum(peaks) / size}, [1.1])


def logits(model, sequences):
    with torch.no_grad():
        return outputs(model.eval(), sequences)[1]


def check_untouched(source, run_folder, folder):
    paf("export", f"--export.from={run_folder}", f"--export.to={folder / 'untouched'}")
    files = [load_file(place / "model.safetensors") for place in (folder / "untouched", source)]
    compare_bytes("untouched", *files)
    del files
    original, again = (transformers.AutoModelForMaskedLM.from_pretrained(p) for p in (source, folder / "untouched"))
    sequences = random_sequences(original.config, 2)
    difference = (logits(original, sequences) - logits(again, sequences)).abs().max().item()
    say("untouched, in transformers", {"logits": difference}, [0])
    shutil.rmtree(folder / "untouched")


def write_glue(folder):
    """RTE, with few rows to evaluate on."""
    (folder / "RTE").mkdir(parents=True)
    shutil.copy(DATA / "glue/RTE/train.tsv", folder / "RTE")
    lines = (DATA / "glue/RTE/dev.tsv").read_text().splitlines(keepends=True)[: ROWS + 1]
    (folder / "RTE/dev.tsv").write_text("".join(lines))
    return [line.rstrip("\n").split("\t") for line in lines[1:]]


def their_loss(exported, rows):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(exported).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    total = 0
    for _, first, second, label in rows:
        with torch.no_grad():
            scores = model(**tokenizer(first, second, return_tensors="pt")).logits
        total += cross_entropy(scores, torch.tensor([model.config.label2id[label]])).item()
    return total / len(rows)


def check_trained(run_folder, folder):
    rows, trained, exported = write_glue(folder / "glue"), folder / "trained", folder / "trained-hf"
    began = time.monotonic()
    recipe = "configs/finetune/roberta-large"
    paf("finetune", "--config", f"{recipe}.ini", "--config", f"{recipe}-rte.ini", f"--model.init={run_folder}",
        "--model.design=saf", f"--data.dir={folder / 'glue'}", "--train.max_steps=1", "--train.warmup=0",
        "--train.batch=4", "--parallel.team=1+1", f"--run.out={trained}", ranks=2)
    print(f"a step of RTE and an evaluation on 1+1: {time.monotonic() - began:.0f} s")
    shutil.rmtree(run_folder)
    paf("export", f"--export.from={trained}", f"--export.to={exported}")
    evaluation = (trained / "metrics.jsonl").read_text().splitlines()[-1]
    mine, other = json.loads(evaluation)["loss"], their_loss(exported, rows)
    say(f"trained, in transformers, loss {other:.4f}", {"difference": abs(mine - other)}, [1e-4])


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = folder / "source"
        torch.manual_seed(1)
        config = transformers.RobertaConfig.from_json_file(CONFIG)
        transformers.RobertaForMaskedLM(config).save_pretrained(source, max_shard_size="2GB")
        put_vocabulary(source)
        import_measured(source, folder / "alone", "1", 1)
        shutil.rmtree(folder / "alone")
        import_measured(source, folder / "pair", "1+1", 2)
        check_untouched(source, folder / "pair", folder)
        shutil.rmtree(source)
        check_trained(folder / "pair", folder)
    print(f"{agree.count(True)} of {len(agree)} agree")
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
