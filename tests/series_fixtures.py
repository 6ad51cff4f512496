"""Outcomes of series made by hand, for the tests of the tabs."""

from __future__ import annotations

from app.series import Ask, Ended, Failed
from duet_core.cost import Cost
from duet_core.trace import Trace
from tests.app_fixtures import small_trace

COST = Cost(1.0, 2.0, 3.0, 6.0, 0.5, 2, 10, 4_000_000, 2_000_000)


def ended(text: str = "cat", method: str = "duet", reduction: float = 0.8, trace: Trace | None = None) -> Ended:
    """Return a finished answer; the small trace has 3 of 16 tokens on average."""
    return Ended(Ask("Where?", method, reduction), text, trace or small_trace(), COST)


def failed(sentence: str = "It is too large: take a smaller one.", method: str = "random") -> Failed:
    """Return an answer that could not be given."""
    return Failed(Ask("Where?", method, 0.8), sentence)
