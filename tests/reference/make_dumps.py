#!/usr/bin/env python3
"""Makes model-{saf,paf}-{classification,regression}.h5: see README.md. Needs torch and h5py; one run takes seconds."""

import pathlib
import zlib

import h5py
import torch
from torch.nn import functional as F

from model import Classifier, pad, read_config

HERE = pathlib.Path(__file__).parent
CLASSES = 3
BATCHES, BATCH = 5, 7
STEPS, WARMUP, PEAK = 50, 5, 1e-3
CLIP = 1.0
# What single precision may differ from double by, in norm, tensor by tensor: paf, single itself, is held to 1e-4, and
# that is a fair demand only where rounding alone does much less.
NOISE = 1e-5


def generator(name):
    """Random numbers that belong to a name, so that SAF and PAF share what they share."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def initialise(model):
    """Weights large enough for every gradient to be alive, and no bias or LayerNorm left at 0 or 1."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            deviation = 0.15 if parameter.dim() == 2 else 0.05
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            noise = torch.randn(parameter.shape, generator=generator(name), dtype=torch.float32)
            parameter.copy_(centre + deviation * noise)


def make_examples(config):
    """BATCHES * BATCH sequences of 3 to 20 ids, every second one of two texts. Id 0 is padding and does not occur."""
    g = generator("examples")

    def draw(low, high, count=1):
        return torch.randint(low, high, (count,), generator=g).tolist()

    count = BATCHES * BATCH
    lengths = [3, 20, 7, 12, 5, 16, 9] + draw(3, 21, count - BATCH)
    return {
        "sequences": [draw(1, config["vocab_size"], length) for length in lengths],
        "seconds": [draw(1, length)[0] if i % 2 else length for i, length in enumerate(lengths)],
        "labels": draw(0, CLASSES, count),
        "targets": (5 * torch.rand(count, generator=g, dtype=torch.float32)).tolist(),
    }


def rate(step):
    """Learning rate of step 0 .. STEPS - 1: up in a straight line, down in a straight line to nearly 0."""
    return PEAK * max(0.0, min((step + 1) / WARMUP, (STEPS - step) / (STEPS - WARMUP)))


def decay_groups(model):
    """An optimizer's parameter groups: biases and LayerNorms do not decay."""
    groups = {0.01: [], 0.0: []}
    for name, parameter in model.named_parameters():
        groups[0.0 if name.endswith(".bias") or "LayerNorm" in name else 0.01].append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]


class Run:
    """One model on the examples, in one precision."""

    def __init__(self, config, design, task, examples, dtype):
        self.task, self.examples, self.dtype = task, examples, dtype
        self.model = Classifier(config, design, CLASSES if task == "classification" else 1)
        initialise(self.model)
        self.model.to(dtype)

    def loss(self, number):
        """Logits and mean loss of batch `number`."""
        some = slice(number * BATCH, (number + 1) * BATCH)
        logits = self.model(*pad(self.examples["sequences"][some], self.examples["seconds"][some]))
        if self.task == "classification":
            return logits, F.cross_entropy(logits, torch.tensor(self.examples["labels"][some]))
        return logits, F.mse_loss(logits[:, 0], torch.tensor(self.examples["targets"][some], dtype=self.dtype))

    def tensors(self, what=lambda parameter: parameter):
        return {name: what(p).detach().clone() for name, p in self.model.named_parameters()}

    def train(self):
        """Per step: loss, norm of the gradient before clipping, learning rate."""
        optimizer, history = torch.optim.AdamW(decay_groups(self.model), lr=PEAK, betas=(0.9, 0.999), eps=1e-6), []
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad()
            _, loss = self.loss(step % BATCHES)
            loss.backward()
            # scales gradients by min(1, CLIP / (norm + 1e-6)) and returns the norm
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            optimizer.step()
            history.append((loss.item(), norm.item(), rate(step)))
        return history

    def dump(self):
        """Everything that goes into the file but the examples: name -> tensor."""
        out = {f"parameters/{name}": value for name, value in self.tensors().items()}
        logits, loss = self.loss(0)
        loss.backward()
        out |= {"logits": logits.detach(), "loss": loss.detach().reshape(1)}
        out |= {f"gradients/{name}": value for name, value in self.tensors(lambda p: p.grad).items()}
        history = torch.tensor(self.train(), dtype=torch.float64)
        out |= {"losses": history[:, 0], "norms": history[:, 1], "rates": history[:, 2]}
        out |= {f"updated/{name}": value for name, value in self.tensors().items()}
        return out


def check_noise(single, double):
    """The same in single precision must agree with double; the key bias, whose true gradient is 0, is left out."""
    worst = max(
        ((single[name].double() - value).norm() / value.norm(), name)
        for name, value in double.items()
        if not name.endswith("key.bias")
    )
    print(f"  single against double precision: at most {worst[0]:.1e}, {worst[1]}")
    assert worst[0] < NOISE, "badly conditioned: choose another seed or smaller weights"


def flatten(examples, task):
    out = {
        "batch/ids": [i for sequence in examples["sequences"] for i in sequence],
        "batch/lengths": [len(sequence) for sequence in examples["sequences"]],
        "batch/second": examples["seconds"],
    }
    out = {name: torch.tensor(value, dtype=torch.int32) for name, value in out.items()}
    if task == "classification":
        out["batch/labels"] = torch.tensor(examples["labels"], dtype=torch.int32)
    else:
        out["batch/targets"] = torch.tensor(examples["targets"], dtype=torch.float32)
    return out


def write(path, tensors):
    with h5py.File(path, "w") as file:
        for name, value in tensors.items():
            file[name] = value.float().numpy() if value.is_floating_point() else value.numpy()


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    config = read_config(HERE / "config.json")
    examples = make_examples(config)
    for design in "saf", "paf":
        for task in "classification", "regression":
            path = HERE / f"model-{design}-{task}.h5"
            print(path.name)
            single = Run(config, design, task, examples, torch.float32).dump()
            double = Run(config, design, task, examples, torch.float64).dump()
            check_noise(single, double)
            write(path, flatten(examples, task) | double)


if __name__ == "__main__":
    main()
