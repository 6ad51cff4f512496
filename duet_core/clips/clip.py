"""A clip as the engine uses it, and the limits under which one is read."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What a clip may cost: `megabytes` of file, `seconds` of duration, sides in pixels of either orientation.

    At most `candidates` frames are handed over, none with a side above `longest_side_px`. `deadline_s`: seconds of wall
    clock after which the decoder is stopped.
    """

    megabytes: int = 32
    seconds: float = 60.0
    longest: int = 1920
    shortest: int = 1080
    candidates: int = 64
    deadline_s: float = 10.0
    longest_side_px: int = 720


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames read from a clip, spread evenly over it.

    `frames`: upright RGB pictures, all of one size. `times`: the second at which each is shown, ascending from 0.
    `duration`: seconds. `size`: (width, height) in pixels of the upright clip before it was scaled down.
    """

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...]
    duration: float
    size: tuple[int, int]
