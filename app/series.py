"""Several answers about one picture or clip, encoded once: what is asked one after the other, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from app.budgets import ALL, KEPT, MOST_STEPS, Tried, next_kept
from app.compare import agree
from app.film import Subject
from app.job import PAGE_TOKENS
from app.rack import BASELINE
from duet_core.cost import Cost
from duet_core.trace import Trace


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer wanted: a question, a method, and a reduction in [0, 1)."""

    question: str
    method: str
    reduction: float


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer of this number begins."""

    number: int
    ask: Ask


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer of this number."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """One answer is complete."""

    ask: Ask
    text: str
    trace: Trace
    cost: Cost


@dataclass(frozen=True, slots=True)
class Failed:
    """One answer could not be given, and why."""

    ask: Ask
    sentence: str


Outcome = Ended | Failed


@dataclass(frozen=True, slots=True)
class Series:
    """Answers to give in turn, checked. `narrow`: then bisect for the smallest budget with the first one's answer."""

    measure: ClassVar[bool] = False

    model: str
    subject: Subject
    asks: tuple[Ask, ...]
    new_tokens: int = PAGE_TOKENS
    narrow: bool = False

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the tokens that each answer keeps; of a bisection, no less than any step of it could."""
        own = tuple(1.0 - ask.reduction for ask in self.asks)
        return own + (1.0,) * MOST_STEPS if self.narrow else own

    def following(self, done: Sequence[Outcome]) -> Ask | None:
        """Return what to ask after these outcomes; None at the end."""
        if self.narrow and done and isinstance(done[0], Failed):  # nothing to compare with
            return None
        if len(done) < len(self.asks):
            return self.asks[len(done)]
        kept = next_kept(tried(done)) if self.narrow else None
        return None if kept is None else replace(self.asks[-1], reduction=_reduction(kept))


def sweep_asks(question: str, method: str) -> tuple[Ask, ...]:
    """Return what a sweep asks before it bisects: all tokens first."""
    return tuple(Ask(question, BASELINE if kept == ALL else method, _reduction(kept)) for kept in KEPT)


def tried(done: Sequence[Outcome]) -> list[Tried]:
    """Return the budgets of a sweep; one that failed does not hold the answer."""
    return [Tried(kept_percent(outcome.ask), bool(same(done[0], outcome))) for outcome in done]


def kept_percent(ask: Ask) -> int:
    """The share of the tokens to keep, in whole percent."""
    return round(100 * (1.0 - ask.reduction))


def same(first: Outcome, outcome: Outcome) -> bool | None:
    """Whether an answer is the first one's; None where one of them is missing."""
    if isinstance(first, Failed) or isinstance(outcome, Failed):
        return None
    return agree(first.text, outcome.text)


def _reduction(kept: int) -> float:
    return round(1.0 - kept / 100, 2)
