"""LLaVA-PruMerge+ (2403.15388): attended and evenly spaced patches, each with a share of what is like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.merging import rows_of
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.settings import AtLeastOne, Share
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model
from duet_core.vision import Seen


@dataclass(frozen=True, slots=True)
class PruMerge(Method):
    """Kept tokens by their attention c, then evenly spaced ones, then one token for all that is dropped.

    A kept token becomes itself + the sum of c_j x_j over its `neighbours` most alike patches (cosine of keys), the last
    token is the sum of c_j x_j over the dropped ones. c is the CLS row of softmax(q k^T / sqrt(width)) over the full
    width, as one head.

    Deviations: the budget says how many stay where the paper counts outliers of c; `even` is the share of the evenly
    spaced ones (3 of 4 by the paper's step; 0 gives PruMerge), taken from what is left in raster order. The layer is
    the used one, not the last, which never runs. Without a CLS, c is the mean over all queries. In the trace a dropped
    patch belongs to the most alike of the tokens that took it in, or else to the last one.
    """

    title: ClassVar[str] = "PruMerge+"
    about: ClassVar[About] = About(
        "LLaVA-PruMerge (2403.15388)",
        "before the model",
        ("queries and keys of the encoder",),
        confidence="official code read; the used layer in place of the last",
        interpretation=True,
    )
    neighbours: AtLeastOne = 32
    even: Share = 0.75

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("prumerge", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Keep some patches, and add to them what is like them."""
        many = self.entering(look)
        if many is None:
            return None
        weight, keys = (part[:, look.extra :] for part in one_head(look.seen))  # (I, P), (I, P, width)
        kept = chosen(weight, max(1, many - 1), self.even)  # (I, k)
        directions = F.normalize(keys, dim=-1)
        alike = rows_of(directions, kept) @ directions.transpose(1, 2)  # (I, k, P)
        taken = most_alike(alike, kept, self.neighbours)
        tokens = gathered(look.patch_features.float(), weight, kept, taken)  # (I, k + 1, D)
        group, last = _groups(alike.masked_fill(~taken, -float("inf")), kept, weight)
        centres = torch.cat([kept, last], 1)
        changed = torch.zeros_like(centres, dtype=torch.bool)
        return merge_patches(
            look, tokens[:, :many], centres[:, :many], _cropped(group, many), changed[:, :many], weight
        )


def one_head(seen: Seen) -> tuple[Tensor, Tensor]:
    """Return the attention [I, N] fp32 to each token as of one head of full width, and the keys [I, N, width] fp32.

    Where several patches make one token, their attention adds up and their keys are averaged.
    """
    query, keys = (part.transpose(1, 2).flatten(2).float() for part in (seen.query, seen.keys))  # (I, R, width)
    row = (query @ keys.transpose(1, 2) / keys.shape[2] ** 0.5).softmax(-1).mean(1)  # (I, R)
    many = keys.shape[1] // seen.features.shape[1]
    return row.unflatten(1, (-1, many)).sum(2), keys.unflatten(1, (-1, many)).mean(2)


def chosen(weight: Tensor, many: int, even: Share) -> Tensor:
    """Return [I, many] patches: the highest weights [I, P], falling, then a share of evenly spaced ones of the rest."""
    top = many - int(many * even)
    order = weight.argsort(dim=1, descending=True, stable=True)  # (I, P)
    rest = order[:, top:].sort(1).values
    spaced = torch.arange(many - top, device=rest.device) * rest.shape[1] // max(1, many - top)
    return torch.cat([order[:, :top], rest[:, spaced]], 1)


def most_alike(alike: Tensor, kept: Tensor, neighbours: AtLeastOne) -> Tensor:
    """Return which patches [I, k, P] bool each kept one [I, k] takes in: the most `alike` [I, k, P] without itself."""
    others = alike.scatter(2, kept.unsqueeze(-1), -float("inf"))
    order = others.argsort(dim=2, descending=True, stable=True)[:, :, : min(neighbours, alike.shape[2] - 1)]
    return torch.zeros_like(alike, dtype=torch.bool).scatter(2, order, True)


def gathered(features: Tensor, weight: Tensor, kept: Tensor, taken: Tensor) -> Tensor:
    """Return the tokens [I, k + 1, D]: kept ones [I, k] with their weighted neighbours, and the sum of the dropped."""
    own = rows_of(features, kept) + (taken * weight.unsqueeze(1)) @ features  # (I, k, D)
    dropped = weight.scatter(1, kept, 0.0)  # (I, P)
    return torch.cat([own, dropped.unsqueeze(1) @ features], 1)


def _groups(alike: Tensor, kept: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the token of each patch [I, P] and the patch [I, 1] at whose place the last token stands.

    `alike` [I, k, P] is -inf where a token did not take a patch in.
    """
    best, group = alike.max(1)  # (I, P)
    many = kept.shape[1]
    group = torch.where(best.isinf(), many, group)
    numbers = torch.arange(many, device=kept.device).expand_as(kept)
    last = weight.scatter(1, kept, -1.0).argmax(1, keepdim=True)  # (I, 1)
    return group.scatter(1, last, many).scatter(1, kept, numbers), last


def _cropped(group: Tensor, many: int) -> Tensor:
    """Return groups [I, P] without those from `many` on: a budget of one token has no room for the last."""
    return torch.where(group < many, group, -1)
