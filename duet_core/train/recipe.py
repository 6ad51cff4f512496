"""The numbers of a training: how many pictures, which phases, which sizes."""

from __future__ import annotations

from dataclasses import dataclass

from duet_core.scenes.scene import FIRST_TRAINING_SEED
from duet_core.train.labels import GRID
from duet_core.train.loop import Phase
from duet_core.train.model import Sizes

ALL = GRID * GRID
SET_DISTANCE = 100_000  # seeds between two sets of pictures


@dataclass(frozen=True, slots=True)
class PictureSet:
    """So many scenes with at least so many objects, from their own range of training seeds."""

    name: str
    number: int
    count: int
    least: int

    @property
    def seeds(self) -> range:
        """The seeds of the set; never those of visitors, tests and the bench."""
        first = FIRST_TRAINING_SEED + self.number * SET_DISTANCE
        return range(first, first + self.count)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training.

    `remembered` is how many of the normal pictures the language model learns from.
    """

    sizes: Sizes
    dense: PictureSet
    normal: PictureSet
    check: PictureSet
    remembered: int
    tower: tuple[Phase, ...]
    align: Phase
    language: tuple[Phase, ...]
    check_every: int
    check_pictures: int


DUET_MINI = Recipe(
    sizes=Sizes(),
    dense=PictureSet("dense", 0, 6000, 4),
    normal=PictureSet("normal", 1, 8000, 1),
    check=PictureSet("check", 9, 300, 1),
    remembered=5000,
    tower=(
        Phase("patches", 980, 32, 160, 2e-3, 6e-4),
        Phase("digits", 140, 32, 160, 1.2e-3, 1e-3),
        Phase("whole", 140, 12, ALL, 1.2e-3, 9e-4),
        Phase("settle", 250, 12, ALL, 9e-4, 1e-5, cards=4.0),
        Phase("cards", 240, 48, 112, 8e-4, 6e-4, cards=30.0),
        Phase("finish", 130, 12, ALL, 6e-4, 1e-5, cards=4.0),
    ),
    align=Phase("align", 300, 16, 128, 4e-3, 4e-4),
    language=(
        Phase("few", 300, 16, 40, 3e-3, 2.7e-3),
        Phase("some", 200, 16, 128, 2.7e-3, 2.2e-3),
        Phase("whole", 380, 12, ALL, 2.2e-3, 2e-5),
    ),
    check_every=100,
    check_pictures=96,
)

_STEPS = (Phase("few", 2, 2, 16, 1e-3, 1e-3), Phase("whole", 1, 2, ALL, 1e-3, 1e-3))
TINY = Recipe(
    sizes=Sizes(32, 2, 2, 64, 64, 2, 64),
    dense=PictureSet("dense", 0, 8, 1),
    normal=PictureSet("normal", 1, 8, 1),
    check=PictureSet("check", 9, 8, 1),
    remembered=8,
    tower=_STEPS,
    align=Phase("align", 2, 2, 16, 1e-3, 1e-3),
    language=_STEPS,
    check_every=2,
    check_pictures=2,
)
"""A rehearsal of seconds, for the tests: the same path, nothing learnt."""
