"""The recurrence of Mamba-2 (2405.21060) as pure tensor functions.

A head h keeps a state S of P x N numbers. Every token lets it decay and adds to it, then reads it:
S_t = exp(dt_t a) S_{t-1} + dt_t x_t B_t^T and y_t = S_t C_t. B batch, T tokens, H heads, P width of a head, N state
size; the heads share B and C. Written out, y_t is a sum over all tokens so far, as in attention:
y_t = sum_j (C_t . B_j) exp(sum_{k=j+1..t} dt_k a) dt_j x_j.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 32
"""Tokens that are mixed by one matrix product; the state is carried from chunk to chunk."""


class Inputs(NamedTuple):
    """What a scan takes: x (B, H, T, P), dt (B, H, T) > 0, a (H,) < 0, b and c (B, T, N), all float."""

    x: Tensor
    dt: Tensor
    a: Tensor
    b: Tensor
    c: Tensor

    def part(self, first: int, end: int) -> Inputs:
        """The tokens from `first` to before `end`."""
        x, dt = self.x[:, :, first:end], self.dt[:, :, first:end]
        return Inputs(x, dt, self.a, self.b[:, first:end], self.c[:, first:end])


def empty_state(given: Inputs) -> Tensor:
    """The state before any token: (B, H, P, N) zeros."""
    batch, heads, _, width = given.x.shape
    return given.x.new_zeros(batch, heads, width, given.b.shape[-1])


def scan(given: Inputs, state: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Run the recurrence from `state` (B, H, P, N); returns y (B, H, T, P) and the state after the last token."""
    read = []
    for first in range(0, given.x.shape[2], chunk):
        y, state = _scan_chunk(given.part(first, first + chunk), state)
        read.append(y)
    return torch.cat(read, 2), state  # (B, H, T, P)


def _scan_chunk(given: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    x, dt, _, b, c = given
    gone = _log_decay(given)  # (B, H, T)
    y = weights(given) @ x + gone.exp()[..., None] * (c[:, None] @ state.mT)  # (B, H, T, P)
    left = (gone[..., -1:] - gone).exp() * dt  # (B, H, T), what the end of the chunk still has of each token
    added = (x * left[..., None]).mT @ b[:, None]  # (B, H, P, N)
    return y, gone[..., -1].exp()[..., None, None] * state + added


def _log_decay(given: Inputs) -> Tensor:
    """The logarithm of what is left, after each token, of the state before the first: (B, H, T) <= 0."""
    return (given.dt * given.a[:, None]).cumsum(2)


def weights(given: Inputs, decay: bool = True) -> Tensor:
    """The implicit attention (B, H, T, T): what token t takes of the x of token j, zero for j > t.

    Without `decay`, only (C_t . B_j) dt_j.
    """
    read = (given.c @ given.b.mT)[:, None] * given.dt[:, :, None]  # (B, H, T, T)
    later = torch.ones(read.shape[-2:], dtype=torch.bool, device=read.device).triu(1)
    if not decay:
        return read.masked_fill(later, 0.0)
    gone = _log_decay(given)
    # Masked before the exponential: the differences above the diagonal are positive and may overflow.
    return read * (gone[..., :, None] - gone[..., None, :]).masked_fill(later, float("-inf")).exp()
