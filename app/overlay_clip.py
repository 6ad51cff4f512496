"""The overlay clip: the frames of a run under the fates of their patches, as a WebM to play and to keep."""

from __future__ import annotations

import base64

from app.film import Film
from app.render import data_url, overlay
from app.steps import shown_step
from app.webm import write_webm
from duet_core.trace import Trace

_WIDTH, _THUMB = 480, 132
_SLOWEST, _FASTEST = 1.0, 4.0  # frames a second


def overlay_webm(film: Film, trace: Trace) -> tuple[str, str]:
    """Return the overlay clip (VP8 in WebM, which browsers play without help) and its first frame, as data URLs."""
    step = shown_step(trace)
    drawn = [overlay(photo, trace, step, _WIDTH, frame) for frame, photo in enumerate(film.frames)]
    written = base64.b64encode(write_webm(drawn, pace(film))).decode()
    return f"data:video/webm;base64,{written}", data_url(drawn[0], "JPEG")


def pace(film: Film) -> float:
    """Return frames a second: the clip's own pace where that can be watched."""
    length = film.times[-1] - film.times[0]
    own = (len(film.times) - 1) / length if length else _FASTEST
    return min(_FASTEST, max(_SLOWEST, own))


def thumbnails(film: Film) -> list[tuple[str, float]]:
    """Return (data URL, second) of every frame."""
    return [(data_url(photo, "JPEG", _THUMB), time) for photo, time in zip(film.frames, film.times, strict=True)]
