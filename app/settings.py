"""Limits and choices of a deployment, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

BUNDLED_MODEL = "duet-mini"
PAPER_REDUCTIONS = (67, 78, 89)
"""Reductions in percent for which the DUET paper publishes results (192, 128 and 64 of 576 tokens)."""
PAPER_CLIP_REDUCTIONS = (53, 93)
"""The same for clips (960 and 136 of 2048 tokens)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this deployment allows; each field is the environment variable `DUET_<FIELD>`, lists with commas.

    `models`: the menu, the first is opened at start (bundled names, hub ids, or folders: the operator may name those).
    `hub`: whether a visitor may open another hub id. `held_models`: how many stay open at once. `device`, `dtype`,
    `quantize` (empty for none) and `attention`: as in `duet_core.open_model`.
    Pictures: `picture_mb` megabytes of file, `picture_mp` megapixels, sides in pixels.
    Clips: `clip_mb`, `clip_seconds` of duration, sides in pixels either way round, `clip_frames` to look at at most,
    `clip_deadline` seconds to read one.
    `question_chars`: longest question. `new_tokens`: longest answer. `repeats`: interleaved runs behind every figure.
    `queue`: runs that may wait. `visitor_runs`: of them and of what runs, a single visitor's. `run_seconds`: when a run
    that has its model is ended. `sessions`: visitors whose last run is remembered, half a megabyte each. `body_kb`: a
    request that brings no file. `uploads_mb`: all uploads together. `keep_minutes`: after which uploads and bundles are
    deleted.
    """

    models: tuple[str, ...] = (BUNDLED_MODEL,)
    hub: bool = True
    held_models: int = 2
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = ""
    attention: str = "auto"
    picture_mb: int = 32
    picture_mp: int = 24
    picture_longest: int = 8192
    picture_shortest: int = 16
    clip_mb: int = 32
    clip_seconds: int = 60
    clip_longest: int = 1920
    clip_shortest: int = 1080
    clip_frames: int = 32
    clip_deadline: int = 20
    question_chars: int = 500
    new_tokens: int = 256
    repeats: int = 5
    queue: int = 16
    visitor_runs: int = 1
    sessions: int = 128
    run_seconds: int = 300
    body_kb: int = 512
    uploads_mb: int = 2000
    keep_minutes: int = 30

    @property
    def file_bytes(self) -> int:
        """The largest file that anybody may send."""
        return max(self.picture_mb, self.clip_mb) << 20

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; a ValueError names a variable that cannot be read."""
        given = {field.name: environment.get(f"DUET_{field.name.upper()}", "") for field in fields(cls)}
        read: dict[str, Any] = {name: _read(name, text) for name, text in given.items() if text.strip()}
        return cls(**read)


def _read(name: str, text: str) -> tuple[str, ...] | bool | int | str:
    """Turn the text of a variable into the type of the field's default."""
    default = getattr(Settings(), name)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        return _read_switch(name, text)
    if isinstance(default, int):
        return _read_count(name, text)
    return text.strip()


def _read_switch(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in {"1", "0", "true", "false", "yes", "no"}:
        raise ValueError(f"DUET_{name.upper()} is {text!r}; it must be 1 or 0.")
    return word in {"1", "true", "yes"}


def _read_count(name: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"DUET_{name.upper()} is {text!r}; it must be a whole number from 1 on.")
    return int(text)
