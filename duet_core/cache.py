"""The KV cache: each layer's keys and values at that layer's own length."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

_ROOM = 64  # tokens a buffer grows by at least, so that decoding copies the cache once, not once a token


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer, `length` of them filled. Buffers are [B, Hkv, capacity, dh]."""

    keys: Tensor
    values: Tensor
    length: int

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add [B, Hkv, t, dh] and return views of all keys and values so far."""
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            self.keys, self.values = _roomier(self.keys, end), _roomier(self.values, end)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]  # (B, Hkv, end, dh)


def _roomier(buffer: Tensor, needed: int) -> Tensor:
    batch, heads, length, width = buffer.shape
    grown = buffer.new_empty(batch, heads, max(needed + _ROOM, needed + length // 4), width)
    grown[:, :, :length] = buffer
    return grown


def _picked(buffer: Tensor, slots: list[Tensor]) -> Tensor:
    """Gather each sample's slots of [B, Hkv, capacity, dh]; shorter ones are padded with zeros."""
    slots = [own.to(buffer.device) for own in slots]
    rows = [sample[:, own].transpose(0, 1) for sample, own in zip(buffer, slots, strict=True)]  # (k, Hkv, dh) each
    return nn.utils.rnn.pad_sequence(rows, batch_first=True).transpose(1, 2).contiguous()  # (B, Hkv, k, dh)


@dataclass(slots=True)
class KVCache:
    """One `LayerCache` per layer; its `update` is what transformers' attention modules call."""

    layers: dict[int, LayerCache] = field(default_factory=dict)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values [B, Hkv, t, dh]; return all of that layer's."""
        if layer_idx in self.layers:
            return self.layers[layer_idx].append(keys, values)
        self.layers[layer_idx] = LayerCache(keys, values, keys.shape[2])
        return keys, values

    def keep(self, layer: int, slots: list[Tensor]) -> None:
        """Leave only some slots [k] (ascending, one list per sample) of a layer, packed to the left."""
        own = self.layers[layer]
        longest = max(len(some) for some in slots)
        self.layers[layer] = LayerCache(_picked(own.keys, slots), _picked(own.values, slots), longest)

    @property
    def lengths(self) -> list[int]:
        """Cached tokens per layer, padding included, in layer order."""
        return [self.layers[layer].length for layer in sorted(self.layers)]


def hidden_slots(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive mask [B, 1, 1, K] for key slots [B, K] bool: 0 where valid, the dtype's minimum elsewhere."""
    mask = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
    return mask.masked_fill(~valid, torch.finfo(dtype).min)[:, None, None, :]  # (B, 1, 1, K)
