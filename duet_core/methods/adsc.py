"""ADSC (2602.12618), read without its training: drop tokens evenly over the grid at chosen layers, by no score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import wanted
from duet_core.methods.pyramiddrop import staged
from duet_core.plan import Plan, Size
from duet_core.pruning import keep_best


@dataclass(frozen=True, slots=True)
class Adsc(Method):
    """Half of a grid stays as a checkerboard, a quarter as every second row and column, and so on; frames alternate.

    The paper fine-tunes the model with the cuts in place, and its figures are those of the trained model; this is not
    that. Layers and ratios are PyramidDrop's here (the paper's are not known). Tokens that entered as no grid are taken
    for one row, of which every second goes.
    """

    title: ClassVar[str] = "ADSC-style uniform (training-free reading)"
    about: ClassVar[About] = About(
        "ADSC (2602.12618)",
        "inside the model",
        ("the grid",),
        training="none here; the paper fine-tunes the model",
        confidence="abstract and a summary",
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return three cuts by a common ratio."""
        return staged("adsc", target, size)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep an even choice of what entered, the finer the later."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        return Stay([self._keep(boundary, sample, count) for sample, count in enumerate(counts)])

    def _keep(self, boundary: Boundary, sample: int, count: int) -> Tensor:
        return keep_best(-turn(boundary.patches(sample), boundary.shape(sample)).float(), count)


def turn(patches: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return when each patch [n] of (frames, rows, columns) goes, int64: those of the smallest number stay longest.

    Ordered dithering: bits of row xor column and of row, the lowest ones first. CLS (-1) stays longest of all.
    """
    _, rows, cols = shape
    frame, place = patches // (rows * cols), patches % (rows * cols)
    row, col = place // cols, place % cols + frame % 2
    number = torch.zeros_like(patches)
    for bit in range(max(rows, cols + 1).bit_length()):
        number = 4 * number + 2 * ((row ^ col) >> bit & 1) + (row >> bit & 1)
    return torch.where(patches < 0, -1, number)
