"""No reduction: the baseline that every other method stands beside, run through the same loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from duet_core.methods.base import About, Method
from duet_core.plan import Plan, Size


@dataclass(frozen=True, slots=True)
class Everything(Method):
    """Keep every visual token in every layer."""

    title: ClassVar[str] = "None (all tokens)"
    about: ClassVar[About] = About(paper="the model as it is", stage="none", confidence="exact")

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that keeps everything, whatever the target."""
        return Plan(method="none")
