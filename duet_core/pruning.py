"""Stage 2, text to vision: which visual tokens the question still looks at.

Pure tensor functions (DUET-VLM section 3.2). H heads, Hkv key heads, T tokens, R query rows, n visual tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def text_to_vision(q: Tensor, k: Tensor, query_at: Tensor, visual_at: Tensor) -> Tensor:
    """Return the mean attention that each visual token receives from the query tokens.

    `q`, `k`, `query_at` as for `row_attention`; `visual_at` [n] int64 places in the sequence. Softmax over all keys up
    to each query, then the mean over heads and rows. Returns [n] fp32.
    """
    return row_attention(q, k, query_at).mean(dim=(0, 1))[visual_at]  # (n,)


def text_to_vision_by_row(q: Tensor, k: Tensor, query_at: Tensor, visual_at: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `text_to_vision` does, [n], and the attention of each query token before that mean over rows, [R, n].

    Both fp32, from one map of attention.
    """
    rows = row_attention(q, k, query_at)  # (H, R, T)
    return rows.mean(dim=(0, 1))[visual_at], rows.mean(dim=0)[:, visual_at]  # (n,), (R, n)


def row_attention(q: Tensor, k: Tensor, query_at: Tensor) -> Tensor:
    """Return the causal attention [H, R, T] fp32 of some rows, without the whole map.

    `q` [H, R, dh] the query rows, scaled by 1/sqrt(dh), `k` [Hkv, T, dh] all keys, both after RoPE; `query_at` [R]
    int64 places in the sequence. Softmax in fp32.
    """
    heads, rows, width = q.shape
    groups = q.reshape(k.shape[0], heads // k.shape[0] * rows, width)  # (Hkv, g*R, dh)
    logits = (groups @ k.transpose(1, 2)).float()  # (Hkv, g*R, T)
    logits = logits.view(heads, rows, -1)  # (H, R, T)
    later = torch.arange(k.shape[1], device=k.device) > query_at.unsqueeze(-1)  # (R, T)
    return logits.masked_fill(later, float("-inf")).softmax(dim=-1)


def keep_best(scores: Tensor, keep: int) -> Tensor:
    """Return the `keep` best of `scores` [n] as ascending indices [keep] int64; ties go to the earlier token."""
    return scores.argsort(descending=True, stable=True)[:keep].sort().values
