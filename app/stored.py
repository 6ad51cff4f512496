"""What is known before anybody asks: the stored full runs of the bundled model, and the figures of DUET's paper."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.settings import BUNDLED_MODEL
from duet_core.bench.report import Row, read_rows
from duet_core.checkpoint import bundled_folders

_FILES = {"pictures": "accuracy.json", "clips": "clips.json"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A full run as `bench accuracy --json` wrote it."""

    rows: tuple[Row, ...]
    command: str
    day: str


def stored(subject: str) -> Stored | None:
    """Return the full run of the bundled model about pictures or clips; None where its file is missing."""
    file = _folder() / _FILES[subject]
    if not file.is_file():
        return None
    report = json.loads(file.read_text(encoding="utf-8"))
    rows = tuple(row for row in read_rows(report) if row.exam == subject)
    return Stored(rows, report["command"], f"{datetime.fromisoformat(report['date']):%d %B %Y}") if rows else None


def _folder() -> Path:
    return next(folder for folder in bundled_folders() if folder.name == BUNDLED_MODEL)


@dataclass(frozen=True, slots=True)
class Published:
    """A figure of the DUET paper: tokens saved, and the share of the all-token accuracy that was kept, in words."""

    model: str
    reduction: str
    kept: str
    trained: str = ""


PAPER = (
    Published("LLaVA-1.5-7B", "67 %", "more than 99 %", "99.7 %"),
    Published("LLaVA-1.5-7B", "89 %", "more than 97 %", "97.6 %"),
    Published("Video-LLaVA-7B", "53.1 %", "more than 100 %"),
    Published("Video-LLaVA-7B", "93.4 %", "97.6 %"),
)
"""What the authors publish for their own models and benchmarks."""
