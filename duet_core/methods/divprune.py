"""DivPrune (2503.02175): keep the patches that lie furthest apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods.base import About, Look, Method, Selection, keep_patches
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class DivPrune(Method):
    """Max-min diversity of projected tokens: each choice is furthest from those before it (distance 1 - cosine).

    The first is the token whose nearest neighbour is furthest away. Clips: frame by frame; the published form may rank
    the tokens of all frames together.
    """

    title: ClassVar[str] = "DivPrune"
    about: ClassVar[About] = About("DivPrune (2503.02175)", "before the model", ("projected tokens",))

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("divprune", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Keep the patches that are furthest apart, in raster order."""
        many = self.entering(look)
        if many is None:
            return None
        return keep_patches(look, furthest(look.project(look.patch_features), many).sort(1).values)


def furthest(tokens: Tensor, many: int) -> Tensor:
    """Return the numbers [I, many] of the tokens [I, P, D] in the order in which max-min diversity chooses them."""
    directions = F.normalize(tokens.float(), dim=-1)
    apart = 1.0 - directions @ directions.transpose(1, 2)  # (I, P, P)
    itself = torch.eye(apart.shape[1], dtype=torch.bool, device=apart.device)
    distance = apart.masked_fill(itself, float("inf")).amin(-1)  # (I, P)
    chosen = [distance.argmax(1, keepdim=True)]  # (I, 1) each
    distance = torch.full_like(distance, float("inf"))
    for _ in range(many - 1):
        distance = torch.minimum(distance, _row(apart, chosen[-1])).scatter(1, chosen[-1], -float("inf"))
        chosen.append(distance.argmax(1, keepdim=True))
    return torch.cat(chosen, 1)  # (I, many)


def _row(apart: Tensor, number: Tensor) -> Tensor:
    """Return one row [I, P] of each map [I, P, P], by its number [I, 1]."""
    return apart.gather(1, number.unsqueeze(-1).expand(-1, -1, apart.shape[2])).squeeze(1)
