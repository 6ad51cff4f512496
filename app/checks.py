"""What a visitor or an API caller sent, checked before anything runs: one sentence per cause."""

from __future__ import annotations

import math
import re
from pathlib import Path

from app import messages, rack
from app.settings import Settings
from duet_core.clips import FEWEST
from duet_core.errors import ClipError, ModelNotFound, PlanError, QuestionError

MOST_REDUCTION = 95
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_question(question: str | None, settings: Settings) -> str:
    """Return the question without outer spaces, or raise a QuestionError."""
    text = (question or "").encode("utf-8", "replace").decode().strip()  # half a character breaks every tokenizer
    if not text:
        raise QuestionError(messages.NO_QUESTION)
    if len(text) > settings.question_chars:
        raise QuestionError(messages.question_too_long(len(text), settings.question_chars))
    return text


def check_reduction(percent: object) -> float:
    """Return the reduction as a ratio in [0, 0.95], or raise a PlanError."""
    known = isinstance(percent, int | float) and not isinstance(percent, bool) and math.isfinite(percent)
    if not known or not 0 <= percent <= MOST_REDUCTION:  # type: ignore[operator]
        raise PlanError(messages.reduction_out_of_range(percent))
    return percent / 100  # type: ignore[operator]


def check_frames(count: object, settings: Settings) -> int:
    """Return how many frames of a clip to look at, or raise a ClipError before any of them is read."""
    known = isinstance(count, int | float) and not isinstance(count, bool) and math.isfinite(count)
    if not known or count != int(count) or not FEWEST <= count <= settings.clip_frames:  # type: ignore[operator,call-overload]
        raise ClipError(messages.not_a_frame_count(count, settings.clip_frames))
    return int(count)  # type: ignore[call-overload]


def check_method(name: str | None) -> str:
    """Return the method's name, or raise a PlanError."""
    known = tuple(own for _, own in rack.menu())
    if name not in known:
        raise PlanError(messages.unknown_method(str(name)[:60], known))
    return str(name)


def check_methods(names: object) -> tuple[str, ...]:
    """Return the methods' names, none at all included, or raise a PlanError."""
    given = [] if names is None else names
    if not isinstance(given, list | tuple):
        raise PlanError(messages.not_method_names(names))
    return tuple(check_method(str(name)) for name in given)


def check_applies(name: str, clip: bool) -> None:
    """Raise a PlanError for a method that is not made for clips, or not for pictures."""
    if not rack.applies(name, clip):
        raise PlanError(messages.not_for_this(rack.title(name), clip))


def check_model(name: str | None, settings: Settings) -> str:
    """Return a model name this visitor may open, or raise ModelNotFound.

    Only the operator's menu may name folders; a typed name must look like a hub repository and be no path here.
    """
    text = (name or "").strip()
    typed = settings.hub and _HUB_NAME.fullmatch(text) and not Path(text).exists()
    if text not in settings.models and not typed:
        raise ModelNotFound(messages.unknown_model(text[:100], settings.models, settings.hub))
    return text
