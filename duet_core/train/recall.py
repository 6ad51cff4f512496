"""What the visual tokens of a clip should remember of earlier frames: dense supervision of the language model.

An answer alone hardly says which frame was misread. So in training every visual token also tells, half way up the
model and before any question is asked, what came before it. The readings end with the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core.scenes.actors import FRAMES, MOST_FLASHES, ClipLayout
from duet_core.scenes.things import NAMES, PLACES
from duet_core.train.packing import IGNORED

_KINDS = len(NAMES)
_PARTS: Final = {
    "frame": FRAMES,  # which frame the token is of
    "start": len(PLACES) + 1,  # where the token's thing was in the first frame; 0 for nowhere
    "before": len(PLACES) + 1,  # and in the frame before
    "times": MOST_FLASHES + 1,  # how many times it has come into sight
    "most": MOST_FLASHES + 1,  # how many times anything has
    "last": _KINDS,  # every thing that was in sight in the frame before
    "ever": _KINDS,  # every thing that has been in sight
    "come": _KINDS,  # every thing of the frame before that was not in the first
    "gone": _KINDS,  # every thing that was in sight, but no longer in the frame before
}
_SETS = ("last", "ever", "come", "gone")
_SET_WEIGHT = 0.1  # such a loss is a sum over all kinds


def courses(clips: Sequence[ClipLayout]) -> Tensor:
    """Where every kind of thing is in every frame: (B, F, 1 + kinds) int64, a place + 1, or 0 for nowhere.

    Kinds are numbered as the labels of patches are, from 1.
    """
    places = torch.zeros(len(clips), FRAMES, 1 + _KINDS, dtype=torch.long)
    for number, clip in enumerate(clips):
        for actor in clip.actors:
            for frame in (frame for frame in range(FRAMES) if actor.seen[frame]):
                places[number, frame, 1 + NAMES.index(actor.name)] = actor.at(frame).place + 1
    return places


def memories(places: Tensor, kinds: Tensor) -> dict[str, Tensor]:
    """The truth for tokens of these kinds (B, F * n), frame by frame, 0 where a token shows no thing of its own.

    Classes (B, F, n) int64, IGNORED where a token shows no thing; sets (B, F, n, kinds) float32.
    """
    own = kinds.unflatten(1, (FRAMES, -1))  # (B, F, n)
    own = torch.where(own <= _KINDS, own, 0)  # a patch of a picture that is no scene shows no thing
    before = F.pad(places, (0, 0, 1, 0))[:, :FRAMES]  # (B, F, 1 + kinds), shifted by one frame
    shown, shown_before = places > 0, before > 0
    times, starts = (shown & ~shown_before).cumsum(1), places[:, :1].expand_as(places)
    per_kind = {"start": starts, "before": before, "times": times}
    truth = {name: table.gather(2, own).masked_fill(own == 0, IGNORED) for name, table in per_kind.items()}
    truth["frame"] = torch.arange(FRAMES, device=own.device)[:, None].expand_as(own)
    truth["most"] = times.amax(2)[..., None].expand_as(own)
    return truth | {name: _told(own_set, own.shape[2]) for name, own_set in _sets(shown, shown_before).items()}


def _sets(shown: Tensor, before: Tensor) -> dict[str, Tensor]:
    """Sets of kinds (B, F, 1 + kinds) bool, from those in sight in every frame and in the frame before it."""
    come, gone = before & ~shown[:, :1], before.cummax(1).values & ~before
    return {"last": before, "ever": shown.cummax(1).values, "come": come, "gone": gone}


def _told(kinds: Tensor, tokens: int) -> Tensor:
    """A set (B, F, 1 + kinds) as the truth of every token of its frame: (B, F, n, kinds) float32."""
    return kinds[:, :, None, 1:].expand(-1, -1, tokens, -1).float()


class Recall(nn.Module):
    """Linear readings of hidden states; forward is their loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.read = nn.RMSNorm(width), nn.Linear(width, sum(_PARTS.values()))

    def forward(self, hidden: Tensor, places: Tensor, kinds: Tensor) -> Tensor:
        """The loss of hidden states (B, F * n, D) of a clip's tokens; see `courses` and `memories`."""
        read = self.read(self.norm(hidden)).float().unflatten(1, (FRAMES, -1))  # (B, F, n, readings)
        told = dict(zip(_PARTS, read.split(list(_PARTS.values()), -1), strict=True))
        truth = memories(places, kinds)
        losses = [
            _SET_WEIGHT * F.binary_cross_entropy_with_logits(told[name], own, reduction="none").sum(-1).mean()
            if name in _SETS
            else F.cross_entropy(told[name].flatten(0, 2), own.flatten(), ignore_index=IGNORED)
            for name, own in truth.items()
        ]
        return torch.stack(losses).sum()
