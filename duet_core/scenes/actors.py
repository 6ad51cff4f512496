"""Who does what in a clip of eight frames: drawn at random, before anything is painted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, pairwise, product
from typing import Final, Literal

import numpy as np

from duet_core.scenes.layout import SIDE, SIZE, Layout, SceneObject, put, unlike
from duet_core.scenes.things import BACKGROUNDS

FRAMES: Final = 8
MOST_FLASHES: Final = 4
MOST_ACTORS: Final = 4
_CELL = SIZE // SIDE
_SCRIPTS = {"change": 0.66, "parade": 0.17, "flash": 0.17}
_MOVES, _APPEARS, _DISAPPEARS = 0.75, 0.4, 0.4  # chances in a clip of changes
_EARLIEST = 2  # nothing appears or disappears before this frame, nor within as many frames of the end

Script = Literal["change", "parade", "flash"]
Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Actor:
    """A thing and its eight frames: whether it is `seen`, and the centre of its `path` in pixels."""

    thing: SceneObject
    seen: tuple[bool, ...]
    path: tuple[Point, ...]

    @property
    def name(self) -> str:
        """What it is."""
        return self.thing.name

    @property
    def way(self) -> str | None:
        """Which way it moves: left, right, up or down; None if it stays where it is."""
        dx, dy = (last - first for first, last in zip(self.path[0], self.path[-1], strict=True))
        if dx == dy == 0:
            return None
        return ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")

    @property
    def appearances(self) -> int:
        """How many times it comes into sight, counting a start in sight."""
        return sum(shown for shown, _ in groupby(self.seen))

    def at(self, frame: int) -> SceneObject:
        """The thing as it lies in a frame."""
        x, y = self.path[frame]
        place = min(y // _CELL, SIDE - 1) * SIDE + min(x // _CELL, SIDE - 1)
        return replace(self.thing, x=x, y=y, place=place)


@dataclass(frozen=True, slots=True)
class ClipLayout:
    """A clip before painting: who acts before which background, and what sort of story it is."""

    actors: tuple[Actor, ...]
    background: str
    script: Script

    def frame(self, number: int) -> Layout:
        """The layout of one frame, its things in reading order."""
        things = [actor.at(number) for actor in self.actors if actor.seen[number]]
        return Layout(tuple(sorted(things, key=lambda thing: thing.place)), self.background)


def make_clip_layout(rng: np.random.Generator) -> ClipLayout:
    """Draw a script, a background and one to four actors of different kinds."""
    background = str(rng.choice(list(BACKGROUNDS)))
    script: Script = rng.choice(list(_SCRIPTS), p=list(_SCRIPTS.values()))
    draw = {"change": _change, "parade": _parade, "flash": _flash}[script]
    names = unlike(MOST_ACTORS, rng)
    actors = []
    for name, (cell, seen, travel) in zip(names, draw(rng), strict=False):
        thing = put(name, cell, background, rng)
        actors.append(Actor(thing, seen, _path(thing, travel)))
    return ClipLayout(tuple(actors), background, script)


Part = tuple[int, tuple[bool, ...], Point]  # cell, in which frames, how far it travels in pixels
_ALWAYS = (True,) * FRAMES
_STILL = (0, 0)


def _change(rng: np.random.Generator) -> Iterator[Part]:
    """One thing may move along its row or column, one may appear, one may disappear, the others rest."""
    cells = rng.permutation(SIDE * SIDE).tolist()
    if rng.random() < _MOVES:
        start, lane, travel = _lane(rng)
        cells = [cell for cell in cells if cell not in lane]
        yield start, _ALWAYS, travel
    if rng.random() < _APPEARS:
        yield cells.pop(), _from(rng), _STILL
    if rng.random() < _DISAPPEARS:
        yield cells.pop(), tuple(not seen for seen in _from(rng)), _STILL
    yield from _resting(cells, rng, least=1)


def _parade(rng: np.random.Generator) -> Iterator[Part]:
    """Two or three things come one after the other, wherever, and perhaps one rests."""
    cells = rng.permutation(SIDE * SIDE).tolist()
    bounds = (0, 4, FRAMES) if rng.random() < 0.4 else (0, 3, 5 + int(rng.integers(2)), FRAMES)
    for begin, end in pairwise(bounds):
        yield cells.pop(), tuple(begin <= frame < end for frame in range(FRAMES)), _STILL
    yield from _resting(cells, rng, least=0, most=1)


def _flash(rng: np.random.Generator) -> Iterator[Part]:
    """One thing flashes one to four times, the others rest."""
    cells = rng.permutation(SIDE * SIDE).tolist()
    patterns = _patterns(int(rng.integers(1, MOST_FLASHES + 1)))
    yield cells.pop(), patterns[int(rng.integers(len(patterns)))], _STILL
    yield from _resting(cells, rng, least=0)


def _resting(cells: list[int], rng: np.random.Generator, least: int, most: int = 2) -> Iterator[Part]:
    for cell in cells[: int(rng.integers(least, most + 1))]:
        yield cell, _ALWAYS, _STILL


def _lane(rng: np.random.Generator) -> tuple[int, tuple[int, ...], Point]:
    """Where a mover starts, the cells it needs for itself, and how far it goes."""
    line, across, backwards = int(rng.integers(SIDE)), rng.random() < 0.5, rng.random() < 0.5
    lane = tuple(line * SIDE + k if across else k * SIDE + line for k in range(SIDE))
    far = int(rng.integers(_CELL, 2 * _CELL - 12)) * (-1 if backwards else 1)
    return lane[-1 if backwards else 0], lane, (far, 0) if across else (0, far)


def _path(thing: SceneObject, travel: Point) -> tuple[Point, ...]:
    shares = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    return tuple((thing.x + round(travel[0] * share), thing.y + round(travel[1] * share)) for share in shares)


def _from(rng: np.random.Generator) -> tuple[bool, ...]:
    start = int(rng.integers(_EARLIEST, FRAMES - _EARLIEST + 1))
    return tuple(frame >= start for frame in range(FRAMES))


@cache
def _patterns(flashes: int) -> tuple[tuple[bool, ...], ...]:
    """All ways to be in sight so many times, for one or two frames each, and out of sight in between."""

    def fits(pattern: tuple[bool, ...]) -> bool:
        runs = [len(list(run)) for shown, run in groupby(pattern) if shown]
        return len(runs) == flashes and max(runs) <= 2

    return tuple(pattern for pattern in product((False, True), repeat=FRAMES) if fits(pattern))
