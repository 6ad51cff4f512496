"""METok (2506.02850): a clip falls into events; those that the question is about keep more tokens, for longer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.methods.asked import relevance
from duet_core.methods.base import About, Look, Method, Selection, merge_patches
from duet_core.methods.blocks import block_means
from duet_core.methods.events import Clip, Frame, dealt
from duet_core.methods.settings import AtLeastOne, Count, Share
from duet_core.plan import Plan, Size
from duet_core.schedules import in_stages

_LAYERS = (3, 11, 22)  # of 32
_SHARES = (0.76 * 13 / 14, 0.76**2 * 6 / 7, 0.0)  # r = 0.76, with 3 of 5 events key ones, pooled by 2, the others by 4


@dataclass(frozen=True, slots=True)
class METok(Method):
    """Three stages: pooling by event, pruning at three layers, and a cache that loses its visual tokens for decoding.

    The `cuts` least alike neighbouring frames (cosine of the means of projected patches) part events; the `key_events`
    whose best frame fits the question most are key ones. Strides of the average pooling: in a key event the first for
    its `best` frames and the second for others, elsewhere the second and the third. By attention received from the text
    in the layer before, key events keep a share at the first two layers and nothing at the third; the others keep
    `others` times that share at the first and nothing at the second. The caches from the first of these layers on lose
    what the last layer did not see.

    Deviations: the budget scales the pooling, so that `strides` set proportions between frames only; the shares are of
    all tokens, and events have theirs by length and kind; a question's word embeddings against projected frames
    stand in for the dual encoder; layers 3, 10, 19 of 28 are 3, 11, 22 of 32; patches are pooled before the projector,
    and no newline follows an event. A shallow model has the last of the cuts only.
    """

    title: ClassVar[str] = "METok"
    about: ClassVar[About] = About(
        "METok (2506.02850)",
        "both",
        ("projected tokens", "the question's words", "attention rows of the text"),
        confidence="official code read; without the dual encoder",
        interpretation=True,
        pictures=False,
    )
    whole_grid: ClassVar[bool] = True
    positions: ClassVar[Literal["compact", "original"]] = "original"
    asks: ClassVar[bool] = True
    cuts: AtLeastOne = 4
    key_events: Count = 3
    best: Count = 6
    strides: tuple[AtLeastOne, AtLeastOne, AtLeastOne] = (2, 4, 8)
    others: Share = 0.5

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan whose pooling and three cuts come to the target on average."""
        return in_stages("metok", target, size, _LAYERS, _SHARES)

    def after_vision(self, look: Look) -> Selection | None:
        """Pool every frame as its event deserves; a picture is a clip of one frame."""
        many = self.entering(look)
        if many is None and not self.plan.layers:
            return None
        means = look.project(look.patch_features).float().mean(1)  # (I, D)
        fits = relevance(look, means.unsqueeze(1)).squeeze(1)  # (I,)
        each = look.patches if many is None else many
        frames = [frame for own in look.groups for frame in self._frames(look, means, fits, own, each)]
        return _pooled(look, frames, fits)

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Keep the tokens that the text attends to, more of the key events."""
        ratio, labels = self.plan.ratio_at(boundary.layer), boundary.labels
        if ratio is None or labels is None:
            return None
        first = len(self.plan.layers) - self.plan.layers.index(boundary.layer) > 2
        weights = torch.tensor([self.others if first else 0.0, 1.0], device=boundary.now.hidden.device)
        scores = [_attended(boundary, own) for own in boundary.samples]
        trios = zip(scores, labels, boundary.entering, strict=True)
        keep = [
            dealt(own, label // 2, weights[label % 2], int(entering * ratio), self.cuts + 1)
            for own, label, entering in trios
        ]
        return Stay(keep, scores)

    def trims(self, layer: int) -> bool:
        """From the first cut on."""
        return bool(self.plan.layers) and layer >= self.plan.layers[0]

    def _frames(self, look: Look, means: Tensor, fits: Tensor, own: range, each: int) -> list[Frame]:
        clip = Clip.of(means[own.start : own.stop], fits[own.start : own.stop], self.cuts, self.key_events)
        ranks = zip(clip.key, clip.rank, strict=True)
        weights = [self.strides[(not key) + (rank >= self.best)] ** -2 for key, rank in ranks]
        return clip.frames(weights, each, look.seen.rows_cols)


def _attended(boundary: Boundary, sample: int) -> Tensor:
    """Return the attention [n] that all text rows pay; those before the clip pay none, as attention is causal."""
    tokens = boundary.now
    return boundary.rows(sample, tokens.text[sample], back=True).sum(1).mean(0)[tokens.visual[sample]]


def _pooled(look: Look, frames: list[Frame], fits: Tensor) -> Selection:
    """Return the selection of pooled frames, each with as many tokens as it has blocks."""
    pictures = look.patch_features.split(1)
    means = [block_means(own, frame.block)[0] for own, frame in zip(pictures, frames, strict=True)]  # (n, D) each
    tokens, centres, alone, labels = (
        _even(parts).to(look.features.device)  # (I, n1, ...)
        for parts in (
            means,
            [frame.centres for frame in frames],
            [frame.alone for frame in frames],
            [frame.labels for frame in frames],
        )
    )
    group = torch.stack([frame.block for frame in frames]).to(tokens.device)  # (I, P)
    whole = merge_patches(look, tokens, centres, group, alone, fits.unsqueeze(1).expand_as(group))
    return replace(whole, sizes=tuple(len(own) for own in means), labels=labels)


def _even(parts: list[Tensor]) -> Tensor:
    """Stack parts of different lengths, the shorter ones padded with their last row."""
    longest = max(len(part) for part in parts)
    return torch.stack([torch.cat([part, part[-1:].expand(longest - len(part), *part.shape[1:])]) for part in parts])
