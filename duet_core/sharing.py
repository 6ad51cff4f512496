"""Several questions about one picture: what their sequences have in common at the start runs through a layer once.

Causal attention keeps the picture's tokens from seeing the question that follows, so up to the first cut that depends
on the question their states are the same in every sample of the batch. B batch, T tokens, S of them own, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from duet_core.boundary import Rotary, Stack
from duet_core.cache import KVCache, LayerCache
from duet_core.decoder import run_layer


@dataclass(frozen=True, slots=True)
class SharedStart:
    """A language model that computes what all samples share at their start once; the results stay the same."""

    stack: Stack

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""
        return [_SharingLayer(layer, self.takes_real_keys) for layer in self.stack.layers]

    @property
    def needs_causal_mask(self) -> bool:
        """Whether attention gets no causal mask unless we pass one."""
        return self.stack.needs_causal_mask

    @property
    def takes_real_keys(self) -> bool:
        """Whether attention takes no mask but one of real keys [B, K], and else lets new rows be the last."""
        return self.stack.takes_real_keys

    def rotary(self, positions: Tensor, like: Tensor) -> Rotary:
        """Return (cos, sin), each [B, T, dh], for positions [B, T]."""
        return self.stack.rotary(positions, like)

    def query_key(self, layer: Any, hidden: Tensor, rows: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return (q [H, R, dh] of the rows, scaled, and k [Hkv, T, dh]) after norm, projections and RoPE."""
        return self.stack.query_key(layer.layer, hidden, rows, rotary)

    def normed(self, hidden: Tensor) -> Tensor:
        """Return hidden states [..., D] after the norm that follows the last layer."""
        return self.stack.normed(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [..., vocabulary] for final hidden states [..., D]."""
        return self.stack.logits(hidden)


class _SharingLayer(nn.Module):
    """One decoder layer of `SharedStart`."""

    def __init__(self, layer: nn.Module, unmasked: bool) -> None:
        super().__init__()
        self.layer, self.unmasked = layer, unmasked

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        past_key_values: KVCache | None,
        position_embeddings: Rotary,
        **_: Any,
    ) -> Tensor:
        """Run the shared rows once and every sample's own rows behind them."""
        shared, (cos, sin) = shared_rows(hidden), position_embeddings
        if past_key_values is None or 2 * shared < hidden.shape[1]:  # not worth two calls
            return run_layer(self.layer, hidden, position_embeddings, attention_mask, past_key_values)
        first, second = (None, None) if self.unmasked else _masks(attention_mask, shared, hidden)
        cache = KVCache()
        start = run_layer(self.layer, hidden[:1, :shared], (cos[:1, :shared], sin[:1, :shared]), first, cache)
        cache = _for_everyone(cache, len(hidden))
        own = run_layer(self.layer, hidden[:, shared:], (cos[:, shared:], sin[:, shared:]), second, cache)  # (B, S, D)
        past_key_values.layers |= cache.layers
        return torch.cat([start.expand(len(hidden), -1, -1), own], dim=1)  # (B, T, D)


def shared_rows(hidden: Tensor) -> int:
    """Return how many rows of `hidden` [B, T, D] all samples have in common at the start, T - 1 at most."""
    same = (hidden == hidden[:1]).all(dim=-1).all(dim=0)  # (T,)
    return min(int(same.cumprod(dim=0).sum()), hidden.shape[1] - 1)


def _masks(mask: Tensor | None, shared: int, hidden: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the masks of the shared rows (None where attention is causal anyway) and of the own ones [1, 1, S, T]."""
    if mask is not None:
        return mask[..., :shared, :shared], mask[..., shared:, :]
    places = torch.arange(hidden.shape[1], device=hidden.device)
    later = places > places[shared:].unsqueeze(-1)  # (S, T)
    own = hidden.new_zeros(later.shape).masked_fill(later, torch.finfo(hidden.dtype).min)
    return None, own[None, None]


def _for_everyone(cache: KVCache, samples: int) -> KVCache:
    """Return the cache of one sample as that of several; appending to it copies."""
    return KVCache(
        {
            number: LayerCache(one.keys.expand(samples, -1, -1, -1), one.values.expand(samples, -1, -1, -1), one.length)
            for number, one in cache.layers.items()
        }
    )
