"""Painted pictures and their patch labels: scenes, frames of clips, and pictures that are no scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from duet_core.scenes.actors import FRAMES, ClipLayout
from duet_core.scenes.clip import compose_clip, paint_frames
from duet_core.scenes.foreign import make_foreign
from duet_core.scenes.layout import SIZE, Layout
from duet_core.scenes.scene import FIRST_TRAINING_SEED, compose, paint
from duet_core.train.labels import COLUMNS, GRID, MOST_OBJECTS, foreign_table, owners, table

SET_DISTANCE: Final = 100_000  # seeds between two sets of pictures
_CHUNK = 16  # subjects painted at a time
Source = Literal["scene", "clip", "foreign"]
Subject = Layout | ClipLayout | None
"""What questions are drawn from: a scene, a clip, or nothing."""


class Painted(NamedTuple):
    """N pictures: images (N, 336, 336, 3), owners (N, 576), tables (N, 7, columns), all uint8."""

    images: np.ndarray
    owners: np.ndarray
    tables: np.ndarray


@dataclass(frozen=True, slots=True)
class PictureSet:
    """So many subjects of one source, from their own range of training seeds; scenes have at least `least` objects."""

    name: str
    number: int
    count: int
    source: Source = "scene"
    least: int = 1

    @property
    def seeds(self) -> range:
        """The seeds of the set; never those of visitors, tests and the bench."""
        first = FIRST_TRAINING_SEED + self.number * SET_DISTANCE
        return range(first, first + self.count)

    @property
    def frames(self) -> int:
        """Pictures per subject."""
        return FRAMES if self.source == "clip" else 1

    def subjects(self) -> list[Subject]:
        """What each of the set's pictures or clips shows."""
        if self.source == "foreign":
            return [None] * self.count
        return [compose_clip(s)[1] if self.source == "clip" else compose(s, self.least)[1] for s in self.seeds]


def _scene(seed: int, least: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    style, layout, rng = compose(seed, least)
    yield np.asarray(paint(layout, style, rng)), owners(layout, style), table(layout)


def _clip(seed: int, least: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    style, clip, _ = compose_clip(seed)
    for number, frame in enumerate(paint_frames(seed, clip, style)):
        layout = clip.frame(number)
        yield np.asarray(frame), owners(layout, style), table(layout)


def _foreign(seed: int, least: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    yield np.asarray(make_foreign(seed)), np.zeros(GRID * GRID, np.uint8), foreign_table()


_PAINTERS: dict[str, Callable] = {"scene": _scene, "clip": _clip, "foreign": _foreign}


def _paint_chunk(source: Source, seeds: Sequence[int], least: int) -> Painted:
    rows = [row for seed in seeds for row in _PAINTERS[source](seed, least)]
    return Painted(*(np.stack(part) for part in zip(*rows, strict=True)))


def paint_chunks(wanted: PictureSet, workers: int) -> Iterator[Painted]:
    """Paint a set chunk by chunk, in the order of its seeds, in so many processes (0: in this one)."""
    seeds = wanted.seeds
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    given = [wanted.source] * len(chunks), chunks, [wanted.least] * len(chunks)
    if workers == 0:
        yield from map(_paint_chunk, *given)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_paint_chunk, *given)


def paint_pictures(wanted: PictureSet, folder: Path, workers: int) -> Painted:
    """Paint a set into `folder`, or reopen it when it is there."""
    shapes = {"images": (SIZE, SIZE, 3), "owners": (GRID * GRID,), "tables": (MOST_OBJECTS + 1, len(COLUMNS))}
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        count = wanted.count * wanted.frames
        files = [
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, *shape))
            for name, shape in shapes.items()
        ]
        start = 0
        for chunk in paint_chunks(wanted, workers):
            for file, part in zip(files, chunk, strict=True):
                file[start : start + len(part)] = part
            start += len(chunk.images)
        (folder / "complete").touch()
    return Painted(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes))
