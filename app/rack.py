"""What the page knows of the methods on the rack: titles, what they tell of themselves, which of them always run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from duet_core.methods import METHODS

BASELINE, CONTROLS = "none", ("random", "uniform")


@dataclass(frozen=True, slots=True)
class About:
    """What a method tells of itself, as far as it does.

    `stage`: where it works; `paper`: whose it is; `confidence`: how sure its formulas are; `interpretation`: whether
    parts of it are our reading; `pictures`, `clips`: what it can be asked about.
    """

    stage: str = ""
    paper: str = ""
    confidence: str = ""
    interpretation: bool = False
    pictures: bool = True
    clips: bool = True

    @property
    def line(self) -> str:
        """All of it in one line."""
        ours = "our reading in parts" if self.interpretation else ""
        return "; ".join(part for part in (self.stage, self.paper, self.confidence, ours) if part)


def title(name: str) -> str:
    """The method's name as visitors read it."""
    return METHODS[name].title


def about(name: str) -> About:
    """Return what a method tells of itself; what it leaves out keeps its default."""
    told = getattr(METHODS[name], "about", None)
    given: dict[str, Any] = {field.name: getattr(told, field.name, field.default) for field in fields(About)}
    return About(**given)


def applies(name: str, clip: bool) -> bool:
    """Whether a method can be asked about a clip, or about a picture."""
    known = about(name)
    return known.clips if clip else known.pictures


def choices() -> list[tuple[str, str]]:
    """Return (title, name) of every method that does not run anyway."""
    return [(title(name), name) for name in METHODS if name not in (BASELINE, *CONTROLS)]


def line_up(chosen: Sequence[str]) -> tuple[str, ...]:
    """Return who runs, and in which order: all tokens first, the chosen ones, then the controls; nobody twice."""
    return tuple(dict.fromkeys((BASELINE, *(name for name in chosen if name not in CONTROLS), *CONTROLS)))
