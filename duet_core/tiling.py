"""How a picture is cut into crops, and in which order the untouched model lays their patches out again.

A crop has `side` x `side` patches, P in all. C crops of a picture, D width. The source of every rule is the model's own
`pack_image_features` and `get_video_features` in transformers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from duet_core.grid import Box, Grid
from duet_core.plan import Size

Inside = tuple[int, int, int, int]
"""(top, left, bottom, right) in patches of a sheet."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """`rows` x `cols` crops put together to one grid of patches.

    `inside`: the part of it that is no padding. `shrunk`: the (rows, columns) of tokens that the untouched model makes
    of that part where it is too large. `line_ends`: whether a token follows every row of tokens.
    """

    rows: int
    cols: int
    side: int
    inside: Inside
    shrunk: tuple[int, int] | None = None
    line_ends: bool = False

    @classmethod
    def whole(cls, side: int, shrunk: tuple[int, int] | None = None) -> Sheet:
        """One crop without padding."""
        return cls(1, 1, side, (0, 0, side, side), shrunk)

    @property
    def crops(self) -> int:
        """How many crops it has."""
        return self.rows * self.cols

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of patches that are no padding."""
        top, left, bottom, right = self.inside
        return bottom - top, right - left

    @property
    def lines(self) -> tuple[int, int]:
        """Rows of tokens in the untouched model, and tokens of each row."""
        rows, cols = self.shrunk or self.inner
        return rows, cols + self.line_ends

    def tokens_of(self, crops: Tensor, line_end: Tensor) -> Tensor:
        """Return the untouched model's tokens [tokens, D] of projected patches [C, P, D]; `line_end` [D]."""
        top, left, bottom, right = self.inside
        grid = crops.view(self.rows, self.cols, self.side, self.side, -1).transpose(1, 2)
        grid = grid.flatten(2, 3).flatten(0, 1)[top:bottom, left:right]  # (rows, columns, D)
        if self.shrunk:
            grid = F.interpolate(grid.permute(2, 0, 1)[None], self.shrunk, mode="bilinear")[0].permute(1, 2, 0)
        if self.line_ends:
            grid = torch.cat([grid, line_end.to(grid).expand(len(grid), 1, -1)], dim=1)
        return grid.flatten(0, 1)  # (tokens, D)

    def numbers(self) -> tuple[Tensor, Tensor]:
        """Return for each patch [C, P] its token's number, -1 in the padding, and whether it is the token's centre."""
        (rows, cols), (down, across) = self.inner, self.shrunk or self.inner
        row, down_centre = _nearest(rows, down)
        col, across_centre = _nearest(cols, across)
        number = row[:, None] * (across + self.line_ends) + col
        return self._apart(number, -1), self._apart(down_centre[:, None] & across_centre, False)

    def raster(self) -> Tensor:
        """Return each patch's number [C, P] in the raster order of the whole sheet."""
        rows, cols = self.rows * self.side, self.cols * self.side
        return self._cut(torch.arange(rows * cols).view(rows, cols))

    def _apart(self, inner: Tensor, outside: int) -> Tensor:
        """Return values of the patches that are no padding as [C, P], with `outside` in the padding."""
        top, left, bottom, right = self.inside
        sheet = torch.full((self.rows * self.side, self.cols * self.side), outside, dtype=inner.dtype)
        sheet[top:bottom, left:right] = inner
        return self._cut(sheet)

    def _cut(self, sheet: Tensor) -> Tensor:
        """Cut the values of a sheet's patches into crops [C, P]."""
        cells = sheet.view(self.rows, self.side, self.cols, self.side).transpose(1, 2)
        return cells.flatten(2, 3).flatten(0, 1)


def _nearest(patches: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Return, along one side, the token nearest to each patch, and whether that patch lies in its middle."""
    number = (2 * torch.arange(patches) + 1) * tokens // max(1, 2 * patches)
    middle = (2 * torch.arange(tokens) + 1) * patches // max(1, 2 * tokens)
    return number, torch.zeros(patches, dtype=torch.bool).index_fill(0, middle, True)


@dataclass(frozen=True, slots=True)
class Tiling:
    """All crops of one picture (or the frames of a clip), sheet after sheet.

    `ends`: whether one token follows them all. `picture`: the (width, height) of the original in pixels. `boxes`: what
    each crop covers of it, for a picture of several crops, the first of which shows all of it.
    """

    sheets: tuple[Sheet, ...]
    picture: tuple[int, int]
    ends: bool = False
    boxes: tuple[Box, ...] = ()

    @property
    def crops(self) -> int:
        """How many crops (or frames) it has."""
        return sum(sheet.crops for sheet in self.sheets)

    @property
    def tokens(self) -> int:
        """Visual tokens of the untouched model."""
        return sum(math.prod(sheet.lines) for sheet in self.sheets) + self.ends

    @property
    def inside(self) -> Tensor:
        """Which patches are no padding, [C, P] bool."""
        return torch.cat([sheet.numbers()[0] for sheet in self.sheets]) >= 0  # (C, P)

    @property
    def shrunk(self) -> Tensor:
        """Of which crops the untouched model makes fewer tokens than there are patches, [C, 1] bool."""
        crops = torch.tensor([sheet.crops for sheet in self.sheets])
        return torch.tensor([sheet.shrunk is not None for sheet in self.sheets]).repeat_interleave(crops).unsqueeze(1)

    def size(self, layers: int, extra: int) -> Size:
        """What a plan depends on; `extra`: tokens of every crop that are no patch (CLS)."""
        real = self.inside.sum(1).tolist()
        return Size(self.tokens, layers, rooms=tuple(patches + extra for patches in real if patches))

    def tokens_of(self, crops: Tensor, line_end: Tensor) -> Tensor:
        """Return the untouched model's tokens [tokens, D] of projected patches [C, P, D]; `line_end` [D]."""
        parts = crops.split([sheet.crops for sheet in self.sheets])
        rows = [sheet.tokens_of(part, line_end) for sheet, part in zip(self.sheets, parts, strict=True)]
        return torch.cat([*rows, *[line_end.to(crops)[None]] * self.ends])  # (tokens, D)

    def numbers(self) -> tuple[Tensor, Tensor]:
        """Return for each patch [C, P] its token's number, -1 in the padding, and whether it is the token's centre."""
        first = accumulate((math.prod(sheet.lines) for sheet in self.sheets), initial=0)
        pairs = [(start, *sheet.numbers()) for start, sheet in zip(first, self.sheets, strict=False)]
        number = torch.cat([torch.where(own < 0, own, own + start) for start, own, _ in pairs])  # (C, P)
        return number, torch.cat([centre for _, _, centre in pairs])


def cut_up(picture: tuple[int, int], best: tuple[int, int], edge: int, side: int, most: int | None = None) -> Tiling:
    """Return how a (width, height) picture is cut: once as a whole, and fitted into `best` (height, width) pixels.

    `edge`: pixels of a crop's side. `most`: the crops whose tokens the model takes at most before it shrinks them.
    """
    rows, cols = best[0] // edge, best[1] // edge
    inside = _unpadded(picture, rows * side, cols * side)
    sheet = Sheet(rows, cols, side, inside, _shrunk(inside, side, most), line_ends=True)
    whole: Box = (0.0, 0.0, float(picture[0]), float(picture[1]))
    return Tiling((Sheet.whole(side), sheet), picture, boxes=(whole, *_boxes(picture, best, edge)))


def best_of(picture: tuple[int, int], pinpoints: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the (height, width) among the allowed ones that a (width, height) picture is fitted into."""
    return select_best_resolution((picture[1], picture[0]), list(pinpoints))


def film_of(frames: int, side: int) -> Tiling:
    """Return how the frames of a clip lie: one after the other, each pooled to half its side, and one token behind."""
    half = math.ceil(side / 2)
    return Tiling((Sheet.whole(side, (half, half)),) * frames, (side, side), ends=True)


def uncut(picture: tuple[int, int], side: int) -> Tiling:
    """Return how one of several pictures lies that the model does not cut: one crop, and one token behind."""
    return Tiling((Sheet.whole(side),), picture, ends=True)


def grid_of(tilings: Sequence[Tiling]) -> Grid:
    """Return how the patches of one sample's pictures lie; boxes are in pixels of each own picture."""
    side, picture = tilings[0].sheets[0].side, tilings[0].picture
    boxes = tuple(box for tiling in tilings for box in tiling.boxes)
    crops = sum(tiling.crops for tiling in tilings)
    return Grid(crops, side, side, picture, (0, 0, *picture), boxes if len(boxes) == crops else ())


def _unpadded(picture: tuple[int, int], rows: int, cols: int) -> Inside:
    """Return the part of rows x cols patches that a picture covers, rounded as transformers' `unpad_image` does."""
    width, height = picture
    if width / height > cols / rows:
        pad = (rows - int(round(height * (cols / width), 7))) // 2
        return pad, 0, rows - pad, cols
    pad = (cols - int(round(width * (rows / height), 7))) // 2
    return 0, pad, rows, cols - pad


def _shrunk(inside: Inside, side: int, most: int | None) -> tuple[int, int] | None:
    """Return the rows and columns that too large a sheet is shrunk to, None where it is not."""
    if most is None:
        return None
    rows, cols = inside[2] - inside[0], inside[3] - inside[1]
    ratio = math.sqrt(rows * cols / (most * side**2))
    return (int(rows // ratio), int(cols // ratio)) if ratio > 1.1 else None


def _boxes(picture: tuple[int, int], best: tuple[int, int], edge: int) -> list[Box]:
    """Return what each grid crop covers, in pixels of the original: it may reach outside, where the padding is."""
    (width, height), (down, across) = picture, best
    scale = min(across / width, down / height)
    fitted = min(math.ceil(width * scale), across), min(math.ceil(height * scale), down)
    left, top = (across - fitted[0]) // 2, (down - fitted[1]) // 2
    per_x, per_y = width / fitted[0], height / fitted[1]
    return [
        ((x - left) * per_x, (y - top) * per_y, (x + edge - left) * per_x, (y + edge - top) * per_y)
        for y in range(0, down, edge)
        for x in range(0, across, edge)
    ]
