"""What the frozen tower makes of every training picture: computed once, kept on disk, mapped into memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duet_core.scenes.actors import FRAMES, ClipLayout
from duet_core.train.attention import CHUNKED
from duet_core.train.labels import COLUMNS, GRID, MOST_OBJECTS, foreign_table, table
from duet_core.train.pictures import PictureSet, Subject, paint_chunks
from duet_core.train.tower import pixels
from duet_core.vision import cls_evidence, run_encoder

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Views:
    """M pictures of N subjects, F = `frames` each: what stage 1 and the projector need, and the truth.

    features (M, 577, D), scores (M, 577) and keys (M, 577, d) float16, CLS first, as `duet_core.vision` computes them;
    owners (M, 576) and tables (M, 7, columns) uint8.
    """

    features: np.ndarray
    scores: np.ndarray
    keys: np.ndarray
    owners: np.ndarray
    tables: np.ndarray
    subjects: list[Subject]
    frames: int

    def __len__(self) -> int:
        return len(self.subjects)

    def rows(self, subjects: np.ndarray) -> np.ndarray:
        """The pictures of the subjects: (B * F,)."""
        return (subjects[:, None] * self.frames + np.arange(self.frames)).reshape(-1)


def describe(wanted: PictureSet) -> Views:
    """The truth of a set without its pictures: enough for lessons that are written in words."""
    subjects, unseen = wanted.subjects(), np.zeros(0, np.float16)
    tables = np.stack([rows for subject in subjects for rows in _tables(subject)])
    return Views(unseen, unseen, unseen, unseen, tables, subjects, wanted.frames)


def _tables(subject: Subject) -> list[np.ndarray]:
    if isinstance(subject, ClipLayout):
        return [table(subject.frame(number)) for number in range(FRAMES)]
    return [foreign_table() if subject is None else table(subject)]


@torch.no_grad()
def see(tower: Any, images: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, 577, D), scores (B, 577) and keys (B, 577, d) of uint8 pictures, as the engine computes them."""
    given = pixels(torch.from_numpy(images)).to(tower.device, tower.dtype)
    seen = run_encoder(tower, given, tower.config.num_hidden_layers - 1, (GRID, GRID))
    evidence = cls_evidence(seen)
    return seen.features, evidence.scores, evidence.keys


def remember(tower: Any, wanted: PictureSet, folder: Path, workers: int) -> Views:
    """Paint a set and write down what the tower makes of it, or reopen that when it is there."""
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        used = tower.config._attn_implementation
        tower.set_attn_implementation(CHUNKED)
        _write(tower, wanted, folder, workers)
        tower.set_attn_implementation(used)
        (folder / "complete").touch()
    return reopen(wanted, folder)


def reopen(wanted: PictureSet, folder: Path) -> Views:
    """Open what is written down of a set: as many subjects as are wanted, or as there are."""
    # Mapped, not read: a machine keeps as much of it in memory as it has room for.
    names = ("features", "scores", "keys", "owners", "tables")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    count = min(wanted.count, len(arrays["tables"]) // wanted.frames)
    return Views(**arrays, subjects=replace(wanted, count=count).subjects(), frames=wanted.frames)


def _write(tower: Any, wanted: PictureSet, folder: Path, workers: int) -> None:
    count, tokens = wanted.count * wanted.frames, GRID * GRID + 1
    heads, width = tower.config.num_attention_heads, tower.config.hidden_size
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "features": ((tokens, width), np.float16),
        "scores": ((tokens,), np.float16),
        "keys": ((tokens, width // heads), np.float16),
        "owners": ((GRID * GRID,), np.uint8),
        "tables": ((MOST_OBJECTS + 1, len(COLUMNS)), np.uint8),
    }
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape))
        for name, (shape, dtype) in shapes.items()
    }
    start = 0
    for images, *truth in paint_chunks(wanted, workers):
        for first in range(0, len(images), _BATCH):
            part = slice(first, first + _BATCH)
            with torch.autocast(tower.device.type, torch.bfloat16):  # as exact as float16 can tell
                seen = see(tower, images[part])
            own = slice(start + first, start + first + len(images[part]))
            values = (*(x.float().cpu().numpy() for x in seen), *(x[part] for x in truth))
            for file, value in zip(files.values(), values, strict=True):
                file[own] = value
        start += len(images)
