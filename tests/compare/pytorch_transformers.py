#!/usr/bin/env python3
"""Holds the dumps in tests/reference/ against Hugging Face's own BERT and RoBERTa, so that they are checked too.

Needs torch, h5py and transformers (4.30 does): /usr/bin/python3 -m venv --system-site-packages VENV, then
VENV/bin/pip install transformers==4.30.2. PAF is its layer with the wiring changed. Prints the largest differences
and exits with 1 where one is over 1e-5 relative in norm.
"""

import pathlib
import sys

import h5py
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, RobertaConfig, RobertaForMaskedLM

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
sys.path.insert(0, str(REFERENCE))
sys.dont_write_bytecode = True
from model import pad  # noqa: E402

BATCH = 7  # sequences in the batch that logits and gradients are of
TOLERANCE = 1e-5


def paf_forward(self, x, attention_mask=None, *_, **__):
    attention = self.attention.output.dense(self.attention.self(x, attention_mask)[0])
    return (self.output.LayerNorm(x + attention + self.output.dense(self.intermediate(x))),)


def first_batch(file):
    """ids, types and mask of the first batch, and its number of tokens."""
    lengths = file["batch/lengths"][:BATCH].tolist()
    count = sum(lengths)
    sequences = [s.tolist() for s in torch.from_numpy(file["batch/ids"][:count]).split(lengths)]
    if "batch/second" in file:
        seconds = file["batch/second"][:BATCH].tolist()
    else:
        types = torch.from_numpy(file["batch/types"][:count]).split(lengths)
        seconds = [int((s == 0).sum()) for s in types]
    return *pad(sequences, seconds), count


def masked_labels(file, mask, count):
    """[batch, length], -100 where nothing is to be found."""
    packed = torch.full((count,), -100)
    rows = torch.from_numpy(file["batch/rows"][:]).long()
    here = rows < count
    packed[rows[here]] = torch.from_numpy(file["batch/labels"][:])[here].long()
    labels = torch.full(mask.shape, -100)
    labels[mask] = packed
    return labels


def difference(ours, theirs):
    ours = torch.from_numpy(ours)
    return ((ours - theirs).norm() / theirs.norm()).item()


def compare(name, make_config, make_model, config_name, outputs=None):
    config = make_config.from_json_file(REFERENCE / config_name)
    config.num_labels = outputs or 2
    model = make_model(config).eval()
    if "-paf" in name:
        for layer in model.base_model.encoder.layer:
            layer.forward = paf_forward.__get__(layer)
    with h5py.File(REFERENCE / f"{name}.h5") as file:
        parameters = {name: torch.from_numpy(value[:]) for name, value in file["parameters"].items()}
        model.load_state_dict(parameters, strict=False)
        ids, types, mask, count = first_batch(file)
        if outputs:
            wanted = torch.from_numpy(file["batch/labels" if outputs > 1 else "batch/targets"][:BATCH])
            wanted = wanted.long() if outputs > 1 else wanted
        else:
            wanted = masked_labels(file, mask, count)
        # RoBERTa counts positions by what is padding
        ids = ids.masked_fill(~mask, config.pad_token_id)
        out = model(input_ids=ids, token_type_ids=types, attention_mask=mask.long(), labels=wanted)
        out.loss.backward()
        logits = out.logits.detach() if outputs else out.logits.detach()[wanted != -100]
        worst = {
            "loss": difference(file["loss"][:], out.loss.detach().reshape(1)),
            "logits": difference(file["logits"][:], logits),
            # a key bias has no gradient but rounding
            "gradients": max(
                difference(value[:], model.get_parameter(name).grad)
                for name, value in file["gradients"].items()
                if not name.endswith("key.bias")
            ),
        }
    print(f"{name}: " + ", ".join(f"{what} {value:.1e}" for what, value in worst.items()))
    return max(worst.values()) < TOLERANCE


def main():
    agree = []
    for design in "saf", "paf":
        for task, outputs in ("classification", 3), ("regression", 1):
            name = f"model-{design}-{task}"
            agree.append(compare(name, BertConfig, BertForSequenceClassification, "config.json", outputs))
        agree.append(compare(f"masked-{design}", BertConfig, BertForMaskedLM, "config-masked.json"))
    agree.append(compare("masked-paf-roberta", RobertaConfig, RobertaForMaskedLM, "config-masked-roberta.json"))
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
