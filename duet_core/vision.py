"""Runs a vision encoder up to the layer that is used, and gathers stage 1's evidence there.

I pictures (or frames), N = P + 1 tokens with CLS first, H heads, D width, Dh head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.cache import hidden_slots
from duet_core.devices import device_of
from duet_core.errors import ClipError
from duet_core.tiling import Tiling

_AT_ONCE = 8  # pictures that an encoder takes together


@dataclass(frozen=True, slots=True)
class Reel:
    """One video: how many of the encoder's pictures it is, and the seconds from one of them to the next."""

    pictures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the encoder made of I pictures.

    `features` [I, N, D]: the used layer's output. `query` [I, H, R, Dh], of CLS alone or of all tokens where there is
    no CLS, and `keys` [I, H, N, Dh]: what that layer's attention made anyway, so that stage 1 need not compute it
    again; `scale` is its 1/sqrt(Dh). `rows_cols`: the patches of each picture. `pixels` [I, 3, h, w]: what was seen, of
    encoders that could look at it again in another size (elsewhere empty). `tilings`: for a family that cuts pictures
    up, how; the I pictures here are then the crops of all of them. `real` [I, N] bool: which tokens of the encoder are
    no padding, None where all are. `reels`: for a family whose positions tell time, which of the I pictures, one after
    the other, are which video.
    """

    features: Tensor
    query: Tensor
    keys: Tensor
    scale: float
    rows_cols: tuple[int, int]
    pixels: Tensor = field(default_factory=lambda: torch.empty(0))
    tilings: tuple[Tiling, ...] = ()
    real: Tensor | None = None
    reels: tuple[Reel, ...] = ()

    @property
    def extra(self) -> int:
        """Tokens in front that are no patch: CLS, where there is one."""
        return self.features.shape[1] - self.rows_cols[0] * self.rows_cols[1]


def reels_of(reels: Sequence[Reel], pictures: range) -> tuple[Reel, ...]:
    """Return the videos that some of the encoder's pictures are; a ClipError where they end within one."""
    starts = list(accumulate((reel.pictures for reel in reels), initial=0))
    if reels and not {pictures.start, pictures.stop} <= set(starts):
        raise ClipError(
            f"The prompt has room for {len(pictures)} steps in time of its clips, which is no whole number of clips;"
            " give whole clips."
        )
    return tuple(reel for reel, start in zip(reels, starts, strict=False) if start in pictures)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stage 1 decides by: `scores` [I, N] fp32 (+inf for CLS, which stays), `keys` [I, N, Dh] mean over heads."""

    scores: Tensor
    keys: Tensor


def run_encoder(tower: Any, pixels: Tensor, n_layers: int, rows_cols: tuple[int, int], has_cls: bool = True) -> Seen:
    """Run the first `n_layers` layers of a CLIP or SigLIP model on `pixels` [I, 3, h, w]; the rest never runs.

    A few pictures at a time, so that a long clip needs no more memory for it than a short one.
    """
    parts = [_run_some(tower, some, n_layers, has_cls) for some in pixels.split(_AT_ONCE)]
    features, query, keys, (scale, *_) = zip(*parts, strict=True)
    return Seen(_joined(features), _joined(query), _joined(keys), scale, rows_cols, pixels)


def _run_some(tower: Any, pixels: Tensor, n_layers: int, has_cls: bool) -> tuple[Tensor, Tensor, Tensor, float]:
    usual = pixels.shape[-2:] == (tower.config.image_size, tower.config.image_size)
    other = {} if usual else {"interpolate_pos_encoding": True}
    hidden = tower.embeddings(pixels, **other)  # (I, N, D)
    if has_cls:
        hidden = tower.pre_layrnorm(hidden)
    features, query, keys, scale = run_layers(tower.encoder.layers[:n_layers], hidden)
    return features, query[:, :, :1].clone() if has_cls else query, keys, scale  # a view would keep all queries


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def run_layers(
    layers: Sequence[Any], hidden: Tensor, real: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Run an encoder's layers on hidden states [I, N, D]: the output, and what `_last_layer` tells of the last one.

    `real` [I, N] bool: which tokens are no padding, None where all are.
    """
    mask = None if real is None else hidden_slots(real, hidden.dtype)  # (I, 1, 1, N)
    for layer in layers[:-1]:
        flash = layer.self_attn.config._attn_implementation == "flash_attention_2"  # takes what is real as it is
        hidden = _states(layer(hidden, attention_mask=real if flash else mask))
    return _last_layer(layers[-1], hidden, mask)


def _last_layer(layer: Any, hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, float]:
    """Run the used layer step by step, through SDPA: its output, and the queries, keys and scale of its attention."""
    hidden = hidden.to(device_of(layer))
    attention, normed = layer.self_attn, layer.layer_norm1(hidden)
    query, keys, values = (
        _heads(project(normed), attention.num_heads)  # (I, H, N, Dh)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(query, keys, values, mask, scale=attention.scale)
    hidden = hidden + attention.out_proj(mixed.transpose(1, 2).flatten(2))  # (I, N, D)
    return hidden + layer.mlp(layer.layer_norm2(hidden)), query, keys, attention.scale


def cls_evidence(seen: Seen) -> Evidence:
    """Compute the CLS row of the used layer's attention; no attention map is ever made.

    Score of a patch: softmax(q_CLS k^T / sqrt(dh)) summed over heads. Keys: with bias, unscaled (section 3.1).
    """
    row = ((seen.query @ seen.keys.transpose(2, 3)).float() * seen.scale).softmax(dim=-1)  # (I, H, 1, N)
    scores = row.sum(dim=1).squeeze(1)  # (I, N)
    scores[:, 0] = float("inf")
    return Evidence(scores, seen.keys.mean(dim=1))


def received_evidence(seen: Seen) -> Evidence:
    """Score every patch by the attention it receives, as encoders without CLS do (SigLIP, in the published code)."""
    return Evidence(attention_received(seen), seen.keys.mean(dim=1))


def merged_evidence(seen: Seen, many: int) -> Evidence:
    """Score tokens that stand for `many` patches each: what these receive, and their keys, both in the mean."""
    scores = attention_received(seen).unflatten(1, (-1, many)).mean(2)  # (I, N)
    return Evidence(scores, seen.keys.mean(dim=1).unflatten(1, (-1, many)).mean(2))


def attention_received(seen: Seen) -> Tensor:
    """Return how much attention every patch receives [I, N] fp32: mean over heads, summed over queries.

    One head is looked at after the other, so that no attention map of all heads is ever made. Padding neither receives
    attention nor gives any.
    """
    received = torch.zeros(seen.keys.shape[0], seen.keys.shape[2], device=seen.keys.device)
    for query, keys in zip(seen.query.unbind(1), seen.keys.unbind(1), strict=True):  # (I, N, Dh) each
        received += _attention(seen, query, keys).sum(dim=1)  # (I, N)
    return received / seen.keys.shape[1]


def _attention(seen: Seen, query: Tensor, keys: Tensor) -> Tensor:
    """Return one head's attention map [I, N, N] fp32 of `query` and `keys` [I, N, Dh]."""
    logits = (query @ keys.transpose(1, 2)).float() * seen.scale  # (I, N, N)
    if seen.real is None:
        return logits.softmax(dim=-1)
    return logits.masked_fill(~seen.real[:, None], float("-inf")).softmax(dim=-1) * seen.real[:, :, None]


def _heads(projected: Tensor, heads: int) -> Tensor:
    """Split [I, N, H*Dh] into [I, H, N, Dh]."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)


def _states(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return a layer's hidden states, whether or not this version of transformers wraps them in a tuple."""
    return output[0] if isinstance(output, tuple) else output
