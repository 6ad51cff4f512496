"""VisPruner (2412.01818): half of the patches for what CLS attends to, half for being unlike the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.merging import rows_of
from duet_core.methods.base import About, Look, Method, Selection, keep_patches
from duet_core.methods.settings import AtLeastOne, Share
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class VisPruner(Method):
    """A share of tokens, `important`, is chosen by CLS attention; the others are what thinning leaves of the rest.

    A round of thinning takes the rest in turns into two rows and drops those `at_once` tokens of the first row whose
    best cosine with the second is highest. Our reading: every round goes in raster order, which the text leaves open.
    Attention is that of the used layer; without a CLS, attention received stands in for it.
    """

    title: ClassVar[str] = "VisPruner"
    about: ClassVar[About] = About(
        "VisPruner (2412.01818)",
        "before the model",
        ("CLS attention of the encoder", "encoder features"),
        interpretation=True,
    )
    important: Share = 0.5
    at_once: AtLeastOne = 8

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("vispruner", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Keep the important patches and the diverse ones, in raster order."""
        many = self.entering(look)
        if many is None:
            return None
        scores, first = look.attended, int(many * self.important)
        order = scores.argsort(dim=1, descending=True, stable=True)  # (I, P)
        rest = order[:, first:].sort(1).values
        diverse = thinned(look.patch_features, rest, many - first, self.at_once)
        return keep_patches(look, torch.cat([order[:, :first], diverse], 1).sort(1).values, scores)


def thinned(features: Tensor, rest: Tensor, many: int, at_once: AtLeastOne) -> Tensor:
    """Return `many` of the patches `rest` [I, m] (ascending) of features [I, P, D] without the redundant ones."""
    directions = F.normalize(features.float(), dim=-1)
    while many and (excess := rest.shape[1] - many) > 0:
        first, second = rest[:, ::2], rest[:, 1::2]  # (I, a), (I, b)
        alike = rows_of(directions, first) @ rows_of(directions, second).transpose(1, 2)  # (I, a, b)
        order = alike.amax(-1).argsort(dim=1, descending=True, stable=True)  # (I, a)
        left = first.gather(1, order[:, min(at_once, excess) :])
        rest = torch.cat([left, second], 1).sort(1).values
    return rest[:, :many]
