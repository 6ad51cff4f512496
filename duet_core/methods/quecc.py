"""Query-conditioned block pooling: a training-free stand-in for QueCC (2411.03312), not QueCC itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from duet_core.methods.asked import relevance
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.blocks import blocks_of, members, nearest_shape
from duet_core.methods.settings import Positive
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class BlockPooling(Method):
    """Every block of a x b becomes a mean weighted by softmax(relevance / `temperature`) over its patches.

    QueCC trains a projector whose queries, one a block, attend to the block's patches under the question; that cannot
    be had without training. Our reading keeps its shape: blocks, and weights that the question sets, by the cosine of
    projected patches with its word embeddings. In the trace a block stands at its weightiest patch.
    """

    title: ClassVar[str] = "Query-conditioned block pooling"
    about: ClassVar[About] = About(
        "after QueCC (2411.03312)",
        "before the model",
        ("projected tokens", "the question's words"),
        training="none; QueCC itself is trained",
        confidence="our stand-in, not the published module",
        interpretation=True,
    )
    whole_grid: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    temperature: Positive = 0.1

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets about the target in, equally many of each frame."""
        return before_model("quecc", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Average each block by what the question finds relevant in it."""
        many = self.entering(look)
        if many is None:
            return None
        rows_cols, device = look.seen.rows_cols, look.features.device
        block = blocks_of(rows_cols, nearest_shape(rows_cols, many))
        belongs = members(block).to(device)  # (n, P)
        scores = relevance(look, look.project(look.patch_features))
        weights = in_blocks(scores / self.temperature, belongs)
        tokens, alone = weights @ look.patch_features.float(), belongs.sum(1) == 1
        group, kept = block.to(device).expand_as(scores), alone.expand(len(tokens), -1)
        return merge_patches(look, tokens, weights.argmax(-1), group, kept, scores)


def in_blocks(scores: Tensor, belongs: Tensor) -> Tensor:
    """Return the softmax [I, n, P] of scores [I, P] over each block's own patches `belongs` [n, P]."""
    return scores.unsqueeze(1).masked_fill(~belongs, -float("inf")).softmax(-1)
