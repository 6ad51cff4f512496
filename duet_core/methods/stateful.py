"""Stateful token reduction (2603.00198), attention part only: little is dropped early and ever more later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import attention_of_text, stay_best, wanted
from duet_core.plan import Plan, Size
from duet_core.schedules import PUBLISHED_DEPTH, shaped

_FULL = 2  # layers, of 32, that see everything
_FROM, _TO = 0.45, 0.05  # the kept share of the first and of the last layer behind them, for a mean of a quarter


@dataclass(frozen=True, slots=True)
class Stateful(Method):
    """A cut at every layer, by the attention of all text behind the pictures in the layer before, anew each time.

    The kept share falls in a straight line, scaled to the budget and never above 1. The paper is about hybrids of
    attention and state-space layers for long videos, which remember what was dropped; a model of attention alone does
    not, so none of its figures apply. Schedule, scores and positions are our reading of two abstracts.
    """

    title: ClassVar[str] = "StatefulTR (attention part only)"
    about: ClassVar[About] = About(
        "Stateful Token Reduction (2603.00198)",
        "inside the model",
        ("attention rows of the text",),
        training="none here; the paper tunes hybrids lightly",
        confidence="two abstracts",
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return a cut at every layer, low reduction first."""
        full = max(1, round(_FULL * size.layers / PUBLISHED_DEPTH))
        last = max(1, size.layers - 1 - full)
        line = [_FROM + (_TO - _FROM) * max(0, layer - full) / last for layer in range(full, size.layers)]

        def shares(t: float) -> list[float]:
            return [1.0] * (full - 1) + [min(1.0, t * share / _TO) for share in line]

        return shaped("stateful", target, size, shares)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep what the text attended to in the layer before."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        return stay_best([attention_of_text(boundary, own) for own in boundary.samples], counts)
