"""A picture or a clip as the page handles it: its frames, and its fingerprint."""

from __future__ import annotations

import hashlib

from PIL import Image

from duet_core.film import Film

__all__ = ["Film", "Subject", "frames_of", "key_of", "length_of", "picture_key"]

Subject = Image.Image | Film
"""What a question is about."""


def frames_of(subject: Subject) -> list[Image.Image]:
    """The pictures of a subject: the one, or the frames of a clip."""
    return list(subject.frames) if isinstance(subject, Film) else [subject]


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
