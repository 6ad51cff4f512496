"""One request of the page or the API, and what happens while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.film import Subject
from app.shelf import Downloading
from duet_core import Brush
from duet_core.bench.speed import PlanSpeed
from duet_core.cost import Cost
from duet_core.plan import Plan
from duet_core.trace import Trace

PAGE_TOKENS = 64
"""The longest answer, unless the page's slider says otherwise."""
Side = Literal["full", "reduced"]


@dataclass(frozen=True, slots=True)
class Job:
    """One request, checked.

    `exact` replaces the plan that `method` makes of the `reduction` in [0, 1). `measure`: for the page: time both plans
    afterwards, and record what each word looked at.
    `brush`: patches that the reduced answer keeps or drops whatever the method thinks of them.
    """

    model: str
    subject: Subject
    question: str
    method: str
    reduction: float
    exact: Plan | None = None
    new_tokens: int = PAGE_TOKENS
    measure: bool = True
    brush: Brush | None = None

    @property
    def shares(self) -> tuple[float, float]:
        """The share of the tokens that each of both answers keeps, as far as it is known before."""
        return 1.0, 1.0 if self.exact else 1.0 - self.reduction


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run begins: opening, encoding, full, reduced or measuring."""

    name: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of one answer."""

    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class Traced:
    """What becomes of every patch in the reduced run is decided: the words of its answer follow."""

    trace: Trace


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer is complete.

    `spent_ms`: what the engine worked on it in this very run, less than its cost where something was known before.
    """

    side: Side
    trace: Trace
    cost: Cost
    spent_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Both plans, timed in interleaved runs."""

    full: PlanSpeed
    reduced: PlanSpeed


Event = Phase | Downloading | Piece | Traced | Answered | Measured
