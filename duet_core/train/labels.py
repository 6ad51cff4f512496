"""What every patch of a scene shows: the dense supervision of the vision tower."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from duet_core.scenes.layout import SIZE, Layout
from duet_core.scenes.scene import place
from duet_core.scenes.things import BACKGROUNDS, COLOURS, NAMES

GRID: Final = 24
PATCH: Final = SIZE // GRID
MOST_OBJECTS: Final = 6
_COVERED: Final = 0.2  # share of a patch an object must cover to own it

# One column each; 0 always means "does not apply", so a class k is stored as k + 1.
FOREIGN: Final = len(NAMES) + 1  # the kind of every patch of a picture that is no scene
COLUMNS: Final = {
    "kind": len(NAMES) + 2,
    "colour": len(COLOURS) + 1,
    "place": 10,
    "rank": MOST_OBJECTS + 1,
    "count": 5,
    "tens": 12,
    "units": 11,
    "background": len(BACKGROUNDS) + 1,
}


def owners(layout: Layout, style: str) -> np.ndarray:
    """Which object owns each patch: (576,) uint8, 0 for the background, k + 1 for object k."""
    canvas = Image.new("L", (SIZE, SIZE), 0)
    for number, thing in enumerate(layout.objects):
        sprite, corner = place(thing, style)
        solid = sprite.getchannel("A").point([255 * (level > 127) for level in range(256)])
        canvas.paste(number + 1, corner, solid)
    cells = np.asarray(canvas).reshape(GRID, PATCH, GRID, PATCH)
    cover = np.stack([(cells == k + 1).mean((1, 3)) for k in range(MOST_OBJECTS)])
    best = cover.argmax(0)
    return np.where(cover.max(0) > _COVERED, best + 1, 0).astype(np.uint8).reshape(-1)


def foreign_table() -> np.ndarray:
    """The labels of a picture that is no scene, as `table` gives those of a scene."""
    rows = np.zeros((MOST_OBJECTS + 1, len(COLUMNS)), np.uint8)
    rows[0, list(COLUMNS).index("kind")] = FOREIGN
    return rows


def table(layout: Layout) -> np.ndarray:
    """The labels of the background (row 0) and of each object: (7, columns) uint8."""
    rows = np.zeros((MOST_OBJECTS + 1, len(COLUMNS)), np.uint8)
    rows[0, -1] = 1 + list(BACKGROUNDS).index(layout.background)
    names = [thing.name for thing in layout.objects]
    for rank, thing in enumerate(layout.objects):
        colour = 1 + list(COLOURS).index(thing.colour) if thing.colour else 0
        digits = _digits(thing.number)
        kind = 1 + NAMES.index(thing.name)
        count = names.count(thing.name)
        rows[rank + 1] = (kind, colour, thing.place + 1, rank + 1, min(count, 4), *digits, 0)
    return rows


def _digits(number: int | None) -> tuple[int, int]:
    """Tens (1 for none, else digit + 2) and units (digit + 1); both 0 where there is no number."""
    if number is None:
        return 0, 0
    return (1 if number < 10 else number // 10 + 2), number % 10 + 1
