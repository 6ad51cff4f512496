"""Clips told in words: what the tiny hybrid reads instead of pixels, and what it is asked.

The world is smaller than that of the pictures: a dozen names of things. A token is up to three words at once. A frame
is ten tokens, as if ten patches had been read: what is there (a thing, or the colour of the background), where, and in
which frame. A question is two tokens, each with its kind and the thing it is about, if any; behind the second one the
answer is due, a single word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from duet_core.scenes.actors import FRAMES, ClipLayout
from duet_core.scenes.clip import compose_clip
from duet_core.scenes.events import NOTHING, draw_clip_questions
from duet_core.scenes.question import KINDS, Question, ask
from duet_core.scenes.things import BACKGROUNDS, COUNTS, NAMES, PLACES

PER_FRAME: Final = 10
VISUAL: Final = FRAMES * PER_FRAME
"""Visual tokens of a clip."""
WORDS: Final = 3
"""Words of a token."""
TEXT: Final = 2
"""Tokens of a question."""
FAMILIES: Final = ("motion", "direction", "change", "order", "times", "presence", "total", "background")
"""Families of questions whose answers are one word."""
THINGS: Final = NAMES[:12]
"""Names of things."""
_ANSWERS = (*THINGS, NOTHING, "left", "right", "up", "down", "nowhere", *COUNTS, "yes", "no", *BACKGROUNDS)


_FRAME_WORDS = tuple(f"frame {number}" for number in range(FRAMES))
_ASKING = tuple(kind for kind, (family, _) in KINDS.items() if family in FAMILIES)
VOCABULARY: Final = tuple(dict.fromkeys(("", *_ANSWERS, *PLACES, *_FRAME_WORDS, *_ASKING, "?")))
"""All words; the first is none."""
_NUMBERS = {word: number for number, word in enumerate(VOCABULARY)}


def compose(seed: int) -> tuple[ClipLayout, np.random.Generator]:
    """The clip of a seed, its things renamed by lot to some of THINGS, and the seed's generator."""
    _, clip, rng = compose_clip(seed)
    names = rng.permutation(THINGS)
    actors = (
        replace(own, thing=replace(own.thing, name=str(name))) for own, name in zip(clip.actors, names, strict=False)
    )
    return replace(clip, actors=tuple(actors)), rng


def tell(clip: ClipLayout, rng: np.random.Generator) -> Tensor:
    """A clip as words (VISUAL, WORDS) int64: every thing in sight at least once a frame, in any order."""
    return torch.tensor([row for frame in range(FRAMES) for row in _tell_frame(clip, frame, rng)])


def _tell_frame(clip: ClipLayout, frame: int, rng: np.random.Generator) -> list[list[int]]:
    things = [(thing.name, PLACES[thing.place], _FRAME_WORDS[frame]) for thing in clip.frame(frame).objects]
    things.append((clip.background, "", _FRAME_WORDS[frame]))
    more = rng.integers(0, len(things), PER_FRAME - len(things))
    rows = [*range(len(things)), *more.tolist()]
    return [[_NUMBERS[word] for word in things[rows[at]]] for at in rng.permutation(PER_FRAME)]


def questions(clip: ClipLayout, rng: np.random.Generator, most: int = 2) -> list[Question]:
    """At most so many questions of each kind about a clip, of those that one word answers."""
    absent = sorted(set(THINGS) - {actor.name for actor in clip.actors})
    offered = draw_clip_questions(clip, rng, most)
    few = [question for question in offered if question.family in FAMILIES]
    return [_within(question, str(rng.choice(absent))) for question in few]


def _within(question: Question, absent: str) -> Question:
    """The question, about a thing of this smaller world if it was about one that is not there."""
    return ask("seen", "no", name=absent) if (question.kind, question.answer) == ("seen", "no") else question


def speak(asked: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """Questions as words (Q, TEXT, WORDS), and their answers (Q,); all int64."""
    texts = [(question.kind, dict(question.slots).get("name", "")) for question in asked]
    told = [[[_NUMBERS[word] for word in (*text, mark)] for mark in ("", "?")] for text in texts]
    return torch.tensor(told), torch.tensor([_NUMBERS[question.answer] for question in asked])
