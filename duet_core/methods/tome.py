"""ToMe (2210.09461) on the encoder's output: merge the most alike pairs until few enough tokens are left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.settings import Count
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class ToMe(Method):
    """Rounds of bipartite matching: tokens in turns into two rows, each of the first finds its best in the second.

    The most alike pairs (cosine) merge, weighted by how many patches they are. `at_once`: pairs a round, 0 for as many
    as there are. Deviations: the paper merges inside the encoder, between attention and MLP of each layer, by keys;
    here the encoder is left alone and its output features both match and merge. Each round goes in raster order of the
    tokens' places, a merged one at the place of its partner in the second row.
    """

    title: ClassVar[str] = "ToMe"
    about: ClassVar[About] = About(
        "ToMe (2210.09461)",
        "before the model",
        ("encoder features",),
        confidence="merging functions of the official code read; applied behind the encoder",
        interpretation=True,
    )
    at_once: Count = 0

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, equally many of each frame."""
        return before_model("tome", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Merge pairs, round after round."""
        many = self.entering(look)
        if many is None:
            return None
        state = Matching.start(look.patch_features.float())
        while (excess := state.tokens.shape[1] - many) > 0:
            pairs = state.tokens.shape[1] // 2
            state = state.merged(min(excess, pairs, self.at_once or pairs))
        return merge_patches(look, state.tokens, state.places, state.group, state.counts == 1)


@dataclass(frozen=True, slots=True)
class Matching:
    """Tokens between two rounds: `tokens` [I, m, D] fp32, `counts` [I, m] patches in each, `places` [I, m] patches.

    `group` [I, P]: the number of the token that each patch is in.
    """

    tokens: Tensor
    counts: Tensor
    places: Tensor
    group: Tensor

    @classmethod
    def start(cls, features: Tensor) -> Matching:
        """Return every patch of features [I, P, D] as a token of its own."""
        places = torch.arange(features.shape[1], device=features.device).expand(features.shape[:2])
        return cls(features, torch.ones_like(places), places, places)

    def merged(self, pairs: int) -> Matching:
        """Return the tokens after the most alike `pairs` have merged."""
        directions = F.normalize(self.tokens, dim=-1)
        best, partner = (directions[:, ::2] @ directions[:, 1::2].transpose(1, 2)).max(-1)  # (I, a)
        order = best.argsort(dim=1, descending=True, stable=True)
        gone, left = order[:, :pairs], order[:, pairs:].sort(1).values  # numbers in the first row
        partner = 2 * partner.gather(1, gone) + 1  # (I, pairs)
        stays = torch.cat([2 * left, _second(self.places)], 1).sort(1).values  # (I, m')
        return self._into(2 * gone, partner, stays)

    def _into(self, gone: Tensor, partner: Tensor, stays: Tensor) -> Matching:
        """Return the tokens `stays` [I, m'], to whom those `gone` [I, k] are added as their `partner` [I, k] says."""
        own = torch.arange(self.places.shape[1], device=gone.device).expand_as(self.places)
        target = own.scatter(1, gone, partner)  # (I, m): where each token goes
        joins = (stays.unsqueeze(-1) == target.unsqueeze(1)).float()  # (I, m', m)
        weighted = joins @ (self.tokens * self.counts.unsqueeze(-1))  # (I, m', D)
        counts = (joins @ self.counts.unsqueeze(-1).float()).squeeze(-1).long()
        number = own.scatter(1, stays, own[:, : stays.shape[1]])  # new numbers of those that stay
        group = number.gather(1, target).gather(1, self.group)
        return Matching(weighted / counts.unsqueeze(-1), counts, self.places.gather(1, stays), group)


def _second(places: Tensor) -> Tensor:
    """Return the numbers [I, b] of the second row of tokens at places [I, m]."""
    return torch.arange(1, places.shape[1], 2, device=places.device).expand(len(places), -1)
