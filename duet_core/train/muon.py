"""Muon for hidden matrices, AdamW for the rest: quick to converge on few cores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Bring every singular value of (n, rows, columns) matrices near 1 by Newton-Schulz steps."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        # Coefficients of Jordan et al., "Muon" (2024).
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


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


class Optimisers:
    """Muon and AdamW stepped together, with one learning rate and gradients clipped to norm 1."""

    def __init__(self, hidden: list[nn.Parameter], rest: list[nn.Parameter]) -> None:
        self.parameters = [*hidden, *rest]
        adamw = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.shares = ((Muon(hidden, lr=0.0), 1.0), (adamw, 0.5))

    def step(self, lr: float) -> None:
        """Clip, update with Muon at `lr` and AdamW at half of it, and clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser, share in self.shares:
            for group in optimiser.param_groups:
                group["lr"] = lr * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


def split_matrices(layers: nn.Module, others: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside `layers`, and everything else of `layers` and `others`."""
    inside = list(layers.parameters())
    hidden = [weight for weight in inside if weight.ndim == 2]
    return hidden, [weight for weight in inside if weight.ndim != 2] + list(others)
