"""The two kinds of layers, state-space and attention: both carry a memory and tell how much text takes of a token.

B batch, T tokens, D width, H heads, P width of a head, N state size, K past tokens that attention remembers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core.hybrid.scan import Inputs, empty_state, scan, weights

_HEAD = 32  # P
_STATE = 32  # N
_EXPAND = 2  # inner width of a state-space layer, in D
_ROTARY_BASE = 1000.0
_STEP = 0.1  # dt at the start
_SLOWEST, _FASTEST = 0.05, 2.0  # -a at the start: the slowest head still has two thirds after eighty tokens


class State(NamedTuple):
    """A state-space layer's memory: `state` (B, H, P, N)."""

    state: Tensor


class Keys(NamedTuple):
    """An attention layer's memory: keys and values (B, H, K, P), rotated."""

    key: Tensor
    value: Tensor


Memory = State | Keys


def repeated(memory: Memory, times: int) -> Memory:
    """The memory for `times` continuations of each sample, side by side."""
    return type(memory)(*(part.repeat_interleave(times, 0) for part in memory))


class StateLayer(nn.Module):
    """A Mamba-2-style block: projections, the scan, a gate; B and C are normalised as queries and keys often are.

    Unlike Mamba-2 it has no short convolution, so that nothing but the state carries anything from token to token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = _EXPAND * width
        heads = inner // _HEAD
        self.sizes = (inner, inner, _STATE, _STATE, heads)
        self.norm, self.out_norm = nn.RMSNorm(width), nn.RMSNorm(inner)
        self.b_norm, self.c_norm = nn.RMSNorm(_STATE), nn.RMSNorm(_STATE)
        self.into, self.out = nn.Linear(width, sum(self.sizes), bias=False), nn.Linear(inner, width, bias=False)
        self.step = nn.Parameter(torch.full((heads,), _STEP).expm1().log())  # softplus of it is the step
        self.log_a = nn.Parameter(torch.linspace(math.log(_SLOWEST), math.log(_FASTEST), heads))
        self.skip = nn.Parameter(torch.ones(heads))
        *_, b, c, _ = self.into.weight.data.split(self.sizes)
        c.copy_(b)  # at the start a token reads what is like it

    def forward(self, hidden: Tensor, positions: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Hidden states (B, T, D) after the layer, and its memory; `positions` play no part."""
        given, gate = self.project(hidden)
        y, state = scan(given, memory.state if isinstance(memory, State) else empty_state(given))
        y = (y + self.skip[:, None, None] * given.x).transpose(1, 2).flatten(2)  # (B, T, inner)
        return hidden + self.out(self.out_norm(y * F.silu(gate))), State(state)

    def taken(self, hidden: Tensor, positions: Tensor, text: Tensor, decay: bool = False) -> Tensor:
        """How much the text takes of each token: the mean over text and heads of |C_t . B_j| dt_j, (B, T) >= 0.

        `text` (B, T) bool marks the rows that count. With `decay`, times what is left of j at t. Our reading of the
        paper's "implicit attention" (methods.md section 12) [interpretation].
        """
        given, _ = self.project(hidden)
        return _mean_rows(weights(given, decay).abs().mean(1), text)

    def project(self, hidden: Tensor) -> tuple[Inputs, Tensor]:
        """What the scan takes of hidden states (B, T, D), and the gate (B, T, inner)."""
        gate, x, b, c, dt = self.into(self.norm(hidden)).split(self.sizes, -1)
        x = x.unflatten(-1, (-1, _HEAD)).transpose(1, 2)  # (B, H, T, P)
        b, c = self.b_norm(b), self.c_norm(c) / _STATE**0.5
        return Inputs(x, F.softplus(dt + self.step).mT, -self.log_a.exp(), b, c), gate


class AttentionLayer(nn.Module):
    """Causal attention with rotary positions and a MLP; as many weights as a state-space layer of the same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // _HEAD
        hidden = (3 * _EXPAND * width + 2 * _STATE - 4 * width) // 2
        self.norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        query, key, _ = self.into.weight.data.chunk(3)
        key.copy_(query)  # at the start a token looks at what is like it
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, hidden: Tensor, positions: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Hidden states (B, T, D) after the layer at positions (B, T), and its memory."""
        query, key, value = self._project(hidden, positions)
        if isinstance(memory, Keys):
            key, value = torch.cat([memory.key, key], 2), torch.cat([memory.value, value], 2)  # (B, H, K + T, P)
        seen = _seen(query, key)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        hidden = hidden + self.out(mixed.transpose(1, 2).flatten(2))  # (B, T, D)
        return hidden + self.down(F.gelu(self.up(self.mlp_norm(hidden)))), Keys(key, value)

    def taken(self, hidden: Tensor, positions: Tensor, text: Tensor, decay: bool = False) -> Tensor:
        """How much the text takes of each token: the mean attention of the rows `text` (B, T) and heads, (B, T)."""
        query, key, _ = self._project(hidden, positions)
        logits = (query @ key.mT / _HEAD**0.5).masked_fill(~_seen(query, key), float("-inf"))
        return _mean_rows(logits.softmax(-1).mean(1), text)

    def _project(self, hidden: Tensor, positions: Tensor) -> list[Tensor]:
        """Queries, keys and values (B, H, T, P), the first two rotated."""
        parts = self.into(self.norm(hidden)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, _HEAD)).transpose(1, 2) for part in parts)
        return [_rotated(query, positions), _rotated(key, positions), value]


Layer = StateLayer | AttentionLayer


def _mean_rows(shares: Tensor, text: Tensor) -> Tensor:
    """The mean of the rows `text` (B, T) of (B, T, T): (B, T)."""
    rows = text.float()
    return torch.einsum("bt,btj->bj", rows / rows.sum(1, keepdim=True), shares)


def _seen(query: Tensor, key: Tensor) -> Tensor:
    """Which keys each query may see, (T, K + T) bool: all of the past and itself."""
    return torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril(
        key.shape[2] - query.shape[2]
    )


def _rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions (B, T) on (B, H, T, P)."""
    speeds = _ROTARY_BASE ** -torch.arange(0, 1, 2 / x.shape[-1], device=x.device)
    angles = (positions[:, None, :, None] * speeds).to(x.dtype)  # (B, 1, T, P / 2)
    one, other = x.chunk(2, -1)
    return torch.cat([one * angles.cos() - other * angles.sin(), one * angles.sin() + other * angles.cos()], -1)
