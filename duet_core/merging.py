"""Stage 1, vision to vision: dominant tokens stay, the best of the rest merge, the others vanish.

Pure tensor functions (DUET-VLM section 3.1). B pictures, N tokens each, D width, Dk key width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Merged:
    """What stage 1 made of N tokens: n1 = d dominant tokens followed by c contextual ones.

    `tokens` [B, n1, D]; `dominant` [B, d] token indices in raster order; `anchors` [B, c] and `members` [B, m] token
    indices in descending score order; `assign` [B, m] the number of each member's anchor (0..c-1). Indices are int64.
    """

    tokens: Tensor
    dominant: Tensor
    anchors: Tensor
    members: Tensor
    assign: Tensor


def pool_size(tokens: int, dominant: int, contextual: int, cluster_width: int) -> int:
    """Return how many of `tokens` tokens enter the pool that is merged (section 3.1: at least one if any is left)."""
    return min(max(1, cluster_width * contextual), max(0, tokens - dominant))


def entering_count(tokens: int, dominant: int, contextual: int) -> int:
    """Return n1, the tokens that leave stage 1. The pool is never empty, so `contextual` = 0 still makes one."""
    dominant = min(dominant, tokens)
    return dominant + min(max(1, contextual), tokens - dominant)


def merge(hidden: Tensor, keys: Tensor, scores: Tensor, dominant: int, contextual: int, cluster_width: int) -> Merged:
    """Reduce N vision tokens to `dominant` unchanged and `contextual` merged ones.

    `hidden` [B, N, D] token features; `keys` [B, N, Dk] mean key projection over heads; `scores` [B, N] float, where
    a token that must stay (CLS) has +inf. Differs from VisionZip: tokens outside the pool vanish instead of merging.
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)  # (B, N)
    n_pool = pool_size(order.shape[1], dominant, contextual, cluster_width)
    pool = order[:, dominant : dominant + n_pool]  # (B, p)
    chosen = order[:, :dominant].sort(dim=-1).values  # (B, d)
    anchors, members = _split_pool(pool, max(1, contextual))
    assign = nearest(keys, anchors, members)  # (B, m)
    contextual_tokens = rows_of(hidden, anchors) + means(rows_of(hidden, members), assign, anchors.shape[1])
    tokens = torch.cat([rows_of(hidden, chosen), contextual_tokens], dim=1)  # (B, n1, D)
    return Merged(tokens, chosen, anchors, members, assign)


def _split_pool(pool: Tensor, contextual: int) -> tuple[Tensor, Tensor]:
    """Return (anchors [B, c], members [B, m]): every step-th of the pool anchors, the first `contextual` of them."""
    step = max(1, pool.shape[1] // contextual)
    is_anchor = torch.zeros(pool.shape[1], dtype=torch.bool)
    is_anchor[::step][:contextual] = True
    anchors, members = is_anchor.nonzero().flatten(), (~is_anchor).nonzero().flatten()
    return pool[:, anchors.to(pool.device)], pool[:, members.to(pool.device)]  # (B, c), (B, m)


def nearest(keys: Tensor, anchors: Tensor, members: Tensor) -> Tensor:
    """Return [B, m]: for each member the number of the anchor whose key is most alike (cosine)."""
    if members.shape[1] == 0:
        return members.new_zeros(members.shape)
    ours, theirs = (F.normalize(rows_of(keys, index).float(), dim=-1) for index in (members, anchors))
    alike = ours @ theirs.transpose(1, 2)  # (B, m, c)
    return alike.argmax(dim=-1)  # (B, m)


def means(features: Tensor, assign: Tensor, n_anchors: int) -> Tensor:
    """Return [B, c, D]: the mean of each anchor's members, zero for a lone anchor (summed in fp32)."""
    belongs = F.one_hot(assign, max(1, n_anchors))[..., :n_anchors].float()  # (B, m, c)
    sums = belongs.transpose(1, 2) @ features.float()  # (B, c, D)
    counts = belongs.sum(dim=1).clamp(min=1.0).unsqueeze(-1)  # (B, c, 1)
    return (sums / counts).to(features.dtype)


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Gather [B, k, D] from [B, N, D] by [B, k]."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
