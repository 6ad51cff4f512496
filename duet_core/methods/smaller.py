"""A smaller picture: the encoder looks again at the picture scaled down, and makes fewer patches of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.blocks import blocks_of, middles, nearest_shape
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class Smaller(Method):
    """The picture scaled down to a x b patches, positions interpolated; the plainest way, as 2510.07143 reminds us.

    a x b as for pooling. The first look at the whole picture is of no use here, so a real system would save it; our
    clock counts the second look as selecting. Encoders that cannot look again say so in a PlanError. In the trace a
    patch belongs to the smaller picture's patch that covers it.
    """

    title: ClassVar[str] = "Smaller picture"
    about: ClassVar[About] = About(
        "a control", "before the model", ("an encoder that takes pictures of other sizes",), confidence="exact"
    )
    whole_grid: ClassVar[bool] = True

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets about the target in, equally many of each frame."""
        return before_model("smaller", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Look at the picture again, scaled down."""
        many = self.entering(look)
        if many is None:
            return None
        rows_cols, device = look.seen.rows_cols, look.features.device
        shape, pictures = nearest_shape(rows_cols, many), len(look.features)
        centres, group = (
            part.to(device).expand(pictures, -1) for part in (middles(rows_cols, shape), blocks_of(rows_cols, shape))
        )
        return merge_patches(look, look.again(shape), centres, group, torch.zeros_like(centres, dtype=torch.bool))
