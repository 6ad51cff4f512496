"""Token reduction inside the hybrid, or before it, as we read Stateful Token Reduction (2603.00198) [interpretation].

Little is dropped early and ever more later: one layer sees all visual tokens, then the kept share falls in a straight
line from layer to layer. Before each layer the visual tokens that are left are scored anew by what the text took of
them in the layer before. Later layers skip what was dropped; what it left in the states of the earlier ones stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from duet_core.errors import PlanError
from duet_core.hybrid.layers import Layer, Memory
from duet_core.hybrid.model import TokenModel
from duet_core.hybrid.words import VISUAL

_FROM, _TO = 0.45, 0.05  # the line for a quarter, first to last; other shares scale it
_HALVINGS: Final = 40  # in which the scale is found


def schedule(share: float, layers: int, tokens: int) -> tuple[int, ...]:
    """How many visual tokens each layer sees, `tokens` in the first, with a mean of `share` of them.

    Off by less than one token; a PlanError says when the first layer alone is already more than that.
    """
    least = 1 / layers
    if not least <= share <= 1:
        raise PlanError(f"The kept share is {share}; with {layers} layers it must be between {least:.3f} and 1.")
    line = [_FROM + (_TO - _FROM) * layer / max(1, layers - 2) for layer in range(layers - 1)]
    low, high, wanted = 0.0, 1 / _TO, (share * layers - 1) * tokens
    for _ in range(_HALVINGS):
        scale = (low + high) / 2
        low, high = (scale, high) if sum(min(1.0, scale * own) * tokens for own in line) < wanted else (low, scale)
    return tokens, *_whole([min(1.0, high * own) * tokens for own in line], tokens)


def cliff(share: float, layers: int, tokens: int) -> tuple[int, ...]:
    """How many visual tokens each layer sees when all stay as long as a mean of `share` of them allows, then none."""
    return tuple(round(tokens * min(1.0, max(0.0, share * layers - layer))) for layer in range(layers))


def _whole(counts: Sequence[float], most: int) -> list[int]:
    """Falling whole numbers with the same sum, rounded: the first of those below `most` are rounded up."""
    low, full = [int(count) for count in counts], sum(count >= most for count in counts)
    up = round(sum(counts)) - sum(low)
    return [own + (full <= number < full + up) for number, own in enumerate(low)]


class Prompt(NamedTuple):
    """Clips, each with a question about it.

    Words (B, N, W) and places (B, N) of the visual tokens in order, words (B, T, W) of the text; all int64.
    """

    clips: Tensor
    places: Tensor
    texts: Tensor


class Reduced(NamedTuple):
    """The answers' logits (B, V); per layer the numbers of the visual tokens it saw (B, n), scores, memory."""

    logits: Tensor
    kept: list[Tensor]
    scores: list[Tensor]
    memory: list[Memory]


Choose = Callable[[Layer, Tensor, Tensor, Tensor], Tensor]
"""Scores (B, S) of a layer's tokens, the visual ones first, from its hidden states (B, S, D), positions and which are
text (B, S)."""


def by_text(decay: bool = False) -> Choose:
    """Score by what the text took in the layer, in state-space layers with or without decay."""

    def choose(layer: Layer, hidden: Tensor, positions: Tensor, text: Tensor) -> Tensor:
        return layer.taken(hidden, positions, text, decay)

    return choose


def at_random(seed: int) -> Choose:
    """Score by lot, anew for each layer and sample."""
    lot = torch.Generator().manual_seed(seed)
    return lambda layer, hidden, positions, text: torch.rand(text.shape, generator=lot)


def standardised(scores: Tensor) -> Tensor:
    """Scores (B, n) with mean 0 and deviation 1 in each sample, so that layers can be compared."""
    apart = scores - scores.mean(1, keepdim=True)
    return apart / apart.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)


def run(model: TokenModel, prompt: Prompt, counts: Sequence[int], choose: Choose) -> Reduced:
    """Answer while layer l sees `counts[l]` visual tokens, those of the layer before that `choose` scores highest."""
    hidden, positions, text = _joined(model, prompt)
    visual = torch.arange(prompt.clips.shape[1]).expand(len(hidden), -1)
    result = Reduced(torch.empty(0), [], [], [])
    for layer, many in zip(model.depth, counts, strict=True):
        if many < visual.shape[1]:
            best = result.scores[-1].topk(many).indices.sort(1).values  # (B, n)
            rows = torch.cat([best, torch.arange(visual.shape[1], hidden.shape[1]).expand(len(best), -1)], 1)
            hidden = hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[2]))  # (B, n + T, D)
            positions, text, visual = positions.gather(1, rows), text.gather(1, rows), visual.gather(1, best)
        result.scores.append(standardised(choose(layer, hidden, positions, text)[:, :many]))
        hidden, memory = layer(hidden, positions)
        result.kept.append(visual)
        result.memory.append(memory)
    return result._replace(logits=model.answer(hidden))


def before(model: TokenModel, prompt: Prompt, many: int, choose: Choose) -> Prompt:
    """The prompt with the `many` visual tokens that score highest on average over all layers.

    That takes a look with all tokens first, of which nothing else is kept: no layer's state has seen the others.
    """
    everything = (prompt.clips.shape[1],) * len(model.depth)
    scores = torch.stack(run(model, prompt, everything, choose).scores).mean(0)  # (B, N)
    best = scores.topk(many).indices.sort(1).values  # (B, n)
    clips = prompt.clips.gather(1, best[..., None].expand(-1, -1, prompt.clips.shape[2]))
    return prompt._replace(clips=clips, places=prompt.places.gather(1, best))


def _joined(model: TokenModel, prompt: Prompt) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (B, N + T, D), their positions and which are text, both (B, N + T)."""
    hidden = torch.cat([model.embed(prompt.clips), model.embed(prompt.texts)], 1)  # (B, N + T, D)
    words = VISUAL + torch.arange(prompt.texts.shape[1]).expand(len(hidden), -1)
    positions = torch.cat([prompt.places, words], 1)
    return hidden, positions, positions >= VISUAL
