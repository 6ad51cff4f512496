"""How many seconds of a ZeroGPU Space's device a request asks for: few, since a visitor has two minutes of it a day."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from app.film import length_of
from app.job import PAGE_TOKENS
from app.sitting import Sitting

if TYPE_CHECKING:
    from app.job import Job
    from app.series import Series
    from app.settings import Settings

LEAST, MOST = 5, 120
MEASURE_SECONDS = 20.0  # a slow model gets fewer repeats rather than a visitor who waits for minutes

# Seconds that a model of 7B takes on a card of the size a Space lends, with room to spare.
_START, _OPEN = 3.0, 50.0  # a process and the weights that are there already; a model that has to be read first
_LOOK, _SEE, _READ = 0.2, 0.05, 0.1  # a pass; the encoder and the language model for a picture or frame of it
_TOKEN, _MEASURED_TOKENS = 0.025, 4
_LAST_SCENE = 10.0  # an exam ends with a scene that is begun


def page_seconds(frames: int, reduction: float, settings: Settings) -> int:
    """Return the seconds that Ask will take of a visitor's day for a picture or clip of so many frames."""
    work = _answering(frames, (1.0, 1.0 - reduction), PAGE_TOKENS, settings.repeats)
    return _within_bounds(_START + work)


def gpu_seconds(job: Job | Series | Sitting, settings: Settings) -> int:
    """Return the seconds, from `LEAST` to `MOST`, that a run of this job may take on the device.

    They never fall with more frames, new tokens or repeats, or with less reduction. Of the menu only the first model is
    in memory there; how long the answers get is not known before, so that all tokens allowed count.
    """
    start = _START + (0.0 if job.model == settings.models[0] else _OPEN)
    work = job.seconds + _LAST_SCENE if isinstance(job, Sitting) else _asked(job, settings)
    return _within_bounds(start + work)


def _within_bounds(seconds: float) -> int:
    return ceil(min(max(seconds, LEAST), MOST))


def _asked(job: Job | Series, settings: Settings) -> float:
    """Seconds of all answers, and of measuring them where that is wanted."""
    repeats = settings.repeats if job.measure else 0
    return _answering(length_of(job.subject) or 1, job.shares, job.new_tokens, repeats)


def _answering(frames: int, shares: Sequence[float], new_tokens: int, repeats: int) -> float:
    """Seconds of one answer for each share of the tokens that is kept, and of timing them if `repeats` are wanted."""
    looks = sum(_LOOK + frames * (_SEE + _READ * kept) for kept in shares)  # to the first token of each
    return looks + len(shares) * new_tokens * _TOKEN + (_measuring(looks, repeats) if repeats else 0.0)


def _measuring(looks: float, repeats: int) -> float:
    """Seconds of the interleaved runs, one more to warm up, as far as `affordable_repeats` lets them go."""
    once = looks + 2 * _MEASURED_TOKENS * _TOKEN
    return once + min(repeats * once, max(once, MEASURE_SECONDS))
