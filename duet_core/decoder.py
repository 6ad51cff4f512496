"""The layer loop: hidden states, per-layer KV cache and positions; at each boundary the method may drop tokens.

B batch, T tokens, D width, H heads. Sequences are packed to the left: a shorter sample is padded on its right, where
the causal mask already hides the padding during prefill; only decoding needs a mask, and only for ragged batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from duet_core.cache import KVCache, hidden_slots
from duet_core.pruning import text_to_vision
from duet_core.timing import Stopwatch

Rotary = tuple[Tensor, Tensor]


class Stack(Protocol):
    """What the loop needs of a language model."""

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""

    @property
    def needs_causal_mask(self) -> bool:
        """Whether attention gets no causal mask unless we pass one (eager attention does not mask by itself)."""

    def rotary(self, positions: Tensor, like: Tensor) -> Rotary:
        """Return (cos, sin), each [B, T, dh], for positions [B, T] or [3, B, T]."""

    def query_key(self, layer: Any, hidden: Tensor, rows: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return (q [H, R, dh] of the rows, scaled, and k [Hkv, T, dh]) after norm, projections and RoPE.

        `hidden` [T, D] is one sample without padding, `rows` [R] its query tokens, `rotary` (cos, sin) [T, dh].
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [..., vocabulary] for final hidden states [..., D]."""


@dataclass(slots=True)
class Tokens:
    """The sequences of a batch between two layers.

    `hidden` [B, T, D]; `lengths` real tokens per sample; per sample int64 places in the sequence: `visual` [n],
    `queries` [R] (whose attention ranks the visual tokens) and `text`; `origin` [n]: the number that each visual token
    had when it entered the language model. `positions` [3, B, T]: those of families whose tokens keep theirs; without
    them, positions are compact, 0..T-1.
    """

    hidden: Tensor
    lengths: list[int]
    visual: list[Tensor]
    text: list[Tensor]
    queries: list[Tensor]
    origin: list[Tensor]
    positions: Tensor | None = None


@dataclass(slots=True)
class Boundary:
    """What a method may look at before a layer runs."""

    layer: int
    entering: list[int]  # visual tokens per sample that entered the language model
    origin: list[Tensor]
    _score: Callable[[], list[Tensor]]
    scores: list[Tensor] | None = None

    def attention(self) -> list[Tensor]:
        """Return per sample the attention [n] fp32 each visual token gets from the query tokens, in the next layer."""
        if self.scores is None:
            self.scores = self._score()
        return self.scores


@dataclass(frozen=True, slots=True)
class Cut:
    """One pruning step before `layer`.

    Per sample: the tokens there were `before` and those `kept`, by their numbers at entry [n] int64, and the `scores`
    [n] fp32 of those there were (None for a method that asked for none).
    """

    layer: int
    before: list[Tensor]
    kept: list[Tensor]
    scores: list[Tensor] | None


@dataclass(slots=True)
class Passed:
    """What running all layers left: the `tokens` after the last one, and per layer what happened on the way.

    `lengths` and `visual_counts` [layer][sample]: real tokens, and visual ones among them, that the layer saw.
    """

    tokens: Tokens
    lengths: list[list[int]] = field(default_factory=list)
    visual_counts: list[list[int]] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)


@dataclass(slots=True)
class Prefilled:
    """The state after a prefill: `logits` [B, vocabulary] at each last token, caches, real lengths [layer][sample].

    `following` [B] int64: the position of the first decoded token where positions are not compact.
    """

    logits: Tensor
    cache: KVCache
    lengths: list[list[int]]
    visual_counts: list[list[int]]
    cuts: list[Cut] = field(default_factory=list)
    following: Tensor | None = None


Choose = Callable[[Boundary], list[Tensor] | None]


def run_layers(stack: Stack, tokens: Tokens, choose: Choose, watch: Stopwatch, cache: KVCache | None = None) -> Passed:
    """Run all layers over whole sequences, asking `choose` before each layer which visual tokens stay.

    `choose` returns ascending indices into each sample's current visual tokens, or None to keep all. Without a `cache`
    nothing is cached, and gradients flow to the hidden states (training). Spans `select` and `prefill` of the watch
    take the time.
    """
    entering = [visual.shape[0] for visual in tokens.visual]
    passed = Passed(tokens)
    rotary, mask = _positions(stack, tokens)
    for number, layer in enumerate(stack.layers):
        with watch.span("select"):
            boundary = Boundary(number, entering, tokens.origin, partial(_scores, stack, layer, tokens, rotary))
            chosen = choose(boundary)
            if chosen is not None:
                before, tokens = tokens, keep_only(tokens, chosen)
                passed.cuts.append(Cut(number, before.origin, tokens.origin, boundary.scores))
                rotary, mask = _shorter(stack, tokens, rotary, mask)
        with watch.span("prefill"):
            hidden = run_layer(layer, tokens.hidden, rotary, mask, cache)
            tokens = replace(tokens, hidden=hidden)
        passed.lengths.append(tokens.lengths)
        passed.visual_counts.append([visual.shape[0] for visual in tokens.visual])
    passed.tokens = tokens
    return passed


def prefill(stack: Stack, tokens: Tokens, choose: Choose, watch: Stopwatch) -> Prefilled:
    """Run all layers over the prompt as `run_layers` does, and read off the logits at each last token."""
    cache = KVCache()
    passed = run_layers(stack, tokens, choose, watch, cache)
    with watch.span("prefill"):
        hidden = passed.tokens.hidden
        rows = torch.tensor([length - 1 for length in passed.tokens.lengths], device=hidden.device)
        logits = stack.logits(hidden[torch.arange(len(rows), device=hidden.device), rows])  # (B, V)
    following = None if tokens.positions is None else tokens.positions.amax(dim=(0, 2)) + 1  # (B,)
    return Prefilled(logits, cache, passed.lengths, passed.visual_counts, passed.cuts, following)


def decode(stack: Stack, done: Prefilled, embedded: Tensor, step: int) -> Tensor:
    """Run one further token [B, 1, D] through all layers and return its logits [B, vocabulary].

    `step` counts from 0 after the prefill. Where positions are compact, the token's position in each layer is the
    number of keys that the layer has cached for the sample; elsewhere it is the same in all layers.
    """
    hidden, rotaries = embedded, {}
    for number, layer in enumerate(stack.layers):
        lengths = tuple(done.lengths[number])
        if lengths not in rotaries:
            places = torch.tensor(lengths, device=hidden.device) if done.following is None else done.following
            rotary = stack.rotary(_three(places.unsqueeze(-1) + step, done.following), hidden)
            rotaries[lengths] = rotary, _cached_mask(lengths, step, hidden)
        rotary, mask = rotaries[lengths]
        hidden = run_layer(layer, hidden, rotary, mask, done.cache)
    return stack.logits(hidden[:, -1])  # (B, V)


def run_layer(layer: nn.Module, hidden: Tensor, rotary: Rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
    """Run one decoder layer of transformers as it stands, with our cache or without any."""
    caching = {"past_key_values": cache, "use_cache": cache is not None}
    out = layer(hidden, attention_mask=mask, position_embeddings=rotary, **caching)
    return out[0] if isinstance(out, tuple) else out


def keep_only(tokens: Tokens, chosen: list[Tensor]) -> Tokens:
    """Return the sequences with only the chosen visual tokens left (indices into each sample's current ones)."""
    visual = [places[keep] for places, keep in zip(tokens.visual, chosen, strict=True)]
    index = [torch.cat(parts).sort().values for parts in zip(tokens.text, visual, strict=True)]  # (T',) each

    def moved(places: list[Tensor]) -> list[Tensor]:
        return [torch.searchsorted(left, place) for left, place in zip(index, places, strict=True)]

    rows = [row[left] for row, left in zip(tokens.hidden, index, strict=True)]
    return Tokens(
        hidden=nn.utils.rnn.pad_sequence(rows, batch_first=True),  # (B, T', D)
        lengths=[left.shape[0] for left in index],
        visual=moved(visual),
        text=moved(tokens.text),
        queries=moved(tokens.queries),
        origin=[origin[keep] for origin, keep in zip(tokens.origin, chosen, strict=True)],
        positions=None if tokens.positions is None else _moved_positions(tokens.positions, index),
    )


def pad_positions(positions: Sequence[Tensor]) -> Tensor:
    """Return [3, B, T] of each sample's positions [3, t]."""
    return nn.utils.rnn.pad_sequence([own.T for own in positions], batch_first=True).permute(2, 0, 1)  # (3, B, T)


def _moved_positions(positions: Tensor, index: list[Tensor]) -> Tensor:
    return pad_positions([positions[:, sample, left] for sample, left in enumerate(index)])


def _three(places: Tensor, following: Tensor | None) -> Tensor:
    """Return positions [B, 1] as they are, or [3, B, 1] where a family has three of them."""
    return places if following is None else places.expand(3, -1, -1)


def _positions(stack: Stack, tokens: Tokens) -> tuple[Rotary, Tensor | None]:
    """Return RoPE for all positions and, where attention needs one, the causal mask [1, 1, T, T]."""
    hidden = tokens.hidden
    places = torch.arange(hidden.shape[1], device=hidden.device)
    mask = None
    if stack.needs_causal_mask:
        mask = hidden.new_zeros(len(places), len(places))
        mask = mask.masked_fill(places > places.unsqueeze(-1), torch.finfo(hidden.dtype).min)[None, None]
    return stack.rotary(places.unsqueeze(0) if tokens.positions is None else tokens.positions, hidden), mask


def _shorter(stack: Stack, tokens: Tokens, rotary: Rotary, mask: Tensor | None) -> tuple[Rotary, Tensor | None]:
    """Return RoPE and mask of a shorter sequence: compact positions are the first ones of the longer."""
    length, (cos, sin) = tokens.hidden.shape[1], rotary
    mask = None if mask is None else mask[..., :length, :length]
    if tokens.positions is None:
        return (cos[:, :length], sin[:, :length]), mask
    return stack.rotary(tokens.positions, tokens.hidden), mask


def _cached_mask(lengths: Sequence[int], step: int, like: Tensor) -> Tensor | None:
    """Return the mask that hides the padding cached between a shorter sample's prompt and its decoded tokens."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    slots = torch.arange(longest + step + 1, device=like.device)
    ends = torch.tensor(lengths, device=like.device).unsqueeze(-1)
    return hidden_slots((slots < ends) | (slots >= longest), like.dtype)  # (B, 1, 1, K)


def _scores(stack: Stack, layer: nn.Module, tokens: Tokens, rotary: Rotary) -> list[Tensor]:
    """Score each sample's visual tokens with the next layer's own norm, projections and RoPE; no gradient flows."""
    scores = []
    with torch.no_grad():
        for sample, length in enumerate(tokens.lengths):
            states = tokens.hidden[sample, :length]  # (T, D)
            cos, sin = (part[sample % len(part), :length] for part in rotary)  # (T, dh)
            q, k = stack.query_key(layer, states, tokens.queries[sample], (cos, sin))
            scores.append(text_to_vision(q, k, tokens.queries[sample], tokens.visual[sample]))
    return scores
