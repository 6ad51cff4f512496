"""95 % intervals by bootstrap over scenes: how far another draw of scenes might have moved a figure.

Scenes are the independent units, not questions: those about one picture share its difficulties. All figures come from
counts per scene [S] and from the same resamples, so figures over the same scenes are compared scene by scene.
From fewer than FEW scenes such intervals come out too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

DRAWS: Final = 2000
LEVEL: Final = 0.95
FEW: Final = 20
_TAIL = (1 - LEVEL) / 2
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and between what it lies with 95 % confidence: low <= value <= high."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=2)
def resamples(scenes: int) -> np.ndarray:
    """Return how often each scene is in each resample, [DRAWS, scenes] whole numbers, the same at every call."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=DRAWS).astype(np.float64)


def share(right: np.ndarray, total: np.ndarray) -> Interval | None:
    """Return the share of right answers among all; None where nothing was asked.

    Where no scene differs from the others resampling shows no spread at all; then `_unvaried` speaks.
    """
    if not total.sum():
        return None
    value, draws = right.sum() / total.sum(), _quotients(right, total)
    if not np.ptp(draws):
        return _unvaried(value, int(np.count_nonzero(total)))
    return _percentiles(value, draws)


def difference(one: np.ndarray, other: np.ndarray, total: np.ndarray) -> Interval | None:
    """Return how much larger the share of right answers is in `one` than in `other`, scene by scene."""
    if not total.sum():
        return None
    ahead = one - other
    return _percentiles(ahead.sum() / total.sum(), _quotients(ahead, total))


def ratio(one: np.ndarray, other: np.ndarray) -> Interval | None:
    """Return how many times as many right answers `one` has as `other`; None where `other` has none."""
    if not other.sum():
        return None
    return _percentiles(one.sum() / other.sum(), _quotients(one, other))


def _quotients(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return the quotient of the sums in each resample; those that have nothing below the line are left out."""
    weights = resamples(len(below))
    sums = weights @ below  # (DRAWS,)
    return (weights @ above)[sums > 0] / sums[sums > 0]


def _percentiles(value: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [_TAIL, 1 - _TAIL])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def _unvaried(value: float, scenes: int) -> Interval:
    """Bound what scenes of another sort could change, if none was among so many.

    They are less than the share `unseen` of all scenes, since (1 - unseen) ** scenes is the chance to meet none.
    """
    unseen = 1 - _TAIL ** (1 / scenes)
    return Interval(float(value), float(value * (1 - unseen)), float(value + (1 - value) * unseen))
