"""The many ways visitors ask: other wordings, synonyms, sloppy typing, and questions from outside the world."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from duet_core.scenes.question import REFUSALS, UNKNOWN, Question, forms, with_article
from duet_core.scenes.things import NAMES, PLURAL

FOLDER: Final = Path(__file__).resolve().parents[2] / "assets" / "wordings"
_NAME_SYNONYMS, _OTHER_SYNONYMS = 0.12, 0.4  # chances that a slot is said otherwise
_LOWER, _UPPER, _BARE, _TYPO = 0.3, 0.03, 0.3, 0.1  # chances of sloppy typing
_SHORTEST = 4  # letters of a word that may get a typo: a shorter one could become another word
_ABOUT_STRANGERS = 0.4  # share of the out-of-world questions
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True, slots=True)
class Wordings:
    """Templates per kind of question, questions from outside the world, and synonyms (none in a held-out set)."""

    templates: Mapping[str, Sequence[str]]
    outside: Sequence[str]
    about_strangers: Sequence[str]
    strangers: Sequence[tuple[str, str]]
    synonyms: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def reword(self, question: Question, rng: np.random.Generator) -> Question:
        """Return the question in other words, with the same answer."""
        templates = self.templates[question.kind]
        slots = {slot: self._otherwise(slot, value, rng) for slot, value in question.slots}
        return replace(question, text=_pick(templates, rng).format(**_spoken(slots)))

    def refusal(self, rng: np.random.Generator) -> Question:
        """Return a question from outside the world, to be answered with UNKNOWN."""
        templates = self.about_strangers if rng.random() < _ABOUT_STRANGERS else self.outside
        stranger, strangers = _pick(self.strangers, rng)
        slots = {"stranger": stranger, "strangers": strangers, "a_stranger": with_article(stranger)}
        slots |= forms({"name": _pick(NAMES, rng)})
        return Question(REFUSALS, _pick(templates, rng).format(**slots), UNKNOWN)

    def _otherwise(self, slot: str, value: str, rng: np.random.Generator) -> str:
        table = {"side": "sides", "place": "places"}.get(slot, "names")
        others = self.synonyms.get(table, {}).get(value, ())
        chance = _NAME_SYNONYMS if table == "names" else _OTHER_SYNONYMS
        return _pick(others, rng) if others and rng.random() < chance else value


def _spoken(slots: Mapping[str, str]) -> dict[str, str]:
    """Slots ready for a template; names that are synonyms come as `singular/plural`."""
    spoken = {slot: value.partition("/")[0] for slot, value in slots.items()}
    if "name" in slots:
        one, _, many = slots["name"].partition("/")
        spoken |= {"a": with_article(one), "names": many or PLURAL[one]}
    return spoken


def sloppy(text: str, rng: np.random.Generator) -> str:
    """Type a question as people do: small letters, no question mark, now and then a slip of the fingers."""
    if rng.random() < _TYPO:
        text = _slip(text, rng)
    if rng.random() < _BARE:
        text = text.rstrip("?.! ")
    chance = rng.random()
    return text.lower() if chance < _LOWER else text.upper() if chance > 1 - _UPPER else text


def _slip(text: str, rng: np.random.Generator) -> str:
    """Swap, drop, double or mistype one letter of one longer word; its first letter stays."""
    words = [match.span() for match in re.finditer(rf"[A-Za-z]{{{_SHORTEST},}}", text)]
    if not words:
        return text
    start, end = _pick(words, rng)
    at = int(rng.integers(start + 1, end - 1))
    here, after = text[at], text[at + 1]
    slips = (after + here, after, here + here + after, _neighbour(here, rng) + after)
    return text[:at] + _pick(slips, rng) + text[at + 2 :]


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    row = next((row for row in _ROWS if letter.lower() in row), letter)
    at = row.find(letter.lower())
    return _pick(row[max(0, at - 1) : at] + row[at + 1 : at + 2] or row, rng)


def _pick(options: Sequence, rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))]


@cache
def trained() -> Wordings:
    """The wordings that training uses, with synonyms."""
    return _load("trained.txt", "unknown.txt", _synonyms())


@cache
def held_out() -> Wordings:
    """Wordings written apart, which training never sees."""
    return _load("held-out.txt", "unknown-held-out.txt", {})


def _load(templates: str, outside: str, synonyms: Mapping) -> Wordings:
    unknown = _sections(outside)
    strangers = [(one, many) for one, _, many in (line.partition("/") for line in unknown["strangers"])]
    return Wordings(_sections(templates), unknown["question"], unknown["about_strangers"], strangers, synonyms)


def _synonyms() -> dict[str, dict[str, list[str]]]:
    tables: dict[str, dict[str, list[str]]] = {}
    for section, lines in _sections("synonyms.txt").items():
        pairs = (line.partition("=") for line in lines)
        tables[section] = {word.strip(): [other.strip() for other in others.split("|")] for word, _, others in pairs}
    return tables


def _sections(name: str) -> dict[str, list[str]]:
    """Read a file of `[section]` heads, each followed by its lines."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            found[line.strip("[] ")] = section = []
        elif line.strip():
            section.append(line.strip())
    return found
