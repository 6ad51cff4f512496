"""HiRED (2408.10945), the form for one picture: keep the patches that CLS attends to most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from duet_core.methods.base import About, Look, Method, Selection, keep_patches
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class HiRED(Method):
    """Top patches by CLS attention of the used layer, summed over heads, in raster order; nothing is merged.

    The paper's own gain, a budget shared out over the tiles of a large picture, is left out, for a method here sees the
    crops of a picture one by one; each crop and each frame of a clip gets the same. Without a CLS, attention received
    stands in for its attention.
    """

    title: ClassVar[str] = "HiRED"
    about: ClassVar[About] = About(
        "HiRED (2408.10945)",
        "before the model",
        ("CLS attention of the encoder",),
        confidence="official code read; without the division over tiles",
    )

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("hired", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Keep the most attended patches."""
        many = self.entering(look)
        if many is None:
            return None
        scores = look.attended
        best = scores.argsort(dim=1, descending=True, stable=True)[:, :many]
        return keep_patches(look, best.sort(1).values, scores)
