"""A scene: a painted layout with its questions, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from duet_core.scenes.backdrop import backdrop
from duet_core.scenes.layout import SIZE, Layout, SceneObject, make_layout
from duet_core.scenes.question import Question
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.sprites import STYLES, TRAINING_STYLES, draw_object

FIRST_TRAINING_SEED = 1_000_000
"""Smaller seeds belong to visitors, tests and the bench; training never sees them."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (RGB, 336 x 336) whose truth is known."""

    seed: int
    style: str
    background: str
    objects: tuple[SceneObject, ...]
    questions: tuple[Question, ...]
    image: Image.Image


def make_scene(seed: int, style: str | None = None) -> Scene:
    """Compose the scene of a seed; without a style the seed chooses among the training styles."""
    drawn, layout, rng = compose(seed)
    style = choose_style(style or drawn)
    questions = draw_questions(layout, rng, most=1)
    image = paint(layout, style, rng)
    return Scene(seed, style, layout.background, layout.objects, questions, image)


def choose_style(style: str) -> str:
    """The style itself; a ValueError lists the styles there are if it is none of them."""
    if style not in STYLES:
        known = ", ".join(STYLES)
        raise ValueError(f"There is no sprite style {style!r}; choose one of {known}.")
    return style


def compose(seed: int, least: int = 1) -> tuple[str, Layout, np.random.Generator]:
    """The style and layout a seed draws, with at least so many objects, and its generator."""
    rng = np.random.default_rng(seed)
    style = TRAINING_STYLES[int(rng.integers(len(TRAINING_STYLES)))]
    return style, make_layout(rng, least), rng


def paint(layout: Layout, style: str, rng: np.random.Generator) -> Image.Image:
    """Paint a layout: background, then each object with a soft shadow."""
    image = backdrop(layout.background, SIZE, rng)
    for thing in layout.objects:
        turned, corner = place(thing, style)
        shadow = turned.getchannel("A").point(_SHADOW)
        image.paste((40, 40, 60), (corner[0] + 3, corner[1] + 4), shadow)
        image.paste(turned, corner, turned)
    return image


def place(thing: SceneObject, style: str) -> tuple[Image.Image, tuple[int, int]]:
    """The turned RGBA sprite of an object and its left top corner in the scene, in pixels."""
    sprite = draw_object(thing.name, style, thing.size, thing.colour, thing.number)
    turned = sprite.rotate(thing.angle, Image.Resampling.BILINEAR, expand=True)
    return turned, (thing.x - turned.width // 2, thing.y - turned.height // 2)


_SHADOW = [level // 6 for level in range(256)]
