#!/usr/bin/env python3
"""Holds the dumps in tests/reference/ against Hugging Face's own BERT, so that the reference is checked too.

Needs torch, h5py and transformers (4.30 does): /usr/bin/python3 -m venv --system-site-packages VENV, then
VENV/bin/pip install transformers==4.30.2. PAF is its BertLayer with the wiring changed. Prints the largest differences
and exits with 1 where one is over 1e-5 relative in norm.
"""

import pathlib
import sys

import h5py
import torch
from transformers import BertConfig, BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer

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
    lengths = file["batch/lengths"][:BATCH].tolist()
    sequences = torch.from_numpy(file["batch/ids"][: sum(lengths)]).split(lengths)
    return pad([s.tolist() for s in sequences], file["batch/second"][:BATCH].tolist())


def difference(ours, theirs):
    ours = torch.from_numpy(ours)
    return ((ours - theirs).norm() / theirs.norm()).item()


def compare(design, task):
    config = BertConfig.from_json_file(REFERENCE / "config.json")
    config.num_labels = 3 if task == "classification" else 1
    model = BertForSequenceClassification(config).eval()
    if design == "paf":
        for layer in model.bert.encoder.layer:
            layer.forward = paf_forward.__get__(layer, BertLayer)
    with h5py.File(REFERENCE / f"model-{design}-{task}.h5") as file:
        parameters = {name: torch.from_numpy(value[:]) for name, value in file["parameters"].items()}
        model.load_state_dict(parameters, strict=False)
        ids, types, mask = first_batch(file)
        wanted = file["batch/labels" if task == "classification" else "batch/targets"][:BATCH]
        wanted = torch.from_numpy(wanted).long() if task == "classification" else torch.from_numpy(wanted)
        out = model(input_ids=ids, token_type_ids=types, attention_mask=mask.long(), labels=wanted)
        out.loss.backward()
        worst = {
            "loss": difference(file["loss"][:], out.loss.detach().reshape(1)),
            "logits": difference(file["logits"][:], out.logits.detach()),
            # a key bias has no gradient but rounding
            "gradients": max(
                difference(value[:], model.get_parameter(name).grad)
                for name, value in file["gradients"].items()
                if not name.endswith("key.bias")
            ),
        }
    print(f"{design} {task}: " + ", ".join(f"{what} {value:.1e}" for what, value in worst.items()))
    return max(worst.values()) < TOLERANCE


def main():
    agree = [compare(design, task) for design in ("saf", "paf") for task in ("classification", "regression")]
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
