"""What the page knows of the methods on the rack: titles, what they tell of themselves, which of them always run."""

from __future__ import annotations

from collections.abc import Sequence

from duet_core.checkpoint import bundled_folders
from duet_core.methods import find_method, offered

BASELINE, CONTROLS = "none", ("random", "uniform")
_STAGES = {"both": "before and inside the model", "none": ""}


def title(name: str) -> str:
    """The method's name as visitors read it."""
    return find_method(name).title


def label(name: str) -> str:
    """The method's name in a menu, marked where parts of it are our own reading."""
    return title(name) + (" (our reading)" if find_method(name).about.interpretation else "")


def about(name: str) -> str:
    """Return in one line what a method tells of itself: paper, where it works, what it rests on."""
    told = find_method(name).about
    learnt = "" if told.training == "none" else f"needs training: {told.training}"
    reading = "our reading in parts" if told.interpretation else ""
    stage = _STAGES.get(told.stage, told.stage)
    return "; ".join(part for part in (told.paper, stage, told.confidence, learnt, reading) if part)


def applies(name: str, clip: bool) -> bool:
    """Whether a method can be asked about a clip, or about a picture."""
    return find_method(name).about.applies(clip)


def menu() -> list[tuple[str, str]]:
    """Return (title, name) of every method; of the trained ones, of those with weights for a bundled model."""
    return [(label(name), name) for name in offered(bundled_folders())]


def choices() -> list[tuple[str, str]]:
    """Return (title, name) of every method that does not run anyway."""
    return [entry for entry in menu() if entry[1] not in (BASELINE, *CONTROLS)]


def line_up(chosen: Sequence[str]) -> tuple[str, ...]:
    """Return who runs, and in which order: all tokens first, the chosen ones, then the controls; nobody twice."""
    return tuple(dict.fromkeys((BASELINE, *(name for name in chosen if name not in CONTROLS), *CONTROLS)))
