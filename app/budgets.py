"""The smallest budget whose answer is unchanged, in whole percent of the visual tokens: swept, then bisected.

Bisection takes for granted that an answer that held at some budget holds at every larger one. Answers need not do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ALL = 100
KEPT = (ALL, 75, 50, 33, 22, 11, 5)
"""The budgets that are always tried; 33, 22 and 11 are the paper's."""
MOST_STEPS = max(a - b for a, b in pairwise(KEPT)).bit_length()


@dataclass(frozen=True, slots=True)
class Tried:
    """One budget in percent of the visual tokens, and whether its answer was that of all tokens."""

    kept: int
    same: bool


def smallest(tried: Sequence[Tried]) -> int | None:
    """Return the smallest budget down to which every answer tried was the same; None if not even the largest was."""
    held = None
    for point in _falling(tried):
        if not point.same:
            break
        held = point.kept
    return held


def next_kept(tried: Sequence[Tried]) -> int | None:
    """Return the budget to try next: the middle between the last that held and the first that did not."""
    held = smallest(tried)
    lost = next((point.kept for point in _falling(tried) if not point.same), None)
    if held is None or lost is None or held - lost <= 1:
        return None
    return (held + lost) // 2


def came_back(tried: Sequence[Tried]) -> tuple[int, ...]:
    """Return the budgets below the smallest one at which the answer was the same again: proof against bisection."""
    held = smallest(tried) or 0
    return tuple(point.kept for point in _falling(tried) if point.same and point.kept < held)


def _falling(tried: Sequence[Tried]) -> list[Tried]:
    return sorted(tried, key=lambda point: -point.kept)
