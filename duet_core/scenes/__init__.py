"""Composed pictures and clips whose truth is known, with exact questions and answers."""

from __future__ import annotations

from duet_core.scenes.clip import Clip, make_clip
from duet_core.scenes.files import write_clips, write_scenes
from duet_core.scenes.foreign import make_foreign
from duet_core.scenes.layout import SceneObject
from duet_core.scenes.question import CLIP_FAMILIES, FAMILIES, REFUSALS, UNKNOWN, Question, judge
from duet_core.scenes.scene import FIRST_TRAINING_SEED, Scene, make_scene
from duet_core.scenes.sprites import HELD_OUT_STYLE, STYLES, TRAINING_STYLES

__all__ = [
    "CLIP_FAMILIES",
    "FAMILIES",
    "FIRST_TRAINING_SEED",
    "HELD_OUT_STYLE",
    "REFUSALS",
    "STYLES",
    "TRAINING_STYLES",
    "UNKNOWN",
    "Clip",
    "Question",
    "Scene",
    "SceneObject",
    "judge",
    "make_clip",
    "make_foreign",
    "make_scene",
    "write_clips",
    "write_scenes",
]
