"""FitPrune (2409.10197): a few tokens at every layer, by the attention they get from the picture and from the text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import behind, stay_best, wanted
from duet_core.methods.settings import Count
from duet_core.plan import Plan, Size
from duet_core.pruning import row_attention
from duet_core.schedules import shaped

# Of 576 tokens, how many each of the first 22 of 32 layers drops in the published recipe for 60 % fewer FLOPs.
_RECIPE = (14, 33, 89, 36, 36, 20, 55, 21, 18, 4, 7, 5, 2, 5, 7, 4, 26, 5, 11, 24, 4, 18)
_LEFT = [1 - gone / 576 for gone in accumulate((*_RECIPE, *[0] * 10), initial=0)]  # what each of 32 layers sees
_CHUNK = 128  # rows of a map that are held at once


@dataclass(frozen=True, slots=True)
class FitPrune(Method):
    """Score: column mean of the picture's rows times column sum of the text's, on the largest attention of all heads.

    The layer before gives the map, a block of rows at a time, and the cut comes behind it, not between its attention
    and its MLP. `recipe`: how many tokens each layer drops, from the first on; it replaces the plan's counts. Without
    it the published recipe's course, of which we know 22 layers and hold the rest still, is stretched over the depth
    and raised to a power that meets the budget: no fit on data.
    """

    title: ClassVar[str] = "FitPrune"
    about: ClassVar[About] = About(
        "FitPrune (2409.10197)",
        "inside the model",
        ("whole attention maps, one layer at a time",),
        training="none here; the paper fits its counts to data",
        interpretation=True,
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"
    recipe: tuple[Count, ...] | None = None

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return cuts at every layer in the course of the published recipe."""
        left = [_left(32 * layer / size.layers) for layer in range(1, size.layers)]

        def shares(t: float) -> list[float]:
            return [share ** (1 / t - 1) if t else 0.0 for share in left]

        return shaped("fitprune", target, size, shares)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Drop what neither the picture nor the text attended to in the layer before."""
        counts = self._counts(boundary)
        if counts is None:
            return None
        return stay_best([_received(boundary, sample) for sample in boundary.samples], counts)

    def _counts(self, boundary: Boundary) -> list[int] | None:
        if self.recipe is None or boundary.layer == 0:
            return wanted(self.plan, boundary)
        gone = sum(self.recipe[: boundary.layer])
        return [max(0, entering - gone) for entering in boundary.entering]


def _left(layer: float) -> float:
    """Return the share of the tokens that the published recipe leaves before a layer of 32, between layers in line."""
    below = int(layer)
    return _LEFT[below] + (layer - below) * (_LEFT[min(below + 1, 31)] - _LEFT[below])


def _received(boundary: Boundary, sample: int) -> Tensor:
    now, device = boundary.now, boundary.now.hidden.device
    visual, text = now.visual[sample], now.text[sample]
    rows = torch.arange(now.lengths[sample], device=device)
    from_picture = torch.zeros(len(rows), device=device).index_fill(0, visual, 1 / max(1, len(visual)))
    from_text = torch.zeros(len(rows), device=device).index_copy(0, text, behind(boundary, sample).float())
    query, key = boundary.query_key(sample, rows, back=True)
    return product_of(query, key, torch.stack([from_picture, from_text]))[visual]


def product_of(query: Tensor, key: Tensor, weights: Tensor) -> Tensor:
    """Return the product [T] fp32 of two column sums of the attention map's largest heads.

    `query` [H, T, dh], scaled, and `key` [Hkv, T, dh] of all tokens; `weights` [2, T]: of each row, for each sum.
    """
    places = torch.arange(key.shape[1], device=key.device)
    sums = weights.new_zeros(weights.shape)
    for part in places.split(_CHUNK):
        sums = sums + weights[:, part] @ row_attention(query[:, part], key, part).amax(0)  # (2, T)
    return sums[0] * sums[1]
