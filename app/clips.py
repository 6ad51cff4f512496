"""Uploaded clips made safe: a posted path and a choice of frames in, the chosen frames out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData

from app import messages
from app.checks import check_frames
from app.film import Film
from app.media import confined
from app.settings import Settings
from duet_core.clips import NAMES, ClipLimits, FrameRule, choose_frames, parse_times, read_clip, seconds_of
from duet_core.errors import ClipError

FILE_TYPES = [*sorted(NAMES), ".gif", ".webp"]
RULES: dict[str, FrameRule] = {"Evenly spread": "uniform", "Most change": "change", "At these times": "times"}


class SafeClip(gr.File):
    """A clip input that hands over the path of an uploaded file, confined to the upload folder and unopened."""

    is_template = True

    def preprocess(self, payload: FileData | None) -> str | None:  # type: ignore[override]
        """Return the path, or refuse with our sentence what is not in the upload folder."""
        return None if payload is None else confined(payload.path, messages.CLIP_NOT_UPLOADED)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which frames of a clip: how many, by which rule, and at which times (as typed) where that is the rule."""

    count: int = 8
    rule: FrameRule = "uniform"
    times: str = ""

    @classmethod
    def of(cls, count: object, rule: object, times: object, settings: Settings) -> Choice:
        """Read what the page or a caller sent; a ClipError says what cannot be."""
        number = check_frames(count, settings)
        if str(rule) not in {*RULES, *RULES.values()}:
            raise ClipError(messages.unknown_frame_rule(str(rule)[:40], tuple(RULES)))
        return cls(number, RULES.get(str(rule), str(rule)), str(times or ""))  # type: ignore[arg-type]


def open_clip(
    path: str | None, choice: Choice, settings: Settings, on_progress: Callable[[float], None] | None = None
) -> Film:
    """Return the chosen frames of the clip at a path; a ClipError says in one sentence why it cannot be used."""
    if not path:
        raise ClipError(messages.NO_CLIP)
    if not Path(path).is_file():
        raise ClipError(messages.CLIP_GONE)
    times = parse_times(choice.times) if choice.rule == "times" else ()
    clip = read_clip(Path(path), limits(settings), on_progress)
    chosen = choose_frames(clip, choice.count, choice.rule, times)
    return Film(tuple(clip.frames[k] for k in chosen), seconds_of(clip, chosen))


def limits(settings: Settings) -> ClipLimits:
    """The limits of this deployment."""
    return ClipLimits(
        megabytes=settings.clip_mb,
        seconds=float(settings.clip_seconds),
        longest=settings.clip_longest,
        shortest=settings.clip_shortest,
        deadline_s=float(settings.clip_deadline),
    )
