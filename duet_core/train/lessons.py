"""What the language model is shown: which pictures, which patches of them, which questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from duet_core.scenes.questions import FAMILIES, Question, draw_questions
from duet_core.train.labels import GRID
from duet_core.train.loop import Phase
from duet_core.train.memory import Views

# How often an offered question is asked: what lags is asked more, what is easy less.
ASKED = {
    "existence": 0.5,
    "location": 0.8,
    "count": 0.9,
    "relation": 1.0,
    "colour": 0.7,
    "background": 0.4,
    "number": 1.0,
    "caption": 1.0,
}
_MOST = 3  # questions of each kind offered per picture
_LONGEST = 20  # questions asked per picture
_REDUCED = (64, 200)  # patches of a reduced step
_REDUCED_SHARE = 0.12  # of the steps of the last phase; the others are plain LLaVA
_RANDOM_SHARE = 0.25  # of a reduced set of patches; the others are the most salient


@dataclass(frozen=True, slots=True)
class Lesson:
    """B pictures: features (B, C + N, D) float32, labels (B, N, columns) int64, and the questions.

    C is 1 where CLS goes first, as in DUET, and else 0; labels are those of the N patches.
    """

    features: torch.Tensor
    labels: torch.Tensor
    questions: list[list[Question]]


def visible(saliency: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The patches that enter: (B, count) in grid order; mostly salient, some at random."""
    if count == GRID * GRID:
        return np.broadcast_to(np.arange(count), (len(saliency), count))
    salient = count - int(count * _RANDOM_SHARE)
    rank = (-saliency).argsort(1).argsort(1)
    chance = rng.random(saliency.shape) + 2.0 * (rank < salient)
    return np.sort((-chance).argsort(1)[:, :count], 1)


def ask(views: Views, row: int, rng: np.random.Generator) -> list[Question]:
    """Fresh questions about one picture, 1 to 20."""
    offered = draw_questions(views.layouts[row], rng, _MOST)
    taken = [question for question in offered if rng.random() < ASKED[question.family]]
    order = rng.permutation(len(taken))[:_LONGEST]
    return [taken[k] for k in order] or list(offered[:1])


def gather(views: Views, rows: np.ndarray, patches: np.ndarray, cls: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, C + N, D) and label columns (B, N, columns) of the chosen patches."""
    entering = np.pad(patches + 1, ((0, 0), (int(cls), 0)))  # 0 is CLS
    features = views.features[rows[:, None], entering].astype(np.float32)
    owner = views.owners[rows[:, None], patches]
    labels = views.tables[rows[:, None], owner].astype(np.int64)
    return torch.from_numpy(features), torch.from_numpy(labels)


def lesson(views: Views, rows: np.ndarray, phase: Phase, rng: np.random.Generator) -> Lesson:
    """Everything one training step needs."""
    tokens, cls = _budget(phase, rng)
    patches = visible(views.saliency[rows], tokens, rng)
    questions = [ask(views, int(row), rng) for row in rows]
    return Lesson(*gather(views, rows, patches, cls), questions)


def _budget(phase: Phase, rng: np.random.Generator) -> tuple[int, bool]:
    """How many patches enter, and whether CLS does: reduced steps look like DUET's half the time."""
    if phase.name == "whole" and rng.random() > _REDUCED_SHARE:
        return phase.tokens, False
    if phase.name == "few":
        return phase.tokens, False
    return int(rng.uniform(*_REDUCED)), bool(rng.random() < 0.5)


def exam(views: Views, rows: np.ndarray, seed: int) -> Lesson:
    """All patches, and one question of each kind, always the same."""
    patches = np.broadcast_to(np.arange(GRID * GRID), (len(rows), GRID * GRID))
    questions = [
        list(draw_questions(views.layouts[int(row)], np.random.default_rng((seed, int(row))), 1)) for row in rows
    ]
    return Lesson(*gather(views, rows, patches), questions)


def marks(questions: list[list[Question]], lengths: list[int], right: torch.Tensor) -> dict[str, float]:
    """The share of questions answered without a wrong token, per family and overall."""
    asked = [question for picture in questions for question in picture]
    passed = [bool(part.all()) for part in right.split(lengths)]
    marked = {"overall": sum(passed) / len(passed)}
    for family in FAMILIES:
        mine = [ok for question, ok in zip(asked, passed, strict=True) if question.family == family]
        if mine:
            marked[family] = sum(mine) / len(mine)
    return marked
