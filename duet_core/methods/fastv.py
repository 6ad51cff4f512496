"""FastV (2403.06764): after a few layers, drop what the last token hardly attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import attention_of_text, stay_best, wanted
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

_AFTER = 2  # layers, of 32


@dataclass(frozen=True, slots=True)
class FastV(Method):
    """One cut, by the attention of the layer before it: phi = mean over heads of softmax over all keys.

    `query`: whose attention counts, the last token's as in the published code, or that of all text behind the
    pictures, as the paper's words suggest. Survivors keep their positions; the layers before the cut keep their cache.
    """

    title: ClassVar[str] = "FastV"
    about: ClassVar[About] = About("FastV (2403.06764)", "inside the model", ("attention row of the last token",))
    positions: ClassVar[Literal["compact", "original"]] = "original"
    query: Literal["last", "all_text"] = "last"

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return one cut after 2 of 32 layers; budgets below what the layers before it see are out of reach."""
        return inside_model("fastv", target, size, (_AFTER,))

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep the tokens that were attended to most in the layer before."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        if self.query == "last":
            return stay_best(boundary.last(back=True), counts)
        return stay_best([attention_of_text(boundary, own) for own in boundary.samples], counts)
