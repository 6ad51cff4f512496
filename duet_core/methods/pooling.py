"""Average pooling of the grid: the plain way to have fewer tokens, and hard to beat (2510.07143, 2511.02650)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.blocks import block_means, blocks_of, members, middles, nearest_shape
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class Pooling(Method):
    """Every block of a grid of a x b blocks, about as high and wide as each other, becomes its mean.

    a x b comes within one token of the budget where such blocks exist. Patches are pooled before the projector. In the
    trace a block stands in its middle.
    """

    title: ClassVar[str] = "Average pooling"
    about: ClassVar[About] = About("a control", "before the model", confidence="exact")
    whole_grid: ClassVar[bool] = True

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets about the target in, equally many of each frame."""
        return before_model("pooling", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Average the patches of each block."""
        many = self.entering(look)
        if many is None:
            return None
        rows_cols, device = look.seen.rows_cols, look.features.device
        shape = nearest_shape(rows_cols, many)
        block, pictures = blocks_of(rows_cols, shape), len(look.features)
        centres, group, alone = (
            part.to(device).expand(pictures, -1)
            for part in (middles(rows_cols, shape), block, members(block).sum(1) == 1)
        )
        return merge_patches(look, block_means(look.patch_features, block), centres, group, alone)
