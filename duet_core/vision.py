"""Runs a vision encoder up to the layer that is used, and gathers stage 1's evidence there.

I pictures (or frames), N = P + 1 tokens with CLS first, H heads, D width, Dh head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What the encoder made of I pictures: the used layer's output `features` and input `before`, [I, N, D] each."""

    features: Tensor
    before: Tensor
    layer: Any  # the transformers module, whose attributes no type declares


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stage 1 decides by: `scores` [I, N] fp32 (+inf for CLS, which stays), `keys` [I, N, Dh] mean over heads."""

    scores: Tensor
    keys: Tensor


def run_clip(tower: Any, pixels: Tensor, n_layers: int) -> Seen:
    """Run the first `n_layers` layers of a CLIP vision model on `pixels` [I, 3, h, w]; the rest is never computed."""
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))  # (I, N, D)
    for layer in tower.encoder.layers[: n_layers - 1]:
        hidden = _states(layer(hidden, attention_mask=None))
    last = tower.encoder.layers[n_layers - 1]
    return Seen(_states(last(hidden, attention_mask=None)), hidden, last)


def clip_evidence(seen: Seen) -> Evidence:
    """Compute the CLS row of the used layer's attention and its keys, beside SDPA: no attention map is ever made.

    Score of a patch: softmax(q_CLS k^T / sqrt(dh)) summed over heads. Keys: with bias, unscaled (section 3.1).
    """
    attention = seen.layer.self_attn
    normed = seen.layer.layer_norm1(seen.before)  # (I, N, D)
    keys = _heads(attention.k_proj(normed), attention.num_heads)  # (I, H, N, Dh)
    query = _heads(attention.q_proj(normed[:, :1]), attention.num_heads)  # (I, H, 1, Dh)
    row = ((query @ keys.transpose(2, 3)).float() * attention.scale).softmax(dim=-1)  # (I, H, 1, N)
    scores = row.sum(dim=1).squeeze(1)  # (I, N)
    scores[:, 0] = float("inf")
    return Evidence(scores, keys.mean(dim=1))


def _heads(projected: Tensor, heads: int) -> Tensor:
    """Split [I, N, H*Dh] into [I, H, N, Dh]."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)


def _states(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return a layer's hidden states, whether or not this version of transformers wraps them in a tuple."""
    return output[0] if isinstance(output, tuple) else output
