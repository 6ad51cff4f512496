"""Marks on unseen scenes and clips while training goes on: the share of questions answered without a wrong token.

The same as greedy answers being exactly right, but read off one pass with the true answer before it; the bench asks
the finished model for real.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from duet_core.plan import Plan
from duet_core.scenes.question import Question
from duet_core.train.asking import offer
from duet_core.train.lessons import seen_lesson, show
from duet_core.train.views import Views
from duet_core.train.words import Speech

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Exam:
    """The first `count` subjects of unseen views, under a plan, in canonical words."""

    name: str
    views: Views
    plan: Plan
    count: int


@torch.no_grad()
def sit(lesson: Any, speech: Speech, exams: Sequence[Exam]) -> dict[str, float]:
    """Marks by exam, and by family of the exam: `name` and `name/family`."""
    marks: dict[str, list[bool]] = defaultdict(list)
    for exam in exams:
        together = _BATCH if exam.views.frames == 1 else 1
        for start in range(0, exam.count, together):
            subjects = np.arange(start, min(start + together, exam.count))
            for question, right in _part(lesson, speech, exam, subjects):
                marks[exam.name].append(right)
                marks[f"{exam.name}/{question.family}"].append(right)
    return {name: sum(own) / len(own) for name, own in marks.items()}


def _part(lesson: Any, speech: Speech, exam: Exam, subjects: np.ndarray) -> list[tuple[Question, bool]]:
    asked = [offer(exam.views.subjects[int(row)], np.random.default_rng((11, int(row))), 1) for row in subjects]
    given = seen_lesson(exam.views, show(exam.views, subjects), asked, exam.plan, speech)
    logits, truth, _ = lesson.answer(given.to(lesson.table.device))
    questions = [question for picture in asked for question in picture]
    lengths = [len(speech.turn(question).answered) for question in questions]
    right = [bool(part.all()) for part in (logits.argmax(-1) == truth).split(lengths)]
    return list(zip(questions, right, strict=True))
