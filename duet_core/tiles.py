"""Pictures that are cut into tiles, each of them a block of visual tokens with text between the blocks.

The text is that of the processors of Idefics3 and SmolVLM in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from duet_core.grid import Box

_AROUND, _WHOLE = "<fake_token_around_image>", "<global-img>"
TILES: Final = "tiles"
"""Under this name `pixels_of` tells the rows and columns [2] of tiles, 0 and 0 where a picture is not cut."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a picture is cut: `rows` x `cols` tiles in raster order, then all of it once more; 0 x 0 where it is not."""

    rows: int
    cols: int

    @property
    def count(self) -> int:
        """How many pictures the encoder sees."""
        return self.rows * self.cols + 1

    def boxes(self, picture: tuple[int, int]) -> tuple[Box, ...]:
        """Return what each tile covers of a (width, height) picture, in its pixels; nothing where it is not cut."""
        if self.count == 1:
            return ()
        width, height = picture
        downs = [row * height / self.rows for row in range(self.rows + 1)]
        acrosses = [col * width / self.cols for col in range(self.cols + 1)]
        cut = [
            (acrosses[col], downs[row], acrosses[col + 1], downs[row + 1])
            for row in range(self.rows)
            for col in range(self.cols)
        ]
        return (*cut, (0.0, 0.0, float(width), float(height)))

    def text(self, mark: str, tokens: int) -> str:
        """Return what stands for the picture in a prompt: `tokens` marks for every tile, and the words around them."""
        block = mark * tokens
        whole = f"{_AROUND}{_WHOLE}{block}{_AROUND}"
        if self.count == 1:
            return whole
        lines = ["".join(f"{_AROUND}{_name(row, col)}{block}" for col in range(self.cols)) for row in range(self.rows)]
        return "".join(f"{line}\n" for line in [*lines, ""]) + whole


def _name(row: int, col: int) -> str:
    return f"<row_{row + 1}_col_{col + 1}>"


def tiles_in(pixels: Mapping[str, Tensor]) -> Tiles | None:
    """Return how each picture of some pixels is cut; None where their family knows no tiles."""
    return Tiles(*pixels[TILES].tolist()) if TILES in pixels else None
