"""Questions with exact answers about a layout, and the judge of an answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from duet_core.scenes.layout import Layout, SceneObject
from duet_core.scenes.things import CARD, COUNTS, NAMES, PLACES, PLURAL

FAMILIES = (
    "existence",
    "location",
    "count",
    "relation",
    "colour",
    "background",
    "number",
    "caption",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one family and its only right answer."""

    family: str
    text: str
    answer: str


_BEYOND: dict[str, Callable[[SceneObject, SceneObject], int]] = {
    "left of": lambda one, other: other.column - one.column,
    "right of": lambda one, other: one.column - other.column,
    "above": lambda one, other: other.row - one.row,
    "below": lambda one, other: one.row - other.row,
}


def _singles(layout: Layout) -> list[SceneObject]:
    """The objects that are the only one of their kind, so that "the cat" is clear."""
    many = Counter(thing.name for thing in layout.objects)
    return [thing for thing in layout.objects if many[thing.name] == 1]


def _kinds(layout: Layout) -> list[str]:
    return list(dict.fromkeys(thing.name for thing in layout.objects))


def _absent(layout: Layout, rng: np.random.Generator, count: int) -> list[str]:
    """Names of things that are not there, drawn without repeats."""
    missing = [name for name in NAMES if name not in set(_kinds(layout))]
    return [missing[k] for k in rng.choice(len(missing), count, replace=False)]


def _there(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name in _kinds(layout):
        yield Question("existence", f"Is there a{_n(name)} {name}?", "yes")


def _not_there(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name in _absent(layout, rng, max(2, len(_kinds(layout)))):
        yield Question("existence", f"Is there a{_n(name)} {name}?", "no")


def _n(name: str) -> str:
    return "n" if name[0] in "aeiou" else ""


def _what_at(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in layout.objects:
        yield Question("location", f"What is in the {thing.where}?", thing.name)
    taken = {thing.place for thing in layout.objects}
    empty = [place for number, place in enumerate(PLACES) if number not in taken]
    yield Question("location", f"What is in the {rng.choice(empty)}?", "nothing")


def _where(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in _singles(layout):
        yield Question("location", f"Where is the {thing.name}?", thing.where)


def _count(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name, many in Counter(thing.name for thing in layout.objects).items():
        # More than one is rarer and harder, so it is offered more often.
        for _ in range(4 if many > 1 else 1):
            yield Question("count", f"How many {PLURAL[name]} are there?", COUNTS[many])


def _count_none(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name in _absent(layout, rng, 2):
        yield Question("count", f"How many {PLURAL[name]} are there?", COUNTS[0])


def _is_beyond(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    singles = _singles(layout)
    for one in singles:
        for other in singles:
            for words, distance in _BEYOND.items():
                if distance(one, other) != 0:
                    answer = "yes" if distance(one, other) > 0 else "no"
                    text = f"Is the {one.name} {words} the {other.name}?"
                    yield Question("relation", text, answer)


def _what_beyond(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for other in _singles(layout):
        for words, distance in _BEYOND.items():
            there = [one for one in layout.objects if distance(one, other) > 0]
            if len(there) == 1:
                yield Question("relation", f"What is {words} the {other.name}?", there[0].name)


def _colour(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in _singles(layout):
        if thing.colour:
            yield Question("colour", f"What colour is the {thing.name}?", thing.colour)


def _background(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    yield Question("background", "What colour is the background?", layout.background)


def _number(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in layout.objects:
        if thing.number is not None:
            yield Question("number", f"What number is on the {CARD.name}?", str(thing.number))


def _caption(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    names = ", ".join(thing.name for thing in layout.objects)
    yield Question("caption", "What is in the picture?", names)


KINDS = (
    _there,
    _not_there,
    _what_at,
    _where,
    _count,
    _count_none,
    _is_beyond,
    _what_beyond,
    _colour,
    _background,
    _number,
    _caption,
)


def draw_questions(layout: Layout, rng: np.random.Generator, most: int) -> tuple[Question, ...]:
    """At most `most` different questions of each kind that applies, in a fixed order of kinds."""
    drawn: list[Question] = []
    for kind in KINDS:
        offered = list(kind(layout, rng))
        order = rng.permutation(len(offered))
        drawn += list(dict.fromkeys(offered[k] for k in order))[:most]
    return tuple(drawn)


def judge(question: Question, answer: str) -> bool:
    """Whether an answer is right: case, spaces and a final dot do not matter.

    A caption is right when it names exactly the objects, each as often as it is there, in any order.
    """
    if question.family == "caption":
        return _named(question.answer) == _named(answer)
    return _plain(question.answer) == _plain(answer)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".").rstrip().lower()


def _named(text: str) -> Counter[str]:
    parts = re.split(r",| and ", _plain(text))
    return Counter(re.sub(r"^(an?|the) ", "", part.strip()) for part in parts)
