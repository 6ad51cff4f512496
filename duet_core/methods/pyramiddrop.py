"""PyramidDrop (2410.17247): the deeper the layer, the fewer tokens, ranked by the last token at every stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import stay_best, wanted
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

PUBLISHED, EARLIER = (8, 16, 24), (2, 8, 16)  # layers, of 32
PUBLISHED_SHARE = 270 / 576  # what halving at the published layers leaves on average


def staged(method: str, target: float, size: Size) -> Plan:
    """Return three cuts by a common ratio: at the published layers, or earlier where those leave too little room.

    Our own solution below the published average of 270 of 576 tokens, for which the published code has no schedule.
    """
    layers = PUBLISHED if target >= PUBLISHED_SHARE * size.total else EARLIER
    return inside_model(method, target, size, layers)


@dataclass(frozen=True, slots=True)
class PyramidDrop(Method):
    """Before each cut the layer about to run tells what the last token attends to: softmax over all, mean over heads.

    Training-free form; survivors are renumbered at every stage. Layers and ratios below the published average are ours.
    """

    title: ClassVar[str] = "PyramidDrop"
    about: ClassVar[About] = About(
        "PyramidDrop (2410.17247)", "inside the model", ("attention row of the last token",), interpretation=True
    )

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return three cuts by a common ratio."""
        return staged("pyramiddrop", target, size)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep what the last token attends to most in the layer about to run."""
        counts = wanted(self.plan, boundary)
        return None if counts is None else stay_best(boundary.last(), counts)
