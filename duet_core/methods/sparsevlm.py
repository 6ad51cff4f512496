"""SparseVLM (2410.04417): words that look at the picture rate its tokens; some of the dropped return as clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.merging import means
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import behind, mean_of, text_rows, wanted
from duet_core.methods.settings import AtLeastOne, Share
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

LAYERS = (3, 7, 16)  # of 32: behind the layers 2, 6 and 15, whose attention counts


@dataclass(frozen=True, slots=True)
class SparseVLM(Method):
    """Three cuts, each by the attention of the raters' rows in the layer before, in the mean over heads and rows.

    `recycled`: the share of the dropped tokens, best first, that is clustered (0 for none); `per_cluster`: how many of
    them a cluster stands for. `count`: "fixed" keeps to the plan; "rank", as the first release did, keeps `scale` times
    the rank of the raters' attention plus `bias`, whatever the budget. Differs: clusters count as part of the budget
    and take the place of their centre instead of following the kept tokens, and one common ratio replaces the
    published lists.
    """

    title: ClassVar[str] = "SparseVLM"
    about: ClassVar[About] = About(
        "SparseVLM (2410.04417)", "inside the model", ("embeddings", "attention rows of the raters", "states")
    )
    recycled: Share = 0.3
    per_cluster: AtLeastOne = 10
    count: Literal["fixed", "rank"] = "fixed"
    scale: float = 1.0
    bias: float = 0.0

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return three cuts by a common ratio."""
        return inside_model("sparsevlm", target, size, LAYERS)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep what the raters look at, and clusters of what they look at next."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        chosen = [self._choose(boundary, sample, total) for sample, total in enumerate(counts)]
        return Stay(*(list(parts) for parts in zip(*chosen, strict=True)))

    def _choose(self, boundary: Boundary, sample: int, total: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return of one sample what `Stay` takes: who stays, all scores, the states to go on with, and who joined."""
        rows, which = text_rows(boundary, sample), raters_of(boundary, sample)
        scores, states = mean_of(rows, which), boundary.now.states()[sample]
        kept, clusters = self._split(rows.mean(0) * which.unsqueeze(-1), len(scores), total)
        keep, made, joined = self._recycle(scores, states, kept, clusters)
        return keep, scores, made, joined

    def _split(self, rated: Tensor, there: int, total: int) -> tuple[int, int]:
        """Return how many tokens stay as they are, and how many clusters; `rated` [t, n] the raters' attention."""
        if self.count == "fixed":
            return split(there, total, self._clusters)
        kept = min(there, max(0, int(int(torch.linalg.matrix_rank(rated)) * self.scale + self.bias)))
        return kept, self._clusters(there - kept)

    def _pool(self, dropped: int) -> int:
        return int(self.recycled * dropped) + 1 if self.recycled and dropped else 0

    def _clusters(self, dropped: int) -> int:
        pool = self._pool(dropped)
        return pool // self.per_cluster + 1 if pool else 0

    def _recycle(self, scores: Tensor, states: Tensor, kept: int, clusters: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the ascending tokens that stay and their states, cluster centres with the mean of their cluster.

        And the token that each of the n became part of [n] int64, -1 for those that are gone.
        """
        best, dropped = scores.argsort(descending=True, stable=True).tensor_split([kept])
        joined = torch.full_like(scores, -1, dtype=torch.long).index_copy(0, best, best)
        if not clusters:
            best = best.sort().values
            return best, states[best], joined
        pool = dropped[: max(clusters, self._pool(len(dropped)))]
        noise = torch.rand(len(pool), generator=torch.Generator().manual_seed(self.plan.seed)).to(states.device)
        centres, group = clustered(states[pool], clusters, noise)
        made = torch.cat([states[best], means(states[pool][None], group[None], clusters)[0]])  # (n', D)
        keep, by_place = torch.cat([best, pool[centres]]).sort()
        return keep, made[by_place], joined.index_copy(0, pool, pool[centres[group]])


def raters_of(boundary: Boundary, sample: int) -> Tensor:
    """Return which of a sample's text tokens [t] bool are raters, by the embeddings that entered the model."""
    first, own = boundary.first, boundary.first.hidden[sample]
    return raters(own[first.visual[sample]], own[first.text[sample]], behind(boundary, sample))


def raters(visual: Tensor, text: Tensor, asked: Tensor) -> Tensor:
    """Return which of the text tokens [t, D] are visually relevant: more than the mean one of those `asked` [t] bool.

    Relevance: softmax over the asked text of the dot products (unscaled) with each of `visual` [n, D], then the mean
    over those. Where all are alike, all that are asked rate.
    """
    logits = (visual.float() @ text.float().T).masked_fill(~asked, float("-inf"))  # (n, t)
    relevance = logits.softmax(-1).mean(0)
    chosen = asked & (relevance > relevance.sum() / asked.sum())
    return torch.where(chosen.any(), chosen, asked)


def split(there: int, total: int, clusters: Callable[[int], int]) -> tuple[int, int]:
    """Return (tokens kept, clusters) that are `total` together; `clusters(dropped)` follow from the tokens dropped."""
    for kept in range(min(total, there), -1, -1):
        if kept + clusters(there - kept) <= total:
            return kept, total - kept
    return 0, total


def clustered(states: Tensor, clusters: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Group tokens [m, D] by DPC-kNN; returns the centres [c] int64 and the cluster [m] int64 of every token.

    Density: exp(-mean squared distance to the c nearest, itself among them), with `noise` [m] in [0, 1) times 1e-6
    against ties; distances are L2 / sqrt(D). Centres: the largest products of density and distance to a denser token.
    """
    near = torch.cdist(states.float(), states.float(), compute_mode="donot_use_mm_for_euclid_dist")
    near = near / states.shape[1] ** 0.5  # (m, m)
    density = (-near.topk(clusters, largest=False).values.square().mean(-1)).exp() + noise * 1e-6  # (m,)
    denser = density > density.unsqueeze(-1)  # (m, m)
    apart = torch.where(denser, near, near.max()).amin(-1)
    centres = (density * apart).argsort(descending=True, stable=True)[:clusters]
    group = near[:, centres].argmin(-1)
    return centres, group.index_copy(0, centres, torch.arange(clusters, device=group.device))
