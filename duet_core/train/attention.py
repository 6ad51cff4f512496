"""Attention for training on few cores: the scores of a few heads at a time, so that they stay in the cache.

The fused CPU kernels are slow backwards; this one keeps q, k and v alone and works the scores out again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

CHUNKED = "chunked"
"""The name of this attention as transformers knows it, for encoders in training."""
_CACHED = 1_500_000  # scores worked on at a time: what a core's cache holds


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, hidden: Tensor | None = None) -> Tensor:
    """Softmax attention [B, H, T, d] of queries [B, H, T, d] over keys and values [B, H, S, d], any dtype.

    `hidden` [B or 1, 1, T, S] bool is true where a query must not look.
    """
    shape = query.shape
    flat = [part.flatten(0, 1) for part in (query, key, value)]  # (B * H, T or S, d)
    return _Attention.apply(*flat, scale, hidden, shape[1]).view(shape)


class _Attention(torch.autograd.Function):
    """Forward and backward over chunks of heads."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, hidden: Tensor | None, heads: int) -> Tensor:
        ctx.save_for_backward(q, k, v, hidden)
        ctx.scale, ctx.heads = scale, heads
        out = torch.empty_like(q)
        for part in _chunks(q, k, heads):
            torch.bmm(_weights(q[part] * scale, k[part], hidden, part, heads), v[part], out=out[part])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, hidden = ctx.saved_tensors
        grad, dq, dk, dv = grads[0].contiguous(), torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for part in _chunks(q, k, ctx.heads):
            scaled = q[part] * ctx.scale
            weights = _weights(scaled, k[part], hidden, part, ctx.heads)  # (c, T, S)
            torch.bmm(weights.mT, grad[part], out=dv[part])
            dweights = grad[part] @ v[part].mT
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            torch.bmm(dscores, k[part], out=dq[part])
            torch.bmm(dscores.mT, scaled, out=dk[part])
        return dq.mul_(ctx.scale), dk, dv, None, None, None


def _chunks(q: Tensor, k: Tensor, heads: int) -> list[slice]:
    """Slices of the flat heads: several pictures, one picture, or some heads of one picture."""
    fitting = max(1, _CACHED // (q.shape[1] * k.shape[1]))
    if fitting >= heads:
        size = fitting // heads * heads
        return [slice(start, start + size) for start in range(0, len(q), size)]
    size = next(size for size in range(fitting, 0, -1) if heads % size == 0)
    return [slice(start, start + size) for start in range(0, len(q), size)]


def _weights(scaled: Tensor, k: Tensor, hidden: Tensor | None, part: slice, heads: int) -> Tensor:
    scores = scaled @ k.mT  # (c, T, S)
    if hidden is not None:
        scores.masked_fill_(_own(hidden, part, heads, len(scores)), float("-inf"))
    return scores.softmax(-1)


def _own(hidden: Tensor, part: slice, heads: int, count: int) -> Tensor:
    """The mask of a chunk of flat heads, [c, T, S] or [1, T, S]."""
    if len(hidden) == 1:
        return hidden[0]
    first = part.start // heads
    pictures = -(-count // heads)
    rows = hidden[first : first + pictures, 0]
    return rows if count < heads else rows.repeat_interleave(heads, 0)


def _for_transformers(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """What transformers calls for `attn_implementation=CHUNKED`; only for encoders, which mask nothing."""
    return attend(query, key, value, scaling).transpose(1, 2), None


AttentionInterface.register(CHUNKED, _for_transformers)
