"""The encoder's part of TRIO (2602.04657): patches that CLS attends to, half of them window by window."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from duet_core.merging import means, nearest, rows_of
from duet_core.methods.base import Fates, Look, Selection, merged_fates
from duet_core.methods.choosing import ranks

_WINDOWS = 4  # along either side


def front(look: Look, count: int) -> Selection:
    """Let `count` tokens of each picture in; every other patch is averaged into the one it is most alike to.

    Differs: windows and whole picture are ranked by the same layer's attention (published: an early one for the
    windows), and likeness and mean are those of the encoder's output, not of the projected tokens.
    """
    scores, features = look.evidence().scores[:, look.extra :], look.features[:, look.extra :]  # (I, P), (I, P, D)
    count = min(count, look.patches)
    priority = torch.stack([here_and_overall(own, look.seen.rows_cols, count) for own in scores])
    order = priority.argsort(dim=1, descending=True)
    chosen, others = order[:, :count].sort(1).values, order[:, count:]
    group = nearest(features, chosen, others)  # (I, P - n1)
    own = torch.arange(count, device=group.device).expand(len(group), -1)
    group = torch.cat([own, group], 1)  # (I, P)
    index = torch.cat([chosen, others], 1)
    tokens = means(rows_of(features, index), group, count)  # (I, n1, D)
    token_of = torch.empty_like(group).scatter(1, index, group)
    return Selection(tokens, chosen + look.extra, partial(_fates, look, chosen, token_of, scores))


def here_and_overall(scores: Tensor, rows_cols: tuple[int, int], count: int) -> Tensor:
    """Return the priority [P] int64 of patches, all different: the best of each window first, then the best of all.

    `scores` [P]; the windows share half of `count` evenly, rounded down.
    """
    rows, cols = rows_cols
    patches = torch.arange(len(scores), device=scores.device)
    window = patches // cols * _WINDOWS // rows * _WINDOWS + patches % cols * _WINDOWS // cols
    rank = ranks(scores)
    same = window.unsqueeze(1) == window
    better = (same & (rank > rank.unsqueeze(1))).sum(1)  # how many of its window are better
    return rank + len(scores) * (better < count // 2 // _WINDOWS**2)


def _fates(look: Look, chosen: Tensor, token_of: Tensor, scores: Tensor) -> Fates:
    """Read off each patch's fate: a token that nothing joined is unchanged."""
    members = torch.zeros_like(chosen).scatter_add(1, token_of, torch.ones_like(token_of))  # (I, n1)
    return merged_fates(chosen, token_of, members == 1, scores)
