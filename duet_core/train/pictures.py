"""Painted scenes and their patch labels, kept on disk as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duet_core.scenes.layout import SIZE
from duet_core.scenes.scene import compose, paint
from duet_core.train.labels import COLUMNS, GRID, MOST_OBJECTS, owners, table

_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Pictures:
    """N scenes: images (N, 336, 336, 3), owners (N, 576), tables (N, 7, columns), all uint8."""

    seeds: np.ndarray
    images: np.ndarray
    owners: np.ndarray
    tables: np.ndarray

    def __len__(self) -> int:
        return len(self.seeds)

    def first(self, count: int) -> Pictures:
        """The first `count` of them."""
        parts = (self.seeds, self.images, self.owners, self.tables)
        return Pictures(*(part[:count] for part in parts))


def paint_pictures(folder: Path, seeds: Sequence[int], least: int, workers: int) -> Pictures:
    """Paint the scenes of the seeds into `folder`, or reopen them when they are there."""
    if not (folder / "seeds.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [seeds[k : k + _CHUNK] for k in range(0, len(seeds), _CHUNK)]
        shapes = {"images": (SIZE, SIZE, 3), "owners": (GRID * GRID,)}
        shapes["tables"] = (MOST_OBJECTS + 1, len(COLUMNS))
        opened = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (len(seeds), *shape))
            for name, shape in shapes.items()
        }
        with ProcessPoolExecutor(workers) as pool:
            done = pool.map(_paint_chunk, chunks, [least] * len(chunks))
            for start, arrays in zip(range(0, len(seeds), _CHUNK), done, strict=True):
                for name, part in zip(shapes, arrays, strict=True):
                    opened[name][start : start + len(part)] = part
        np.save(folder / "seeds.npy", np.asarray(seeds))
    names = ("seeds", "images", "owners", "tables")
    return Pictures(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))


def _paint_chunk(seeds: Sequence[int], least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, maps, tables = [], [], []
    for seed in seeds:
        style, layout, rng = compose(int(seed), least)
        images.append(np.asarray(paint(layout, style, rng)))
        maps.append(owners(layout, style))
        tables.append(table(layout))
    return np.stack(images), np.stack(maps), np.stack(tables)
