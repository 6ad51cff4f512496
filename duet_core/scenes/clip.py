"""A clip: eight painted frames with questions, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from duet_core.scenes.actors import FRAMES, Actor, ClipLayout, make_clip_layout
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.question import Question
from duet_core.scenes.scene import choose_style, paint
from duet_core.scenes.sprites import TRAINING_STYLES


@dataclass(frozen=True, slots=True)
class Clip:
    """Eight RGB frames of 336 x 336 pixels whose truth is known."""

    seed: int
    style: str
    background: str
    actors: tuple[Actor, ...]
    questions: tuple[Question, ...]
    frames: tuple[Image.Image, ...]


def make_clip(seed: int, style: str | None = None) -> Clip:
    """Compose the clip of a seed; without a style the seed chooses among the training styles."""
    drawn, layout, rng = compose_clip(seed)
    style = choose_style(style or drawn)
    questions = draw_clip_questions(layout, rng, most=1)
    return Clip(seed, style, layout.background, layout.actors, questions, tuple(paint_frames(seed, layout, style)))


def compose_clip(seed: int) -> tuple[str, ClipLayout, np.random.Generator]:
    """The style and layout a seed draws, and its generator."""
    rng = np.random.default_rng((seed, FRAMES))
    style = TRAINING_STYLES[int(rng.integers(len(TRAINING_STYLES)))]
    return style, make_clip_layout(rng), rng


def paint_frames(seed: int, layout: ClipLayout, style: str) -> list[Image.Image]:
    """Paint every frame before the same backdrop."""
    return [paint(layout.frame(number), style, np.random.default_rng(seed)) for number in range(FRAMES)]
