#!/usr/bin/env python3
"""Makes lamb.h5: see README.md. Needs torch and h5py; one run takes a second."""

import torch

from lamb import Lamb
from make_dumps import CLIP, HERE, STEPS, generator, write
from make_masked_dumps import LAMB_PEAK, lamb_rate

# name: shape, decay, size of values, size of gradients
TENSORS = {
    "rows.weight": ((13, 29), True, 0.5, 1e-2),
    "columns.weight": ((11, 31), True, 0.02, 1e-4),
    "all.weight": ((5, 7), True, 3.0, 1e-2),
    "zero.weight": ((3, 4), True, 0.0, 1e-3),
    "rows.bias": ((13,), False, 0.1, 1e-2),
    "LayerNorm.weight": ((7,), False, 1.0, 1e-3),
}


def draw(name, shape, dtype):
    return torch.randn(shape, generator=generator(name), dtype=torch.float32).to(dtype)


def make_gradients(name, shape, size, dtype):
    """[STEPS, *shape], of sizes that differ from element to element and grow and shrink from step to step, so that some
    are clipped; the first element never has one."""
    spread = 10 ** (draw(name + " spread", shape, dtype) / 2)
    swing = 2 ** torch.linspace(-3, 3, STEPS, dtype=dtype).roll(STEPS // 2).reshape(-1, *[1] * len(shape))
    out = size * swing * spread * draw(name + " gradients", (STEPS, *shape), dtype)
    out.flatten(1)[:, 0] = 0
    return out.float().to(dtype)  # what the file will say


def run(dtype):
    out, groups, parameters, gradients = {}, [], [], []
    for name, (shape, decay, size, gradient_size) in TENSORS.items():
        parameter = (size * draw(name, shape, dtype)).float().to(dtype).requires_grad_()
        out[f"start/{name}"] = parameter.detach().flatten().clone()
        gradients.append(make_gradients(name, shape, gradient_size, dtype))
        out[f"gradients/{name}"] = gradients[-1].flatten(1)
        groups.append({"params": [parameter], "weight_decay": 0.01 if decay else 0.0})
        parameters.append(parameter)
    optimizer = Lamb(groups, lr=LAMB_PEAK, betas=(0.9, 0.999), eps=1e-6)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = lamb_rate(step)
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient[step].clone()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
    return out | {f"updated/{name}": p.detach().flatten() for name, p in zip(TENSORS, parameters)}


def main():
    torch.set_num_threads(1)
    single, double = run(torch.float32), run(torch.float64)
    worst = max(((single[name] - value).norm() / value.norm().clamp(min=1e-30), name) for name, value in double.items())
    print(f"lamb.h5: single against double precision: at most {worst[0]:.1e}, {worst[1]}")
    write(HERE / "lamb.h5", double)


if __name__ == "__main__":
    main()
