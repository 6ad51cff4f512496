"""What a method sees at the boundary of two layers, and what it may answer.

B batch, T tokens, D width, H heads, n visual tokens of a sample, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from duet_core.pruning import row_attention, text_to_vision, text_to_vision_by_row

Rotary = tuple[Tensor, Tensor]


class Stack(Protocol):
    """What the loop needs of a language model."""

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""

    @property
    def needs_causal_mask(self) -> bool:
        """Whether attention gets no causal mask unless we pass one (eager attention does not mask by itself)."""

    @property
    def takes_real_keys(self) -> bool:
        """Whether attention takes no mask but one of real keys [B, K], and else lets new rows be the last (flash)."""

    def rotary(self, positions: Tensor, like: Tensor) -> Rotary:
        """Return (cos, sin), each [B, T, dh], for positions [B, T] or [3, B, T]."""

    def query_key(self, layer: Any, hidden: Tensor, rows: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return (q [H, R, dh] of the rows, scaled, and k [Hkv, T, dh]) after norm, projections and RoPE.

        `hidden` [T, D] is one sample without padding, `rows` [R] its query tokens, `rotary` (cos, sin) [T, dh].
        """

    def normed(self, hidden: Tensor) -> Tensor:
        """Return hidden states [..., D] after the norm that follows the last layer."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [..., vocabulary] for final hidden states [..., D]."""


@dataclass(slots=True)
class Tokens:
    """The sequences of a batch between two layers.

    `hidden` [B, T, D]; `lengths` real tokens per sample; per sample int64 places in the sequence: `visual` [n],
    `queries` [R] (whose attention ranks the visual tokens) and `text`; `origin` [n]: the number that each visual token
    had when it entered the language model. `positions` [A, B, T]: those of tokens that keep theirs, one (A = 1) or
    three of them; without them, positions are compact, 0..T-1. Of the tokens that enter alone: `labels` [n], what the
    method noted of each when it let them in, `shapes`: per sample how many (frames, rows, columns) of patches were
    seen, and `forced` [n] bool: which of them a brush keeps.
    """

    hidden: Tensor
    lengths: list[int]
    visual: list[Tensor]
    text: list[Tensor]
    queries: list[Tensor]
    origin: list[Tensor]
    positions: Tensor | None = None
    labels: list[Tensor] | None = None
    shapes: list[tuple[int, int, int]] | None = None
    forced: list[Tensor] | None = None

    def to(self, device: torch.device) -> Tokens:
        """Return the same tokens with all that belongs to them on a device; themselves where they are there."""
        if self.hidden.device == device:
            return self

        def moved(values: list[Tensor]) -> list[Tensor]:
            return [own.to(device) for own in values]

        return replace(
            self,
            hidden=self.hidden.to(device),
            visual=moved(self.visual),
            text=moved(self.text),
            queries=moved(self.queries),
            origin=moved(self.origin),
            positions=None if self.positions is None else self.positions.to(device),
            labels=None if self.labels is None else moved(self.labels),
            forced=None if self.forced is None else moved(self.forced),
        )

    def states(self) -> list[Tensor]:
        """Return the hidden states [n, D] of each sample's visual tokens."""
        return [row[places] for row, places in zip(self.hidden, self.visual, strict=True)]


@dataclass(frozen=True, slots=True)
class Stay:
    """A method's answer: which visual tokens stay before a layer.

    Per sample: ascending indices `keep` [n'] int64 into the n tokens there are; `scores` [n] fp32 that decided (without
    them, the attention that was asked for counts as such); `states` [n', D] that the kept tokens go on with, where
    others were merged into them; `joined` [n] int64: then, the token of the n that each became part of (itself for
    those that stay), -1 for those that are gone. It is for the trace alone.
    """

    keep: list[Tensor]
    scores: list[Tensor] | None = None
    states: list[Tensor] | None = None
    joined: list[Tensor] | None = None


@dataclass(slots=True)
class Boundary:
    """What a method may look at before a layer runs; what is costly is worked out when it is asked for.

    `entering`: visual tokens per sample that entered the language model. `now`: what the layer is about to take in;
    `before`: the same tokens as the layer before took them in (before layer 0: the same as `now`); `first`: all tokens
    as they entered. `scores` [n] per sample: the attention, once it was asked for; `by_query` [R, n] per sample: that
    of each query token, where a recording wants it (an empty list until then, None where nobody does).
    """

    layer: int
    entering: list[int]
    now: Tokens
    before: Tokens
    first: Tokens
    stack: Stack
    rotary: Rotary
    scores: list[Tensor] | None = None
    by_query: list[Tensor] | None = None

    @property
    def origin(self) -> list[Tensor]:
        """Return per sample the numbers [n] that the visual tokens had at entry."""
        return self.now.origin

    @property
    def labels(self) -> list[Tensor] | None:
        """Return per sample the labels [n] that the method's selection gave its tokens, if it did."""
        return self._as_entered(self.first.labels)

    @property
    def forced(self) -> list[Tensor] | None:
        """Return per sample which tokens [n] bool a brush keeps, None without one."""
        return self._as_entered(self.first.forced)

    def _as_entered(self, noted: list[Tensor] | None) -> list[Tensor] | None:
        """Return what was noted of all tokens as they entered for those [n] that there are now."""
        return None if noted is None else [own[origin] for own, origin in zip(noted, self.origin, strict=True)]

    @property
    def samples(self) -> range:
        """The samples of the batch."""
        return range(len(self.now.lengths))

    def shape(self, sample: int) -> tuple[int, int, int]:
        """Return (frames, rows, columns) of the patches that a sample's tokens entered as; one row if they are no grid.

        A grid may have one token more in front of each frame, CLS.
        """
        shape = self.first.shapes[sample] if self.first.shapes else (1, 1, 0)
        beyond = self.entering[sample] - math.prod(shape)
        return shape if beyond in (0, shape[0]) else (1, 1, self.entering[sample])

    def patches(self, sample: int) -> Tensor:
        """Return which patch of its shape each of a sample's tokens [n] entered as, int64, -1 for CLS."""
        (frames, rows, cols), origin = self.shape(sample), self.origin[sample]
        each = self.entering[sample] // frames
        place = origin % each - (each - rows * cols)
        return torch.where(place < 0, -1, origin // each * rows * cols + place)

    def attention(self) -> list[Tensor]:
        """Return per sample the attention [n] fp32 each visual token gets from the query tokens, in the next layer."""
        if self.scores is None:
            self.scores = [self._attention(sample) for sample in self.samples]
        return self.scores

    @torch.no_grad()
    def _attention(self, sample: int) -> Tensor:
        rows, visual = self.now.queries[sample], self.now.visual[sample]
        query, key = self.query_key(sample, rows)
        if self.by_query is None:
            return text_to_vision(query, key, rows, visual)
        scores, apart = text_to_vision_by_row(query, key, rows, visual)
        self.by_query.append(apart)
        return scores

    @torch.no_grad()
    def rows(self, sample: int, rows: Tensor, back: bool = False) -> Tensor:
        """Return the attention [H, R, T] fp32 of some rows [R] of a sample, in the next layer or in the one before."""
        query, key = self.query_key(sample, rows, back)
        return row_attention(query, key, rows)

    def last(self, back: bool = False) -> list[Tensor]:
        """Return per sample the attention [n] fp32 of the last token to the visual ones, in the mean over heads."""
        pairs = zip(self.now.visual, self.now.lengths, strict=True)
        ends = [visual.new_full((1,), length - 1) for visual, length in pairs]
        return [self.rows(own, ends[own], back).mean(0)[0, self.now.visual[own]] for own in self.samples]

    @torch.no_grad()
    def query_key(self, sample: int, rows: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        """Return queries [H, R, dh], scaled, of a sample's rows and keys [Hkv, T, dh] of all its tokens.

        Of the layer that comes next or, looking `back`, of the one before.
        """
        tokens, layer = (self.before, self.layer - 1) if back else (self.now, self.layer)
        length = tokens.lengths[sample]
        cos, sin = (part[sample % len(part), :length] for part in self.rotary)  # (T, dh)
        hidden = tokens.hidden[sample, :length]  # (T, D)
        return self.stack.query_key(self.stack.layers[layer], hidden, rows, (cos, sin))

    def gradient(self, sample: int, loss: Callable[[Tensor], Tensor], run: Callable[..., Tensor]) -> Tensor:
        """Return the gradient [n, D] of a loss for a sample's visual states, through the next layer alone.

        `loss` takes what the layer makes of the sample's states [T, D]; `run(layer, hidden, rotary, mask, cache)` is
        the decoder's way to run a layer. The weights gather no gradients.
        """
        length = self.now.lengths[sample]
        with torch.inference_mode(False), torch.enable_grad():
            hidden = self.now.hidden[sample : sample + 1, :length].clone().requires_grad_()  # (1, T, D)
            rotary = tuple(part[sample % len(part), None, :length].clone() for part in self.rotary)
            made = run(self.stack.layers[self.layer], hidden, rotary, _causal(self.stack, hidden), None)
            (slope,) = torch.autograd.grad(loss(made[0].to(hidden.device)), hidden)
        return slope[0, self.now.visual[sample]]


def _causal(stack: Stack, hidden: Tensor) -> Tensor | None:
    return causal_mask(hidden) if stack.needs_causal_mask else None


def causal_mask(hidden: Tensor) -> Tensor:
    """Return the additive causal mask [1, 1, T, T] for hidden states [B, T, D]."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    mask = hidden.new_zeros(len(places), len(places))
    return mask.masked_fill(places > places.unsqueeze(-1), torch.finfo(hidden.dtype).min)[None, None]
