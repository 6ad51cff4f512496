"""What the methods that act inside the language model share: counts, rows of text, ranks, and one greedy choice.

n visual tokens of a sample, t text tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.plan import Plan
from duet_core.pruning import keep_best


def wanted(plan: Plan, boundary: Boundary) -> list[int] | None:
    """Return how many tokens of each sample stay before this layer; None where nothing is dropped."""
    ratio = plan.ratio_at(boundary.layer)
    return None if ratio is None else [int(entering * ratio) for entering in boundary.entering]


def stay_best(scores: Sequence[Tensor], counts: Sequence[int]) -> Stay:
    """Keep the tokens of the best scores [n], ties going to the earlier token."""
    return Stay([keep_best(own, count) for own, count in zip(scores, counts, strict=True)], list(scores))


def behind(boundary: Boundary, sample: int) -> Tensor:
    """Return which text tokens [t] bool lie behind a sample's last picture: all, if none does."""
    first = boundary.first
    after = first.text[sample] > first.visual[sample].max()
    return torch.where(after.any(), after, torch.ones_like(after))


def text_rows(boundary: Boundary, sample: int, back: bool = True) -> Tensor:
    """Return the attention [H, t, n] fp32 of all text tokens to the visual ones, none of it to later tokens."""
    return boundary.rows(sample, boundary.now.text[sample], back)[..., boundary.now.visual[sample]]


def mean_of(rows: Tensor, which: Tensor) -> Tensor:
    """Return the mean [n] over heads and over those rows of [H, t, n] that `which` [t] bool marks."""
    return which.float() @ rows.mean(0) / which.sum()


def attention_of_text(boundary: Boundary, sample: int) -> Tensor:
    """Return the attention [n] fp32 of all text behind the pictures in the layer before, in the mean over heads."""
    return mean_of(text_rows(boundary, sample), behind(boundary, sample))


def ranks(scores: Tensor) -> Tensor:
    """Return the ranks [n] int64 of scores [n]: n for the best, 1 for the worst, ties in favour of the earlier."""
    order = scores.argsort(descending=True, stable=True)
    return torch.empty_like(order).index_copy(0, order, torch.arange(len(order), 0, -1, device=order.device))


def cosines(states: Tensor) -> Tensor:
    """Return how alike the tokens [n, D] are, [n, n] fp32."""
    unit = F.normalize(states.float(), dim=-1)
    return unit @ unit.T


def spread_out(rank: Tensor, alike: Tensor, count: int, free: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Pick `count` tokens greedily by rank, none of them alike to one picked before while there are such.

    `rank` [n] int64 from 1 on, all different; `alike` [n, n] bool; `free` [n] bool: who may be picked so; `taken` [n]
    bool: who is out for good. When no free token is left, the others follow by rank. Returns the picks [count] int64
    and whether each was free [count] bool; nothing here waits for a device.
    """
    numbers, n = torch.arange(len(rank), device=rank.device), len(rank)
    picks, were_free = numbers.new_empty(count), free.new_empty(count)
    for step in range(count):
        free = free & ~taken
        best = torch.where(taken, 0, rank + n * free).argmax(0, keepdim=True)  # (1,)
        picks[step : step + 1], were_free[step : step + 1] = best, free[best]
        taken, free = taken | (numbers == best), free & ~alike[best][0]
    return picks, were_free
