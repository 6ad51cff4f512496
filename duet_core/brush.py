"""The brush: patches that a visitor forces to be kept, or to be dropped, whatever a method thinks of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from duet_core.errors import PlanError

_MOST: Final = 100_000
"""More patches than any picture or clip has: what claims to have more is not read to its end."""


@dataclass(frozen=True, slots=True)
class Brush:
    """Patches to keep and patches to drop, by their numbers in a trace: 0 to P - 1 through all frames or crops.

    A kept patch enters the language model as a token of its own and survives every layer; a dropped one never enters,
    nor is it merged into any token. The plan's counts stay: kept patches take the places of the lowest scored, and
    more come in only where a plan has no room for all of them. Both are sorted and free of repetitions; a PlanError
    where a number is none, or a patch is in both.
    """

    keep: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Put both in order, and refuse what cannot be painted."""
        object.__setattr__(self, "keep", _ordered("keep", self.keep))
        object.__setattr__(self, "drop", _ordered("drop", self.drop))
        both = set(self.keep) & set(self.drop)
        if both:
            raise PlanError(f"The brush both keeps and drops patch {min(both)}; let it do one of the two.")

    def __bool__(self) -> bool:
        """Whether anything is painted at all."""
        return bool(self.keep or self.drop)

    def check(self, patches: int) -> None:
        """Raise a PlanError if a patch does not exist among so many, or if none of them is left."""
        highest = max((*self.keep, *self.drop), default=-1)
        if highest >= patches:
            raise PlanError(f"The brush names patch {highest}, but there are {patches}: give 0 to {patches - 1}.")
        if len(self.drop) == patches:
            raise PlanError(f"The brush drops all of the {patches} patches; leave at least one.")

    def to_json(self) -> dict[str, list[int]]:
        """Return the brush as plain JSON values."""
        return {"keep": list(self.keep), "drop": list(self.drop)}

    @classmethod
    def from_json(cls, data: str | Mapping[str, Any]) -> Brush:
        """Read what `to_json` wrote, as text or already decoded; a PlanError says what is wrong with it."""
        found = _decoded(data) if isinstance(data, str) else data
        if not isinstance(found, Mapping) or not set(found) <= {"keep", "drop"}:
            raise PlanError('A brush is written as {"keep": [patches], "drop": [patches]}; give it so.')
        return cls(found.get("keep", ()), found.get("drop", ()))


def parse_patches(text: str) -> tuple[int, ...]:
    """Return the patches that a list such as "3,4,17-20" names; a PlanError for anything else."""
    return tuple(patch for part in text.split(",") if part.strip() for patch in _stretch(part))


def _stretch(part: str) -> range:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    ends = [piece for piece in (first, last if dash else first) if piece.isascii() and piece.isdigit()]
    if len(ends) == 2 and all(len(end) <= len(str(_MOST)) for end in ends) and int(ends[0]) <= int(ends[1]) < _MOST:
        return range(int(ends[0]), int(ends[1]) + 1)
    raise PlanError(f"{part.strip()[:40]!r} names no patches; give numbers and stretches, such as 3,4,17-20.")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= 16 * _MOST else None
    except (ValueError, RecursionError):
        return None


def _ordered(name: str, patches: Iterable[int]) -> tuple[int, ...]:
    """Return patch numbers in order, each once."""
    if isinstance(patches, (str, Mapping)) or not isinstance(patches, Iterable):
        raise PlanError(f"The brush's {name} is no list of patches; give their numbers.")
    numbers = list(patches)
    if len(numbers) > _MOST:
        raise PlanError(f"The brush's {name} has {len(numbers)} entries, more than there can be patches; give fewer.")
    wrong = [one for one in numbers if type(one) is not int or one < 0]
    if wrong:
        raise PlanError(f"The brush's {name} has {str(wrong[0])[:40]!r} in it; give whole numbers from 0 on.")
    return tuple(sorted(set(numbers)))
