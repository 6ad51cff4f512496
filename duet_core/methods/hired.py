"""HiRED (2408.10945): keep the patches that CLS attends to most; a large picture's crops share a budget out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from duet_core.grid import Box, Crops, Grid
from duet_core.methods.base import About, Look, Method, Selection, keep_patches
from duet_core.methods.settings import Share
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class HiRED(Method):
    """Top patches by CLS attention of the used layer, summed over heads, in raster order; nothing is merged.

    Of a picture in crops, the one that shows all of it gets the share `whole` of the budget; a half is our choice
    [interpretation], as our source does not give the published value. The other crops get the rest in proportion to how
    many of its (1 - whole) P best patches, by CLS attention of the encoder's first layer, lie in each. Deviation: a
    patch lies in the crop that covers its middle, where the published code cuts the flat map by the grid of crops.
    Frames of a clip, and tiles of which only bare inputs came, share evenly.
    Without a CLS, attention received stands in for its attention.
    """

    title: ClassVar[str] = "HiRED"
    about: ClassVar[About] = About(
        "HiRED (2408.10945)",
        "before the model",
        ("CLS attention of the encoder", "the first layer's, of a picture in crops"),
        confidence="official code read; the whole picture's share is our choice",
        interpretation=True,
    )
    whole: Share = 0.5

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan that lets the target in, of all frames or crops together."""
        plan = before_model("hired", target, size)
        return replace(plan, shared=round(target)) if size.parts > 1 and plan.dominant is not None else plan

    def share_out(self, look: Look) -> tuple[int, ...] | None:
        """Share the budget out over the crops of each picture, or evenly over the frames of a clip."""
        many, shared = self.entering(look), self.plan.shared
        if many is None or not (look.crops or shared):
            return None
        shares = [many] * len(look.features)
        for crops in look.crops:
            shares[crops.rows.start : crops.rows.stop] = self._of_crops(look, crops)
        for group in look.groups if not look.crops else ():
            rooms = torch.full((len(group),), look.patches)
            shares[group.start : group.stop] = dealt(torch.ones(len(group)), rooms, shared or 0).tolist()
        return tuple(shares)

    def _of_crops(self, look: Look, crops: Crops) -> list[int]:
        """Return how many tokens each crop of one picture may pass on."""
        rooms, grid = torch.tensor(crops.rooms), crops.grid
        even = rooms.clamp(max=self.plan.dominant or 0).sum()
        total = min(int(even) if self.plan.shared is None else self.plan.shared, sum(crops.rooms))
        beside = sum(crops.rooms) - crops.rooms[grid.whole]
        whole = min(crops.rooms[grid.whole], max(round(self.whole * total), total - beside))
        best = look.early([crops.rows[grid.whole]])[0].argsort(descending=True, stable=True)
        best = best[: round((1 - self.whole) * len(best))].cpu()
        votes = covering(grid)[best].bincount(minlength=grid.frames).float()
        others = rooms.index_fill(0, torch.tensor([grid.whole]), 0)
        return dealt(votes, others, total - whole).index_fill(0, torch.tensor([grid.whole]), whole).tolist()

    def after_vision(self, look: Look) -> Selection | None:
        """Keep the most attended patches."""
        many = self.entering(look)
        if many is None:
            return None
        scores = look.attended
        best = scores.argsort(dim=1, descending=True, stable=True)[:, : max(look.shares or (many,))]
        if look.shares is None:
            return keep_patches(look, best.sort(1).values, scores)
        shares = torch.tensor(look.shares, device=best.device).unsqueeze(1)  # (I, 1)
        beyond = torch.arange(best.shape[1], device=best.device) >= shares
        return keep_patches(look, best.masked_fill(beyond, look.patches).sort(1).values, scores, look.shares)


def dealt(weights: Tensor, rooms: Tensor, total: int) -> Tensor:
    """Return how many of `total` tokens go to each of C crops [C] in proportion to weights [C], at most `rooms` [C].

    One after the other, each to the crop furthest behind; what has no weight comes last.
    """
    owner = torch.arange(len(rooms)).repeat_interleave(rooms)  # (sum of rooms,)
    number = torch.cat([torch.arange(room) for room in rooms.tolist()])
    turn = (number + 0.5) / weights[owner].clamp(min=1e-6)
    return owner[turn.argsort(stable=True)[:total]].bincount(minlength=len(rooms))


@lru_cache(maxsize=64)
def covering(grid: Grid) -> Tensor:
    """Return, for each patch of the crop that shows the whole picture, the other crop that covers its middle [P]."""
    return torch.tensor([_owner(grid, grid.box(patch)) for patch in grid.frame_patches(grid.whole)])


def _owner(grid: Grid, patch: Box) -> int:
    x, y = (patch[0] + patch[2]) / 2, (patch[1] + patch[3]) / 2
    others = (frame for frame in range(grid.frames) if frame != grid.whole)
    return min(others, key=lambda own: _beyond(grid.crops[own], x, y))


def _beyond(box: Box, x: float, y: float) -> float:
    """Return how far a point lies outside a box, below 0 inside."""
    left, top, right, bottom = box
    return max(left - x, x - right, top - y, y - bottom)
