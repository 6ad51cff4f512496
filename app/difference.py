"""Two questions about one picture: whose patches stayed in the model, as looks, counts and sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.fates import BOTH, NEITHER, ONLY_A, ONLY_B, Look
from app.steps import tokens_left
from duet_core.trace import SURVIVED, Fate, Trace

_LOOKS = (NEITHER, ONLY_A, ONLY_B, BOTH)


def last_step(first: Trace, second: Trace) -> int:
    """Return the last step that both traces have and at which a token of either is left."""
    both = range(min(len(first.steps), len(second.steps)))
    return max(step for step in both if max(tokens_left(first, step), tokens_left(second, step)) > 0)


def kept(trace: Trace, step: int) -> np.ndarray:
    """Return [P] bool: the patches that stand for a token of their own, or for a merged one, at a step."""
    if step == 0:
        return np.ones(trace.grid.patches, bool)
    own = np.isin(trace.fate, (Fate.DOMINANT, Fate.ANCHOR))
    layer = 0 if step == 1 else trace.drops[step - 2].layer
    return own & ((trace.died_at == SURVIVED) | (trace.died_at > layer))


@dataclass(frozen=True, slots=True)
class Difference:
    """What question A and question B kept of the same patches, [P] bool each, all patches of a clip in one row."""

    a: np.ndarray
    b: np.ndarray

    @property
    def marks(self) -> list[Look]:
        """The look of every patch."""
        return [_LOOKS[number] for number in (self.a + 2 * self.b).tolist()]

    @property
    def counts(self) -> dict[Look, int]:
        """How many patches each look has: for A only, for B only, for both, for neither."""
        numbers = np.bincount(self.a + 2 * self.b, minlength=4).tolist()
        return {look: numbers[_LOOKS.index(look)] for look in (ONLY_A, ONLY_B, BOTH, NEITHER)}

    @property
    def shared(self) -> float:
        """The share of the patches kept for A or B that both kept; 1 where nothing is left to differ in."""
        either = int((self.a | self.b).sum())
        return int((self.a & self.b).sum()) / either if either else 1.0


def difference(first: Trace, second: Trace, step: int) -> Difference:
    """Compare two traces of the same picture at a step."""
    return Difference(kept(first, step), kept(second, step))
