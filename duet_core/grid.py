"""The one owner of token <-> patch <-> pixel <-> frame."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Crops:
    """The crops of one picture: their numbers `rows` among the encoder's pictures, their `grid`, their real patches."""

    rows: range
    grid: Grid
    rooms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """How the patches of one picture (or clip) lie in its pixels.

    `frames` x `rows` x `cols` patches in raster order, frame after frame. `picture` is the (width, height) of the
    original in pixels; `seen` is the box (left, top, right, bottom) in original pixels that the encoder's square
    covers: it may reach outside the picture (padding) or leave parts of it out (a centre crop). Where the frames are
    crops of one picture, `crops` holds such a box for each of them; one of them shows the `whole` picture. Where one
    frame of patches stands for several pictures of a clip, `homes` tells for each picture which frame it went into.
    """

    frames: int
    rows: int
    cols: int
    picture: tuple[int, int]
    seen: Box
    crops: tuple[Box, ...] = ()
    homes: tuple[int, ...] = ()

    @property
    def pictures(self) -> int:
        """How many pictures of a clip (or crops of a picture) the frames of patches stand for."""
        return len(self.homes) or self.frames

    def home(self, picture: int) -> int:
        """Return the frame of patches that a picture of the clip went into."""
        return self.homes[picture] if self.homes else picture

    def pictures_of(self, frame: int) -> list[int]:
        """Return the pictures of the clip that a frame of patches stands for."""
        return [picture for picture in range(self.pictures) if self.home(picture) == frame]

    @property
    def patches(self) -> int:
        """Number of patches over all frames."""
        return self.frames * self.rows * self.cols

    @property
    def whole(self) -> int:
        """The frame that shows all of a picture in crops: the first or, after tiles, the last; 0 elsewhere."""
        everything = (0, 0, *self.picture)
        return self.crops.index(everything) if everything in self.crops else 0

    def frame_patches(self, frame: int) -> range:
        """Return the patches of one frame, in raster order."""
        each = self.rows * self.cols
        return range(frame * each, (frame + 1) * each)

    def seen_by(self, frame: int) -> Box:
        """Return the box, in pixels of the original, that a frame covers."""
        return self.crops[frame] if self.crops else self.seen

    def place(self, patch: int) -> tuple[int, int, int]:
        """Return (frame, row, column) of a patch, all counted from 0."""
        frame, rest = divmod(patch, self.rows * self.cols)
        return frame, *divmod(rest, self.cols)

    def box(self, patch: int) -> Box:
        """Return (left, top, right, bottom) of a patch in pixels of the original picture."""
        frame, row, col = self.place(patch)
        left, top, right, bottom = self.seen_by(frame)
        width, height = (right - left) / self.cols, (bottom - top) / self.rows
        return (
            left + col * width,
            top + row * height,
            left + (col + 1) * width,
            top + (row + 1) * height,
        )

    def patch_at(self, x: float, y: float, frame: int = 0) -> int | None:
        """Return the patch under a pixel of the original picture, or None where the encoder saw nothing."""
        left, top, right, bottom = self.seen_by(frame)
        if not (left <= x < right and top <= y < bottom):
            return None
        row = min(self.rows - 1, int((y - top) / (bottom - top) * self.rows))
        col = min(self.cols - 1, int((x - left) / (right - left) * self.cols))
        return (frame * self.rows + row) * self.cols + col

    def to_json(self) -> dict[str, object]:
        """Return the grid as plain JSON values."""
        return {
            "frames": self.frames,
            "rows": self.rows,
            "cols": self.cols,
            "picture": list(self.picture),
            "seen": list(self.seen),
            **({"crops": [list(box) for box in self.crops]} if self.crops else {}),
            **({"homes": list(self.homes)} if self.homes else {}),
        }

    @classmethod
    def from_json(cls, data: dict) -> Grid:
        """Read what `to_json` wrote."""
        crops = tuple(tuple(box) for box in data.get("crops", ()))
        side, homes = (data["frames"], data["rows"], data["cols"]), tuple(data.get("homes", ()))
        return cls(*side, tuple(data["picture"]), tuple(data["seen"]), crops, homes)
