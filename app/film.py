"""A clip as the page handles it: the frames that the model looks at, and when they were seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from duet_core.engine import Picture


@dataclass(frozen=True, slots=True)
class Film:
    """The chosen frames of a clip, RGB and of one size, and their `times` in seconds, ascending."""

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...]


Subject = Image.Image | Film
"""What a question is about."""


def frames_of(subject: Subject) -> list[Image.Image]:
    """The pictures of a subject: the one, or the frames of a clip."""
    return list(subject.frames) if isinstance(subject, Film) else [subject]


def picture_of(subject: Subject) -> Picture:
    """The subject as the engine takes it: a picture, or a list of frames."""
    return frames_of(subject) if isinstance(subject, Film) else subject


def length_of(subject: Subject) -> int | None:
    """How many frames a clip has; None for a picture."""
    return len(subject.frames) if isinstance(subject, Film) else None


def picture_key(picture: Image.Image) -> str:
    """Return a fingerprint of a picture's size and pixels."""
    rgb = picture.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()


def key_of(subject: Subject) -> str:
    """Return a fingerprint of a subject: of its pixels alone, however it came here."""
    if isinstance(subject, Film):
        return hashlib.sha256("".join(map(picture_key, subject.frames)).encode()).hexdigest()
    return picture_key(subject)
