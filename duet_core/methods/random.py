"""Random choice on DUET's schedule: shows whether it matters which tokens are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Look, Method, Selection
from duet_core.methods.blind import enter, stay
from duet_core.plan import Plan, Size, duet_schedule


@dataclass(frozen=True, slots=True)
class Random(Method):
    """Keep as many tokens in every layer as DUET does, drawn by the plan's seed; nothing is merged, CLS is not fed."""

    title: ClassVar[str] = "Random"
    about: ClassVar[About] = About(
        paper="a control, as in UniPruneBench (2511.02650)", stage="both", confidence="exact"
    )

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the same numbers as DUET's."""
        return duet_schedule("random", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Draw the patches that enter."""
        return enter(self.plan, look, self._draw)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Draw the tokens that stay."""
        return stay(self.plan, boundary, self._draw)

    def _draw(self, available: int, wanted: int, layer: int) -> Tensor:
        """Return `wanted` of `available` numbers, ascending; drawn on the CPU so that every device draws alike."""
        generator = torch.Generator().manual_seed(1000 * self.plan.seed + layer)
        return torch.randperm(available, generator=generator)[:wanted].sort().values
