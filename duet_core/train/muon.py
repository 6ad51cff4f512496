"""Muon for hidden matrices, AdamW for the rest: quick to converge on few cores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Bring every singular value of (n, rows, columns) matrices near 1 by Newton-Schulz steps; bf16 is enough."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        # Coefficients of Jordan et al., "Muon" (2024).
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, then an orthogonal update whose size matches AdamW's (Liu et al., 2025)."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices, those of one shape together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for matrices in shapes.values():
                self._update(matrices, group)

    def _update(self, matrices: list[nn.Parameter], group: dict[str, float]) -> None:
        lookahead = []
        for matrix in matrices:
            velocity = self.state[matrix].setdefault("velocity", torch.zeros_like(matrix))
            velocity.mul_(group["momentum"]).add_(matrix.grad)
            lookahead.append(matrix.grad + group["momentum"] * velocity)
        updates = orthogonalise(torch.stack(lookahead))
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-group["lr"] * size)


def optimisers(inner: Iterable[nn.Module], ends: Iterable[nn.Module]) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the inner modules and AdamW for all else, each with its share of the learning rate."""
    inside = [weight for module in inner for weight in module.parameters()]
    rest = [weight for weight in inside if weight.ndim != 2]
    rest += [weight for module in ends for weight in module.parameters()]
    adamw = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
    return [(Muon([weight for weight in inside if weight.ndim == 2], lr=0.0), 1.0), (adamw, 0.5)]
