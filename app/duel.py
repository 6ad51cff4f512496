"""One finished run of the page: two answers to one question, the trace, and the measured figures."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from duet_core.bench.speed import PlanSpeed
from duet_core.plan import Plan
from duet_core.timing import Spread
from duet_core.trace import Trace


@dataclass(frozen=True, slots=True)
class Duel:
    """The full answer and the reduced one. `speeds`: (full, reduced), measured in interleaved runs."""

    question: str
    full: str
    reduced: str
    trace: Trace
    speeds: tuple[PlanSpeed, PlanSpeed]

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain JSON values."""
        return {
            "question": self.question,
            "full": self.full,
            "reduced": self.reduced,
            "trace": self.trace.to_json(),
            "speeds": [speed.to_json() | {"method": speed.plan.method} for speed in self.speeds],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Duel:
        """Read what `to_json` wrote."""
        full, reduced = (_speed(entry) for entry in data["speeds"])
        trace = Trace.from_json(data["trace"])
        return cls(data["question"], data["full"], data["reduced"], trace, (full, reduced))


def _speed(data: dict[str, Any]) -> PlanSpeed:
    """Read one plan's figures; of the plan itself only the method was stored."""
    figures: dict[str, Any] = {field.name: data[field.name] for field in fields(PlanSpeed) if field.name != "plan"}
    spreads: dict[str, Any] = {
        name: Spread(**value) if isinstance(value, dict) else value for name, value in figures.items()
    }
    return PlanSpeed(plan=Plan(method=data["method"]), **spreads)
