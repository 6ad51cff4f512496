"""What a scene holds and where: drawn at random, before anything is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duet_core.scenes.things import (
    BACKGROUNDS,
    CARD,
    COLOURS,
    COUNTS,
    EMOJI_THINGS,
    PLACES,
    SHAPES,
)

SIZE = 336
SIDE = 3  # the picture is thought of as 3 x 3 places, one object at most in each
JITTER = 11
SMALLEST, LARGEST = 70, 102
_HOW_MANY = (0.08, 0.22, 0.27, 0.21, 0.13, 0.09)  # chances of 1 to 6 objects
_CARD_SHARE, _SHAPE_SHARE, _REPEAT_SHARE = 0.35, 0.3, 0.5


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: x, y are the centre and size the side, in pixels; angle is in degrees."""

    name: str
    colour: str | None
    x: int
    y: int
    size: int
    place: int
    angle: float = 0.0
    number: int | None = None

    @property
    def row(self) -> int:
        """The row of its place, 0 at the top."""
        return self.place // SIDE

    @property
    def column(self) -> int:
        """The column of its place, 0 at the left."""
        return self.place % SIDE

    @property
    def where(self) -> str:
        """Its place in words."""
        return PLACES[self.place]


@dataclass(frozen=True, slots=True)
class Layout:
    """A scene before painting; objects are in reading order (rows from the top, left to right)."""

    objects: tuple[SceneObject, ...]
    background: str


def make_layout(rng: np.random.Generator, least: int = 1) -> Layout:
    """Draw a background and `least` to 6 objects."""
    chances = np.asarray(_HOW_MANY[least - 1 :])
    names = _names(least + int(rng.choice(len(chances), p=chances / chances.sum())), rng)
    background = str(rng.choice(list(BACKGROUNDS)))
    places = sorted(rng.choice(SIDE * SIDE, len(names), replace=False).tolist())
    objects = tuple(put(n, p, background, rng) for n, p in zip(names, places, strict=True))
    return Layout(objects, background)


def _names(count: int, rng: np.random.Generator) -> list[str]:
    names = [CARD.name] if rng.random() < _CARD_SHARE else []
    kinds = count - len(names)
    repeats = 1
    if kinds >= 2 and rng.random() < _REPEAT_SHARE:
        repeats = int(rng.integers(2, min(kinds, len(COUNTS) - 1) + 1))
    while len(names) < count:
        name = _kind(rng)
        if name not in names:
            names += [name] * min(repeats, count - len(names))
            repeats = 1
    return [names[k] for k in rng.permutation(len(names))]


def unlike(count: int, rng: np.random.Generator) -> list[str]:
    """Names of so many things of different kinds; one in three of them a card, at most."""
    names = [CARD.name] if rng.random() < _CARD_SHARE else []
    while len(names) < count:
        name = _kind(rng)
        if name not in names:
            names.append(name)
    return [names[k] for k in rng.permutation(count)]


def _kind(rng: np.random.Generator) -> str:
    rack = SHAPES if rng.random() < _SHAPE_SHARE else EMOJI_THINGS
    return rack[int(rng.integers(len(rack)))].name


def put(name: str, place: int, background: str, rng: np.random.Generator) -> SceneObject:
    """An object of a kind near the middle of a place, in a colour that the background does not have."""
    cell = SIZE // SIDE
    x, y = (cell * k + cell // 2 for k in (place % SIDE, place // SIDE))
    dx, dy = rng.integers(-JITTER, JITTER + 1, 2).tolist()
    is_card = name == CARD.name
    size = int(rng.integers(SMALLEST + 20 * is_card, LARGEST + 1))
    angle = float(rng.uniform(-12, 12)) * (0.4 if is_card else 1.0)
    number = int(rng.integers(10) if rng.random() < 0.4 else rng.integers(10, 100))
    return SceneObject(
        name, _colour(name, background, rng), x + dx, y + dy, size, place, angle,
        number if is_card else None,
    )  # fmt: skip


def _colour(name: str, background: str, rng: np.random.Generator) -> str | None:
    if name != CARD.name and all(shape.name != name for shape in SHAPES):
        return None
    return str(rng.choice([colour for colour in COLOURS if colour != background]))
