"""What is asked about a subject: which of the questions about it, how often, and in which words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from duet_core.scenes.actors import ClipLayout
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.layout import make_layout
from duet_core.scenes.question import REFUSALS, UNKNOWN, Question
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.wordings import sloppy, trained
from duet_core.train.pictures import Subject

OUTSIDE = 0.1
"""Share of questions from outside the world, where nothing else is said."""

# How often an offered question is asked: what is easy less.
_ASKED = {"existence": 0.35, "background": 0.15, "colour": 0.6, "presence": 0.4, "motion": 0.3, "direction": 0.3}
_FIRST = ("caption", "number", "story")  # asked before any others
_MOST = 3  # questions of a kind offered per subject, but of those that lag:
_LAGGING = {"is_beyond": 7, "what_beyond": 5, "what_at": 4, "count": 5}
_CANONICAL = 0.15  # share of questions in canonical wording


def ask(subject: Subject, rng: np.random.Generator, most: int, outside: float = OUTSIDE) -> list[Question]:
    """Fresh questions about a subject, 1 to `most`, worded and typed as visitors do, some from outside the world."""
    offered = _offered(subject, rng)
    taken = [question for question in offered if rng.random() < _ASKED.get(question.family, 1.0)] or offered[:1]
    mixed = [taken[k] for k in rng.permutation(len(taken))]
    chosen = sorted(mixed, key=lambda question: question.family not in _FIRST)[:most]
    return [_worded(trained().refusal(rng) if rng.random() < outside else one, rng) for one in chosen]


def _offered(subject: Subject, rng: np.random.Generator) -> list[Question]:
    """A few questions of every kind, more of those that are learnt last."""
    counts: Counter[str] = Counter()
    few = []
    for question in offer(subject, rng, max(_LAGGING.values())):
        counts[question.kind] += 1
        if counts[question.kind] <= _LAGGING.get(question.kind, _MOST):
            few.append(question)
    return few


def offer(subject: Subject, rng: np.random.Generator, most: int) -> list[Question]:
    """Questions about a scene or a clip; those about anything, all unanswerable, for a picture that is no scene."""
    if isinstance(subject, ClipLayout):
        return list(draw_clip_questions(subject, rng, most))
    if subject is not None:
        return list(draw_questions(subject, rng, most))
    elsewhere = draw_questions(make_layout(rng), rng, most)
    return [replace(question, family=REFUSALS, answer=UNKNOWN) for question in elsewhere]


def _worded(question: Question, rng: np.random.Generator) -> Question:
    if question.kind and rng.random() >= _CANONICAL:
        question = trained().reword(question, rng)
    return replace(question, text=sloppy(question.text, rng))
