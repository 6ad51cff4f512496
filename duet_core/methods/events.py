"""A clip as a row of events, some of them key ones, and what that means for the tokens of its frames (METok)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from duet_core.methods.blocks import Shape, blocks_of, members, middles, nearest_shape


@dataclass(frozen=True, slots=True)
class Frame:
    """How one frame is pooled into n blocks, on the CPU.

    The `block` [P] of each patch; of each block the patch in its centre [n], whether it holds one patch `alone` [n]
    bool, and a label [n]: twice the number of the event, plus 1 in a key one.
    """

    block: Tensor
    centres: Tensor
    alone: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """Of each frame: the number of its event, whether that is a key one, and its rank in it by how well it fits."""

    event: list[int]
    key: list[bool]
    rank: list[int]

    @classmethod
    def of(cls, means: Tensor, fits: Tensor, cuts: int, key_events: int) -> Clip:
        """Return the events of frames with mean features [T, D] that fit the question so well [T]."""
        if len(means) == 1:
            return cls([0], [True], [0])
        alike = F.cosine_similarity(means[:-1], means[1:], dim=-1)  # (T - 1,)
        return cls.parted(alike.tolist(), fits.tolist(), cuts, key_events)

    @classmethod
    def parted(cls, alike: Sequence[float], fits: Sequence[float], cuts: int, key_events: int) -> Clip:
        """Return the events when frames that are so much `alike` as the next ones [T - 1] are cut where least so."""
        frames = range(len(fits))
        ends = sorted(range(len(alike)), key=lambda at: alike[at])[:cuts]
        event = [sum(end < frame for end in ends) for frame in frames]
        best = [max(fit for fit, own in zip(fits, event, strict=True) if own == one) for one in range(max(event) + 1)]
        keys = sorted(range(len(best)), key=lambda one: -best[one])[:key_events]
        order = sorted(frames, key=lambda frame: -fits[frame])
        rank = [
            sum(event[other] == event[frame] for other in order[: order.index(frame)]) for frame in frames
        ]  # better ones of the same event
        return cls(event, [own in keys for own in event], rank)

    def frames(self, weights: Sequence[float], each: int, rows_cols: Shape) -> list[Frame]:
        """Return how the frames are pooled when about `each` tokens a frame are shared out by weight."""
        shapes = shared_out(weights, each * len(weights), rows_cols)
        return [self._frame(number, shape, rows_cols) for number, shape in enumerate(shapes)]

    def _frame(self, number: int, shape: Shape, rows_cols: Shape) -> Frame:
        block = blocks_of(rows_cols, shape)
        label = 2 * self.event[number] + self.key[number]
        centres = middles(rows_cols, shape)
        return Frame(block, centres, members(block).sum(1) == 1, torch.full_like(centres, label))


def shared_out(weights: Sequence[float], total: int, rows_cols: Shape) -> list[Shape]:
    """Return the blocks of each frame, about `total` in all, in proportion to weights; what is left over goes on."""
    shapes: dict[int, Shape] = {}
    left, weight = float(total), sum(weights)
    for frame in sorted(range(len(weights)), key=lambda one: -weights[one]):
        rows, cols = shapes[frame] = nearest_shape(rows_cols, left * weights[frame] / weight)
        left, weight = left - rows * cols, weight - weights[frame]
    return [shapes[frame] for frame in range(len(weights))]


def dealt(scores: Tensor, event: Tensor, weight: Tensor, many: int, events: int) -> Tensor:
    """Return the `many` of n tokens, ascending, that stay when every event keeps its best in proportion.

    `scores`, `event` and `weight` (of its event) [n]. An event's share is its length times its weight; what has no
    weight comes last.
    """
    order = scores.argsort(descending=True, stable=True)
    belongs = F.one_hot(event[order], events)  # (n, E)
    rank = (belongs.cumsum(0) * belongs).sum(1) - 0.5  # (n,) among its own event
    length = (belongs * belongs.sum(0)).sum(1)  # (n,)
    turn = rank / length / weight[order].clamp(min=1e-6)
    return order[turn.argsort(stable=True)[:many]].sort().values
