"""V2Drop (2509.01552): tokens whose state hardly changes from one layer to the next are lazy and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import stay_best, wanted
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

_PUBLISHED, _EARLIER = (3, 17, 22), (1, 8, 16)  # layers, of 32
_ROOM = 1 / 6  # of the tokens: a smaller average leaves the published layers next to nothing after the first cut


@dataclass(frozen=True, slots=True)
class V2Drop(Method):
    """Score: the L2 distance of a token's state from the one that the layer before took in. No attention, no text.

    As published, the last of three cuts leaves one token. The ratio of the two others is solved for the budget, budgets
    below a sixth cut at earlier layers, and budgets too large for a last token cut three times alike: these are ours.
    """

    title: ClassVar[str] = "V2Drop"
    about: ClassVar[About] = About(
        "V2Drop (2509.01552)", "inside the model", ("states before and after a layer",), interpretation=True
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return two cuts by a common ratio and one down to a single token."""
        layers = _PUBLISHED if target >= _ROOM * size.total else _EARLIER
        plan = inside_model("v2drop", target, size, layers, last=1)
        reached = sum(plan.tokens_per_layer(size.total, size.layers)) / size.layers
        return plan if reached >= target - 1 else inside_model("v2drop", target, size, layers)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep the tokens that the layer before changed most."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        states = zip(boundary.now.states(), boundary.before.states(), strict=True)
        return stay_best([variation(now, before) for now, before in states], counts)


def variation(now: Tensor, before: Tensor) -> Tensor:
    """Return how far each state [n, D] moved, [n] fp32."""
    return (now.float() - before.float()).norm(dim=-1)
