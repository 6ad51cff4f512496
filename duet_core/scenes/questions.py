"""What is asked about a picture: questions with exact answers, read off its layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from duet_core.scenes.layout import Layout, SceneObject
from duet_core.scenes.question import Question, ask
from duet_core.scenes.things import COUNTS, NAMES, PLACES

Kind = Callable[[Any, np.random.Generator], Iterator[Question]]
"""Reads questions of one kind off a layout, of a picture or of a clip."""

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
        yield ask("existence", "yes", name=name)


def _not_there(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name in _absent(layout, rng, max(2, len(_kinds(layout)))):
        yield ask("existence", "no", name=name)


def _what_at(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in layout.objects:
        yield ask("what_at", thing.name, place=thing.where)
    taken = {thing.place for thing in layout.objects}
    empty = [place for number, place in enumerate(PLACES) if number not in taken]
    yield ask("what_at", "nothing", place=str(rng.choice(empty)))


def _where(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in _singles(layout):
        yield ask("where", thing.where, name=thing.name)
    for name in _absent(layout, rng, 1):
        yield ask("where", "nowhere", name=name)


def _count(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name, many in Counter(thing.name for thing in layout.objects).items():
        # More than one is rarer and harder, so it is offered more often.
        for _ in range(4 if many > 1 else 1):
            yield ask("count", COUNTS[many], name=name)


def _count_none(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for name in _absent(layout, rng, 2):
        yield ask("count", COUNTS[0], name=name)


def _is_beyond(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    singles = _singles(layout)
    for one in singles:
        for other in singles:
            for words, distance in _BEYOND.items():
                if distance(one, other) != 0:
                    answer = "yes" if distance(one, other) > 0 else "no"
                    yield ask("is_beyond", answer, one=one.name, side=words, other=other.name)


def _what_beyond(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for other in _singles(layout):
        for words, distance in _BEYOND.items():
            there = [one for one in layout.objects if distance(one, other) > 0]
            if len(there) == 1:
                yield ask("what_beyond", there[0].name, side=words, other=other.name)


def _colour(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in _singles(layout):
        if thing.colour:
            yield ask("colour", thing.colour, name=thing.name)


def _background(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    yield ask("background", layout.background)


def _number(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    for thing in layout.objects:
        if thing.number is not None:
            yield ask("number", str(thing.number))


def _caption(layout: Layout, rng: np.random.Generator) -> Iterator[Question]:
    names = ", ".join(thing.name for thing in layout.objects)
    yield ask("caption", names)


PICTURE_KINDS: tuple[Kind, ...] = (
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
    return draw_from(PICTURE_KINDS, layout, rng, most)


def draw_from(kinds: Sequence[Kind], subject: Any, rng: np.random.Generator, most: int) -> tuple[Question, ...]:
    """At most `most` different questions of each kind that applies to a picture or clip."""
    drawn: list[Question] = []
    for kind in kinds:
        offered = list(kind(subject, rng))
        order = rng.permutation(len(offered))
        drawn += list(dict.fromkeys(offered[k] for k in order))[:most]
    return tuple(drawn)
