"""D2Pruner (2512.19443): attention without the bias of places, and besides, tokens that do not repeat each other."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.errors import PlanError
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import cosines, ranks, spread_out, wanted
from duet_core.methods.settings import Cosine, Share
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

AFTER = 2  # layers, of 32


@dataclass(frozen=True, slots=True)
class D2Pruner(Method):
    """One cut: the last token's attention over a prior; the best are pivots, a greedy independent set fills up.

    `prior`: a file that `bench calibrate` wrote, or its numbers, one per patch of a picture (a clip repeats them);
    without it b = 1, so that nothing is debiased. `pivots`: their share. Two tokens are neighbours where `alpha` times
    the cosine of their states and 1 - `alpha` times their nearness (1 - distance / largest distance, 0 between frames:
    our reading) exceed `similar`. `mask_pivot_neighbours`: whether the pivots' neighbours are out first (left open).
    """

    title: ClassVar[str] = "D2Pruner"
    about: ClassVar[About] = About(
        "D2Pruner (2512.19443)",
        "inside the model",
        ("attention row of the last token", "states", "grid, if alpha < 1"),
        training="none; a prior measured by bench calibrate is optional",
        confidence="abstract and two third-party ports",
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"
    prior: str | tuple[float, ...] | None = None
    pivots: Share = 0.7
    alpha: Share = 1.0
    similar: Cosine = 0.8
    mask_pivot_neighbours: bool = False

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return one cut after 2 of 32 layers."""
        return inside_model("d2pruner", target, size, (AFTER,))

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep pivots, and what differs from everything kept."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        bias, keep, scores = read_prior(self.prior), [], []
        for sample, (seen, count) in enumerate(zip(boundary.last(back=True), counts, strict=True)):
            relevance = seen / (self._bias(boundary, sample, bias) + 1e-7)
            keep.append(self.pick(relevance, self._alike(boundary, sample) > self.similar, count))
            scores.append(relevance)
        return Stay(keep, scores)

    def pick(self, relevance: Tensor, neighbours: Tensor, count: int) -> Tensor:
        """Return ascending tokens [count] int64 of relevance [n], given who neighbours whom [n, n] bool."""
        pivots, _ = relevance.argsort(descending=True, stable=True).tensor_split([int(self.pivots * count)])
        taken = torch.zeros_like(neighbours[0]).index_fill(0, pivots, True)
        free = ~neighbours[pivots].any(0) if self.mask_pivot_neighbours else ~taken
        others, _ = spread_out(ranks(relevance), neighbours, count - len(pivots), free, taken)
        return torch.cat([pivots, others]).sort().values

    def _bias(self, boundary: Boundary, sample: int, prior: Tensor) -> Tensor:
        """Return the prior [n] of a sample's tokens."""
        patches, (_, rows, cols) = boundary.patches(sample), boundary.shape(sample)
        if rows * cols % len(prior):
            raise PlanError(
                f"D2Pruner's prior has {len(prior)} numbers, but a picture has {rows * cols} patches;"
                " measure it on this model."
            )
        prior = prior.to(patches.device)
        return torch.where(patches < 0, prior.mean(), prior[patches % len(prior)])

    def _alike(self, boundary: Boundary, sample: int) -> Tensor:
        """Return how alike a sample's tokens are, [n, n] fp32."""
        states = cosines(boundary.now.states()[sample]).clamp(min=0)
        if self.alpha == 1:
            return states
        return self.alpha * states + (1 - self.alpha) * nearness(boundary.patches(sample), boundary.shape(sample))


def nearness(patches: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return 1 - distance / largest distance [n, n] fp32 of patches [n] of (frames, rows, columns).

    It is 0 between frames and to CLS (-1).
    """
    _, rows, cols = shape
    frame, place = patches // (rows * cols), patches % (rows * cols)
    where = torch.stack([place // cols, place % cols], -1).float()  # (n, 2)
    apart = (where.unsqueeze(1) - where).norm(dim=-1) / max(1.0, math.hypot(rows - 1, cols - 1))  # (n, n)
    return (1 - apart) * ((frame.unsqueeze(1) == frame) & (patches >= 0))


def read_prior(prior: str | tuple[float, ...] | None) -> Tensor:
    """Return the prior [P] fp32 of a setting: the numbers themselves, those of a file, or a single 1 for none."""
    if prior is None:
        return torch.ones(1)
    try:
        values = json.loads(Path(prior).read_text())["prior"] if isinstance(prior, str) else prior
        numbers = torch.tensor(values).float()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"D2Pruner's prior {prior} cannot be read; write one with bench calibrate.") from error
    if numbers.ndim != 1 or not len(numbers):
        raise PlanError("D2Pruner's prior must be a row of numbers, one per patch; write it with bench calibrate.")
    return numbers
