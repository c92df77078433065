"""LAMB (You et al., 2020) as NVIDIA trains BERT-large with it, in plain PyTorch and written from its formulas."""

import torch


class Lamb(torch.optim.Optimizer):
    """Clipping of the global norm is left to the caller. Groups without weight decay have no trust ratio either."""

    def __init__(self, groups, lr, betas=(0.9, 0.999), eps=1e-6):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.update(p, group)

    def update(self, p, group):
        state, (beta1, beta2), decay = self.state[p], group["betas"], group["weight_decay"]
        if not state:
            state |= {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        state["step"] += 1
        state["m"] = beta1 * state["m"] + (1 - beta1) * p.grad
        state["v"] = beta2 * state["v"] + (1 - beta2) * p.grad**2
        m = state["m"] / (1 - beta1 ** state["step"])
        v = state["v"] / (1 - beta2 ** state["step"])
        u = m / (v.sqrt() + group["eps"]) + decay * p
        ratio = p.norm() / u.norm() if decay > 0 and p.norm() > 0 and u.norm() > 0 else 1.0
        p -= group["lr"] * ratio * u
