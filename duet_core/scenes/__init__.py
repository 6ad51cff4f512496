"""Composed pictures whose truth is known, with exact questions and answers."""

from __future__ import annotations

from duet_core.scenes.layout import SceneObject
from duet_core.scenes.questions import FAMILIES, Question, judge
from duet_core.scenes.scene import FIRST_TRAINING_SEED, Scene, make_scene, write_scenes
from duet_core.scenes.sprites import HELD_OUT_STYLE, STYLES, TRAINING_STYLES

__all__ = [
    "FAMILIES",
    "FIRST_TRAINING_SEED",
    "HELD_OUT_STYLE",
    "STYLES",
    "TRAINING_STYLES",
    "Question",
    "Scene",
    "SceneObject",
    "judge",
    "make_scene",
    "write_scenes",
]
