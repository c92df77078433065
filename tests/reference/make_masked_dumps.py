#!/usr/bin/env python3
"""Makes masked-{saf,paf}.h5 and masked-paf-roberta.h5: see README.md. Needs torch and h5py; one run takes seconds."""

import torch
from torch.nn import functional as F

from lamb import Lamb
from make_dumps import BATCH, BATCHES, CLIP, HERE, PEAK, STEPS, WARMUP, check_noise, decay_groups, generator
from make_dumps import initialise, rate, write
from model import MaskedLM, pad, read_config

MASK, FIRST_WORD = 4, 5  # ids: the mask's, and the first that is no special token
NONE = -100  # no label: cross_entropy leaves such positions out
LAMB_PEAK = 5e-3


def lamb_rate(step):
    """Up in a straight line, then the square root of what is left of the run."""
    return LAMB_PEAK * ((step + 1) / WARMUP if step < WARMUP else (1 - step / STEPS) ** 0.5)


OPTIMIZERS = {
    "adamw": (lambda groups: torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.999), eps=1e-6), rate),
    "lamb": (lambda groups: Lamb(groups, lr=LAMB_PEAK, betas=(0.9, 0.999), eps=1e-6), lamb_rate),
}


def mask_tokens(sequence, words, g):
    """The sequence with about a quarter of its ids hidden, and the labels: what was there. 8 of 10 become the mask,
    1 a random word, 1 stays."""
    ids, labels = list(sequence), [NONE] * len(sequence)
    count = max(1, round(len(sequence) / 4))
    for at in torch.randperm(len(sequence), generator=g)[:count].tolist():
        labels[at] = sequence[at]
        how = torch.rand(1, generator=g).item()
        if how < 0.8:
            ids[at] = MASK
        elif how < 0.9:
            ids[at] = torch.randint(FIRST_WORD, words, (1,), generator=g).item()
    return ids, labels


def make_examples(config):
    """BATCHES * BATCH sequences of 3 to 20 ids, every third one of two texts where there are two types. In each batch
    the third sequence has no masked position."""
    g = generator("masked examples")

    def draw(low, high, count=1):
        return torch.randint(low, high, (count,), generator=g).tolist()

    lengths = [3, 20, 7, 12, 5, 16, 9] + draw(3, 21, BATCHES * BATCH - BATCH)
    two = config["type_vocab_size"] > 1
    examples = {
        "seconds": [draw(1, length)[0] if two and i % 3 == 1 else length for i, length in enumerate(lengths)],
        "sequences": [],
        "labels": [],
    }
    for i, length in enumerate(lengths):
        sequence = draw(FIRST_WORD, config["vocab_size"], length)
        if i % BATCH == 2:
            ids, labels = sequence, [NONE] * length
        else:
            ids, labels = mask_tokens(sequence, config["vocab_size"], g)
        examples["sequences"].append(ids)
        examples["labels"].append(labels)
    return examples


class Run:
    """One model on the examples, in one precision."""

    def __init__(self, config, design, examples, dtype):
        self.examples, self.dtype = examples, dtype
        self.model = MaskedLM(config, design)
        initialise(self.model)
        self.model.to(dtype)

    def loss(self, number):
        """Logits at the masked positions [masked, words] and their mean loss, of batch `number`."""
        some = slice(number * BATCH, (number + 1) * BATCH)
        ids, types, mask = pad(self.examples["sequences"][some], self.examples["seconds"][some])
        labels = torch.full(ids.shape, NONE)
        for row, theirs in enumerate(self.examples["labels"][some]):
            labels[row, : len(theirs)] = torch.tensor(theirs)
        logits = self.model(ids, types, mask)
        return logits[labels != NONE], F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NONE)

    def tensors(self, what=lambda parameter: parameter):
        return {name: what(p).detach().clone() for name, p in self.model.named_parameters()}

    def train(self, make_optimizer, rate_of):
        """Per step: loss, norm of the gradient before clipping, learning rate."""
        optimizer, history = make_optimizer(decay_groups(self.model)), []
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = rate_of(step)
            optimizer.zero_grad()
            _, loss = self.loss(step % BATCHES)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            optimizer.step()
            history.append((loss.item(), norm.item(), rate_of(step)))
        return torch.tensor(history, dtype=torch.float64)

    def dump(self, optimizers):
        """Everything that goes into the file but the examples: name -> tensor."""
        start = self.tensors()
        out = {f"parameters/{name}": value for name, value in start.items()}
        logits, loss = self.loss(0)
        loss.backward()
        out |= {"logits": logits.detach(), "loss": loss.detach().reshape(1)}
        out |= {f"gradients/{name}": value for name, value in self.tensors(lambda p: p.grad).items()}
        for name, (make, rate_of) in optimizers.items():
            self.model.load_state_dict(start)
            history = self.train(make, rate_of)
            out |= {f"{what}-{name}": history[:, i] for i, what in enumerate(("losses", "norms", "rates"))}
            out |= {f"updated-{name}/{tensor}": value for tensor, value in self.tensors().items()}
        return out


def flatten(examples):
    lengths = [len(sequence) for sequence in examples["sequences"]]
    types = [int(at >= second) for n, second in zip(lengths, examples["seconds"]) for at in range(n)]
    labels = [label for some in examples["labels"] for label in some]
    rows = [row for row, label in enumerate(labels) if label != NONE]
    out = {
        "batch/ids": [i for sequence in examples["sequences"] for i in sequence],
        "batch/types": types,
        "batch/lengths": lengths,
        "batch/rows": rows,
        "batch/labels": [labels[row] for row in rows],
    }
    return {name: torch.tensor(value, dtype=torch.int32) for name, value in out.items()}


def roberta_name(name):
    """RoBERTa's name for BERT's."""
    name = name.replace("/bert.", "/roberta.").replace("cls.predictions.transform.LayerNorm", "lm_head.layer_norm")
    return name.replace("cls.predictions.transform.", "lm_head.").replace("cls.predictions.", "lm_head.")


def make(name, config_name, design, optimizers, rename=lambda name: name):
    print(name)
    config = read_config(HERE / config_name)
    examples = make_examples(config)
    single = Run(config, design, examples, torch.float32).dump(optimizers)
    double = Run(config, design, examples, torch.float64).dump(optimizers)
    check_noise(single, double)
    write(HERE / name, {rename(name): value for name, value in (flatten(examples) | double).items()})


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    make("masked-saf.h5", "config-masked.json", "saf", OPTIMIZERS)
    make("masked-paf.h5", "config-masked.json", "paf", OPTIMIZERS)
    make("masked-paf-roberta.h5", "config-masked-roberta.json", "paf", {}, roberta_name)


if __name__ == "__main__":
    main()
