"""Training steps of BERT as transformers has it, for tests/compare/pytorch_bench.py: in a process of their own. The
step itself is for tests/compare/hugging_face.py, too.

Takes a job (JSON) as its argument and prints the losses and seconds of its steps. A step is forward, backward,
clipping, AdamW and its schedule; making tensors of the batches is not in it.

Tried, in CPU time of hidden 384, padded to 128: sdpa (the default) and eager attention, with and without the mask, are
within 1 % of each other, as with dropout sdpa on a CPU is made of the same operations; the fused AdamW takes a quarter
of the time of the other forms, and is 0.5 % of a step.
"""

import json
import os
import sys
import time
from typing import Any

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from torch.nn.functional import cross_entropy


def padded(rows: list[list[int]], length: int, filler: int) -> torch.Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])


def read_batches(path: str, steps: int, length: int) -> list[dict[str, torch.Tensor]]:
    """length: what sequences are padded to; 0: the longest of their batch."""
    batches = []
    with open(path) as lines:
        for line, _ in zip(lines, range(steps)):
            step = json.loads(line)
            ids, types, labels = step["ids"], step["types"], step["labels"]
            to = length or max(map(len, ids))
            batches.append({
                "input_ids": padded(ids, to, 0),
                "token_type_ids": padded(types, to, 0),
                "attention_mask": padded([[1] * len(row) for row in ids], to, 0),
                "labels": padded(labels, to, -100) if isinstance(labels[0], list) else torch.tensor(labels),
            })
    return batches


def make_model(job: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(1)
    make = {"pretrain": transformers.BertForMaskedLM, "finetune": transformers.BertForSequenceClassification}
    config = transformers.BertConfig.from_json_file(job["config"])
    model = make[job["kind"]](config)
    if "save" in job:
        model.save_pretrained(job["save"])
    return model.train()


def masked_rows_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """As BertForMaskedLM, but only masked tokens meet the vocabulary."""
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    chosen = labels != -100
    return cross_entropy(model.cls(model.bert(**inputs).last_hidden_state[chosen]), labels[chosen])


class Descent:
    """AdamW with clipping and a linear schedule as paf has them; biases and LayerNorms, the vectors, do not decay."""

    def __init__(self, model: torch.nn.Module, steps: int, lr: float, warmup: int = 0, weight_decay: float = 0,
                 beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, clip: float = 1) -> None:
        self.parameters, self.clip = list(model.parameters()), clip
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=epsilon, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda s: (s + 1) / warmup if s < warmup else (steps - s) / (steps - warmup)
        )

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)


def train(job: dict[str, Any]) -> dict[str, Any]:
    batches = read_batches(job["batches"], job["steps"], job["pad"])
    model = make_model(job)
    descent = Descent(model, job["schedule"], job["lr"])
    run = torch.compile(model) if job["compile"] else model
    losses, seconds = [], []
    for batch in batches:
        before = time.perf_counter()
        loss = masked_rows_loss(model, batch) if job["masked_rows"] else run(**batch).loss
        loss.backward()
        descent.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - before)
    return {"losses": losses, "seconds": seconds}


def main() -> None:
    torch.set_num_threads(2)
    torch.set_num_interop_threads(1)
    print(json.dumps(train(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
