"""An even choice on DUET's schedule: the plainest thing one could do instead."""

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
class Uniform(Method):
    """Keep as many tokens in every layer as DUET does, evenly spaced in raster order; nothing is merged."""

    title: ClassVar[str] = "Uniform"
    about: ClassVar[About] = About(paper="a control", stage="both", confidence="exact")

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the same numbers as DUET's."""
        return duet_schedule("uniform", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Let every so-manieth patch in."""
        return enter(self.plan, look, _evenly)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep every so-manieth of the tokens that are left."""
        return stay(self.plan, boundary, _evenly)


def _evenly(available: int, wanted: int, _layer: int) -> Tensor:
    """Return `wanted` of `available` numbers at the middles of equal stretches, ascending."""
    return (2 * torch.arange(wanted) + 1) * available // max(1, 2 * wanted)
