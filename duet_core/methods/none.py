"""No reduction: the baseline that every other method stands beside, run through the same loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from duet_core.decoder import Boundary
from duet_core.methods.base import Look, Selection
from duet_core.plan import Plan, Size


@dataclass(frozen=True, slots=True)
class Everything:
    """Keep every visual token in every layer."""

    title: ClassVar[str] = "None (all tokens)"
    plan: Plan

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that keeps everything, whatever the target."""
        return Plan(method="none")

    def after_vision(self, look: Look) -> Selection | None:
        """Let everything in."""
        return None

    def at_layer(self, boundary: Boundary) -> list[Tensor] | None:
        """Keep everything."""
        return None
