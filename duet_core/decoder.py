"""The layer loop: hidden states, per-layer KV cache and positions; at each boundary the method may drop tokens.

B batch, T tokens, D width, H heads. Sequences are packed to the left: a shorter sample is padded on its right, where
the causal mask already hides the padding during prefill; only decoding needs a mask, and only for ragged batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from duet_core.boundary import Boundary, Rotary, Stack, Stay, Tokens, causal_mask
from duet_core.cache import KVCache, hidden_slots
from duet_core.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class Cut:
    """One pruning step before `layer`.

    Per sample: the tokens there were `before` and those `kept`, by their numbers at entry [n] int64, and the `scores`
    [n] fp32 of those there were (None for a method that asked for none). `joined` [n]: where tokens were merged, the
    number of the one that each of those there were became part of, -1 for none. `by_query` [R, n] fp32: the attention
    of each query token, where it was to be recorded and decided.
    """

    layer: int
    before: list[Tensor]
    kept: list[Tensor]
    scores: list[Tensor] | None
    joined: list[Tensor] | None = None
    by_query: list[Tensor] | None = None

    @classmethod
    def of(cls, boundary: Boundary, stay: Stay, kept: list[Tensor]) -> Cut:
        """Return what a method's answer did to the tokens before a layer."""
        joined = None
        if stay.joined is not None:
            pairs = zip(boundary.origin, stay.joined, strict=True)
            joined = [torch.where(own < 0, own, origin[own.clamp(min=0)]) for origin, own in pairs]
        return cls(
            boundary.layer, boundary.origin, kept, stay.scores or boundary.scores, joined, boundary.by_query or None
        )


@dataclass(slots=True)
class Passed:
    """What running all layers left: the `tokens` after the last one, and per layer what happened on the way.

    `lengths` [layer][sample]: real tokens that the layer saw; `visual` and `origin` [layer][sample] [n] int64: where
    the visual ones among them lay, and their numbers at entry.
    """

    tokens: Tokens
    lengths: list[list[int]] = field(default_factory=list)
    visual: list[list[Tensor]] = field(default_factory=list)
    origin: list[list[Tensor]] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    @property
    def visual_counts(self) -> list[list[int]]:
        """Visual tokens that each layer saw, [layer][sample]."""
        return [[len(own) for own in samples] for samples in self.visual]

    def note(self, tokens: Tokens) -> None:
        """Write down what a layer is about to see."""
        self.lengths.append(tokens.lengths)
        self.visual.append(tokens.visual)
        self.origin.append(tokens.origin)


@dataclass(slots=True)
class Prefilled:
    """The state after a prefill: `logits` [B, vocabulary] at each last token, caches, real lengths [layer][sample].

    `cached` [layer][sample]: the keys that a layer still has, fewer than `lengths` where a method trims its cache.
    `following` [A, B] int64: the positions of the first decoded token where positions are not compact.
    """

    logits: Tensor
    cache: KVCache
    lengths: list[list[int]]
    visual_counts: list[list[int]]
    cuts: list[Cut]
    cached: list[list[int]]
    following: Tensor | None = None


Choose = Callable[[Boundary], Stay | None]


def run_layers(
    stack: Stack,
    tokens: Tokens,
    choose: Choose,
    watch: Stopwatch,
    cache: KVCache | None = None,
    by_query: bool = False,
) -> Passed:
    """Run all layers over whole sequences, asking `choose` before each layer which visual tokens stay; None keeps all.

    Without a `cache` nothing is cached, and gradients flow to the hidden states (training). Spans `select` and
    `prefill` of the watch take the time. `by_query`: whether the cuts note the attention of each query token.
    """
    entering = [visual.shape[0] for visual in tokens.visual]
    passed, first, before = Passed(tokens), tokens, tokens
    rotary, mask = _positions(stack, tokens)
    for number, layer in enumerate(stack.layers):
        with watch.span("select"):
            apart: list[Tensor] | None = [] if by_query else None
            boundary = Boundary(number, entering, tokens, before, first, stack, rotary, by_query=apart)
            stay = choose(boundary)
            if stay is not None:
                tokens = keep_only(tokens, stay)
                passed.cuts.append(Cut.of(boundary, stay, tokens.origin))
                rotary, mask = _shorter(stack, tokens, rotary, mask)
        passed.note(tokens)
        with watch.span("prefill"):
            hidden = run_layer(layer, tokens.hidden, rotary, mask, cache)
            before, first = tokens.to(hidden.device), first.to(hidden.device)  # the layer may compute elsewhere
            tokens, (rotary, mask) = replace(before, hidden=hidden), _moved(rotary, mask, hidden.device)
    passed.tokens = tokens
    return passed


def _moved(rotary: Rotary, mask: Tensor | None, device: torch.device) -> tuple[Rotary, Tensor | None]:
    """Return RoPE and mask on a device."""
    cos, sin = rotary
    return (cos.to(device), sin.to(device)), None if mask is None else mask.to(device)


def prefill(
    stack: Stack,
    tokens: Tokens,
    choose: Choose,
    watch: Stopwatch,
    trims: Callable[[int], bool] | None = None,
    by_query: bool = False,
) -> Prefilled:
    """Run all layers over the prompt as `run_layers` does, and read off the logits at each last token.

    `trims(layer)`: whether the layer's cache loses the visual tokens that the last layer did not see.
    """
    cache = KVCache()
    passed = run_layers(stack, tokens, choose, watch, cache, by_query)
    with watch.span("prefill"):
        hidden = passed.tokens.hidden
        logits = stack.logits(hidden[torch.arange(len(hidden), device=hidden.device), _last(passed.tokens)])  # (B, V)
    with watch.span("select"):
        cached = [_trimmed(cache, passed, at) if trims and trims(at) else own for at, own in enumerate(passed.lengths)]
    return Prefilled(logits, cache, passed.lengths, passed.visual_counts, passed.cuts, cached, _following(tokens))


def _last(tokens: Tokens) -> Tensor:
    """Return the place [B] of each sample's last token."""
    return torch.tensor([length - 1 for length in tokens.lengths], device=tokens.hidden.device)


def _following(tokens: Tokens) -> Tensor | None:
    """Return the positions [A, B] right behind each prompt's last token; None where positions are compact.

    Not behind the highest: the time of a long clip runs ahead of the text that follows it.
    """
    if tokens.positions is None:
        return None
    rows = _last(tokens)
    last = tokens.positions[:, torch.arange(len(rows), device=rows.device), rows]  # (A, B)
    return (last.amax(0) + 1).expand(len(last), -1)  # (A, B)


def _trimmed(cache: KVCache, passed: Passed, layer: int) -> list[int]:
    """Take the visual tokens that did not reach the end out of a layer's cache; returns what is left per sample."""
    kept = []
    for sample, length in enumerate(passed.lengths[layer]):
        origin = passed.origin[layer][sample]
        stayed = torch.isin(origin, passed.origin[-1][sample].to(origin.device))
        gone = torch.zeros(length, dtype=torch.bool, device=stayed.device)
        gone[passed.visual[layer][sample]] = ~stayed
        many = length - len(stayed) + len(passed.origin[-1][sample])
        kept.append(gone.int().argsort(stable=True)[:many])  # as many as `nonzero` would find, without asking
    cache.keep(layer, kept)
    return [len(own) for own in kept]


def decode(stack: Stack, done: Prefilled, embedded: Tensor, step: int) -> Tensor:
    """Run one further token [B, 1, D] through all layers and return its logits [B, vocabulary].

    `step` counts from 0 after the prefill. Where positions are compact, the token's position in each layer is the
    number of keys that the layer has cached for the sample; elsewhere it is the same in all layers.
    """
    hidden, rotaries = embedded, {}
    for number, layer in enumerate(stack.layers):
        lengths = tuple(done.cached[number])
        if lengths not in rotaries:
            places = torch.tensor([lengths], device=hidden.device) if done.following is None else done.following
            rotary = stack.rotary(_plain(places.unsqueeze(-1) + step), hidden)
            rotaries[lengths] = rotary, _cached_mask(stack, lengths, step, hidden)
        rotary, mask = rotaries[lengths]
        hidden = run_layer(layer, hidden, rotary, mask, done.cache)
    return stack.logits(hidden[:, -1])  # (B, V)


def run_layer(layer: nn.Module, hidden: Tensor, rotary: Rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
    """Run one decoder layer of transformers as it stands, with our cache or without any."""
    caching = {"past_key_values": cache, "use_cache": cache is not None}
    out = layer(hidden, attention_mask=mask, position_embeddings=rotary, **caching)
    return out[0] if isinstance(out, tuple) else out


def keep_only(tokens: Tokens, stay: Stay) -> Tokens:
    """Return the sequences with only the visual tokens left that stay, in the states that they go on with."""
    visual = [places[keep] for places, keep in zip(tokens.visual, stay.keep, strict=True)]
    index = [torch.cat(parts).sort().values for parts in zip(tokens.text, visual, strict=True)]  # (T',) each

    def moved(places: list[Tensor]) -> list[Tensor]:
        return [torch.searchsorted(left, place) for left, place in zip(index, places, strict=True)]

    rows, visual = [row[left] for row, left in zip(tokens.hidden, index, strict=True)], moved(visual)
    if stay.states is not None:
        changes = zip(rows, visual, stay.states, strict=True)
        rows = [row.index_copy(0, places, own.to(row.dtype)) for row, places, own in changes]
    return Tokens(
        hidden=nn.utils.rnn.pad_sequence(rows, batch_first=True),  # (B, T', D)
        lengths=[left.shape[0] for left in index],
        visual=visual,
        text=moved(tokens.text),
        queries=moved(tokens.queries),
        origin=[origin[keep] for origin, keep in zip(tokens.origin, stay.keep, strict=True)],
        positions=None if tokens.positions is None else _moved_positions(tokens.positions, index),
    )


def pad_positions(positions: Sequence[Tensor]) -> Tensor:
    """Return [A, B, T] of each sample's positions [A, t]."""
    return nn.utils.rnn.pad_sequence([own.T for own in positions], batch_first=True).permute(2, 0, 1)  # (A, B, T)


def _moved_positions(positions: Tensor, index: list[Tensor]) -> Tensor:
    return pad_positions([positions[:, sample, left] for sample, left in enumerate(index)])


def _plain(positions: Tensor) -> Tensor:
    """Return positions [A, B, T] as a rotary embedding takes them: [B, T] where there is one of each."""
    return positions[0] if len(positions) == 1 else positions


def _positions(stack: Stack, tokens: Tokens) -> tuple[Rotary, Tensor | None]:
    """Return RoPE for all positions and, where attention needs one, the causal mask [1, 1, T, T]."""
    hidden = tokens.hidden
    mask = causal_mask(hidden) if stack.needs_causal_mask else None
    places = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
    rotary = stack.rotary(places if tokens.positions is None else _plain(tokens.positions), hidden)
    return _moved(rotary, mask, hidden.device)


def _shorter(stack: Stack, tokens: Tokens, rotary: Rotary, mask: Tensor | None) -> tuple[Rotary, Tensor | None]:
    """Return RoPE and mask of a shorter sequence: compact positions are the first ones of the longer."""
    length, (cos, sin) = tokens.hidden.shape[1], rotary
    mask = None if mask is None else mask[..., :length, :length]
    if tokens.positions is None:
        return (cos[:, :length], sin[:, :length]), mask
    return _moved(stack.rotary(_plain(tokens.positions), tokens.hidden), mask, tokens.hidden.device)


def _cached_mask(stack: Stack, lengths: Sequence[int], step: int, like: Tensor) -> Tensor | None:
    """Return the mask that hides the padding cached between a shorter sample's prompt and its decoded tokens."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    slots = torch.arange(longest + step + 1, device=like.device)
    ends = torch.tensor(lengths, device=like.device).unsqueeze(-1)
    real = (slots < ends) | (slots >= longest)  # (B, K)
    return real if stack.takes_real_keys else hidden_slots(real, like.dtype)  # (B, 1, 1, K)
