"""TokenCarve (2503.10501): keep what carries information and attention, then merge its lower half into the upper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.merging import means
from duet_core.methods.base import About, Method
from duet_core.methods.choosing import ranks, wanted
from duet_core.methods.settings import Share
from duet_core.plan import Plan, Size
from duet_core.schedules import inside_model

_AFTER = 2  # layers, of 32


@dataclass(frozen=True, slots=True)
class TokenCarve(Method):
    """One cut. Score: ranks by attention of the last token and by sum_j |U_ij| sigma_j of the states' SVD, mixed.

    The best 1.5 n stay at first; then the n / 2 tokens of their lower half that are most alike to one of the upper half
    join it in a mean. `weight`: the share of the information's rank. Layers before the cut lose the dropped tokens'
    cache, too. Differs: the SVD comes from the Gram matrix in fp64, and the budget is the average over all layers.
    """

    title: ClassVar[str] = "TokenCarve"
    about: ClassVar[About] = About(
        "TokenCarve (2503.10501)", "inside the model", ("attention row of the last token", "SVD of the states")
    )
    positions: ClassVar[Literal["compact", "original"]] = "original"
    weight: Share = 0.5

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return one cut after 2 of 32 layers."""
        return inside_model("tokencarve", target, size, (_AFTER,))

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Prune to 1.5 times the budget, then merge down to it."""
        counts = wanted(self.plan, boundary)
        if counts is None:
            return None
        states, seen = boundary.now.states(), boundary.last(back=True)
        scores = [mixed(attention, own, self.weight) for attention, own in zip(seen, states, strict=True)]
        carved = [carve(own, rank, count) for own, rank, count in zip(states, scores, counts, strict=True)]
        keep, states, joined = (list(parts) for parts in zip(*carved, strict=True))
        return Stay(keep, scores, states, joined)

    def trims(self, layer: int) -> bool:
        """The layers before the cut lose the dropped tokens."""
        return layer < min(self.plan.layers, default=0)


def information(states: Tensor) -> Tensor:
    """Return sum_j |U_ij| sigma_j [n] fp32 of the singular value decomposition of the states [n, D].

    By way of the smaller Gram matrix, n x n or D x D, worked in fp64, as squaring would lose the small singular values
    otherwise.
    """
    at = "cpu" if states.device.type == "mps" else states.device  # MPS has no fp64
    wide = states.to(at).double()
    if wide.shape[1] < wide.shape[0]:  # U sigma = X V
        scaled = wide @ torch.linalg.eigh(wide.T @ wide).eigenvectors  # (n, D)
        return scaled.abs().sum(dim=1).float().to(states.device)  # (n,)
    squares, directions = torch.linalg.eigh(wide @ wide.T)  # (n,), (n, n)
    return (directions.abs() @ squares.clamp(min=0).sqrt()).float().to(states.device)  # (n,)


def mixed(attention: Tensor, states: Tensor, weight: Share = 0.5) -> Tensor:
    """Return the mix [n] fp32 of both ranks (n for the best, 1 for the worst)."""
    return (1 - weight) * ranks(attention).float() + weight * ranks(information(states)).float()


def carve(states: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ascending tokens [count] int64 that stay of [n, D], and the states [count, D] they go on with.

    And the token that each of the n became part of [n] int64, -1 for those that are gone.
    """
    first = min(int(1.5 * count), len(states))
    order = scores.argsort(descending=True, stable=True)[:first]
    upper, lower = order.tensor_split([(first + 1) // 2])
    joined = torch.full_like(scores, -1, dtype=torch.long).index_copy(0, order, order)
    alike = F.normalize(states[lower].float(), dim=-1) @ F.normalize(states[upper].float(), dim=-1).T  # (b, a)
    if not len(lower):
        return order.sort().values, states[order.sort().values], joined
    best, partner = alike.max(dim=1)
    joining, staying = best.argsort(descending=True, stable=True).tensor_split([first - count])
    merged = torch.cat([states[upper], states[lower[joining]]])  # (a + m, D)
    group = torch.cat([torch.arange(len(upper), device=upper.device), partner[joining]])
    made = torch.cat([means(merged[None], group[None], len(upper))[0], states[lower[staying]]])  # (count, D)
    keep, by_place = torch.cat([upper, lower[staying]]).sort()
    return keep, made[by_place], joined.index_copy(0, lower[joining], upper[partner[joining]])
