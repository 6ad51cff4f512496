"""One clip told in many ways: its frames in another rhythm, or backwards, with the truth that goes with them.

So the same painted frames come with other answers, and a model that learns them by heart gains nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from duet_core.scenes.actors import FRAMES, Actor, ClipLayout

_BACKWARDS: Final = 0.5
_RHYTHM: Final = 0.3  # shares of clips


def draw_frames(clip: ClipLayout, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers [8] int64 of the frames to show, ascending or descending, with the first and last of them."""
    order = np.arange(FRAMES)
    if rng.random() < _RHYTHM:
        order = np.sort(np.concatenate([[0, FRAMES - 1], rng.integers(1, FRAMES - 1, FRAMES - 2)]))
        order = order if _tells(retimed(clip, order)) else np.arange(FRAMES)
    return order[::-1].copy() if rng.random() < _BACKWARDS else order


def retimed(clip: ClipLayout, frames: np.ndarray) -> ClipLayout:
    """Return what happens when these frames [8] are shown; whoever is in none of them is left out."""
    actors = (_acting(actor, frames) for actor in clip.actors)
    return replace(clip, actors=tuple(actor for actor in actors if any(actor.seen)))


def _acting(actor: Actor, frames: np.ndarray) -> Actor:
    shown = frames.tolist()
    return replace(
        actor, seen=tuple(actor.seen[frame] for frame in shown), path=tuple(actor.path[frame] for frame in shown)
    )


def _tells(clip: ClipLayout) -> bool:
    """Whether there is still a parade, or something that flashes."""
    passing = sum(not all(actor.seen) for actor in clip.actors)
    return passing >= {"parade": 2, "flash": 1, "change": 0}[clip.script]
