"""Takes exams: every contestant answers the same questions, and right answers are counted scene by scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from duet_core.bench.exams import Exam, Item
from duet_core.engine import Encoded, Model
from duet_core.errors import PlanError
from duet_core.methods import find_method
from duet_core.plan import Plan, Stages
from duet_core.scenes import FAMILIES, Question, judge
from duet_core.scenes.question import CLIP_FAMILIES, REFUSALS, UNKNOWN

FULL: Final = "full"
LONGEST_ANSWER: Final = 48  # tokens; the longest true answer is shorter
ALL_FAMILIES: Final = (*FAMILIES, *CLIP_FAMILIES, REFUSALS)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One method at one budget: `full`, average visual tokens per layer and frame, or a reduction in percent."""

    method: str
    budget: str
    plan: Plan


def contestants(
    model: Model,
    methods: Sequence[str],
    budgets: Sequence[str],
    stages: Sequence[Stages] = ("both",),
    frames: int | None = None,
) -> list[Contestant]:
    """Return every method at every budget, whole or one of its stages alone; all tokens run once, as `none`.

    A stage alone does what it does in the whole method, so it keeps more tokens than the budget says. `frames` of the
    clips that are asked about, if they are clips; methods that know nothing of clips, or of pictures, stay away, and so
    do trained ones without weights for this model.
    """
    field = [Contestant("none", FULL, model.plan("none"))] if FULL in budgets else []
    for budget in dict.fromkeys(budgets):
        if budget != FULL:
            for one in (name for name in dict.fromkeys(methods) if _applies(name, frames) and model.offers(name)):
                plan = model.plan(one, frames=frames, **read_budget(budget, frames))
                field += [Contestant(_called(one, stage), budget, plan.only(stage)) for stage in stages]
    return field


def _applies(method: str, frames: int | None) -> bool:
    return find_method(method).about.applies(clip=frames is not None)


def _called(method: str, stage: Stages) -> str:
    return method if stage == "both" else f"{method}, stage {stage} alone"


def read_budget(text: str, frames: int | None = None) -> dict[str, Any]:
    """Return `128` (for each frame) as a budget and `53%` as a reduction, for `Model.plan`; else a PlanError."""
    try:
        many = 1 if frames is None else frames
        return {"reduction": float(text[:-1]) / 100} if text.endswith("%") else {"budget": many * float(text)}
    except ValueError as error:
        raise PlanError(
            f"The budget {text!r} cannot be read; give full, visual tokens such as 128, or a reduction such as 53%."
        ) from error


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: per item its group [S] and how many questions of each family [S, F], and whose unit it is [S]."""

    groups: np.ndarray
    units: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, items: Sequence[tuple[str, int, np.ndarray]]) -> Asked:
        """Collect the (unit, group, counts) of items."""
        units, groups, total = zip(*items, strict=True)
        return cls(np.array(groups), np.unique(units, return_inverse=True)[1], np.array(total))

    def by_unit(self, counts: np.ndarray) -> np.ndarray:
        """Add up item counts [S, ...] to those of independent units [U, ...]."""
        sums = np.zeros((self.units.max() + 1, *counts.shape[1:]), np.int64)
        np.add.at(sums, self.units, counts)
        return sums


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one contestant made of an exam: right answers and false refusals per item and family, each [S, F].

    `tokens` is the average of visual tokens per layer that was run, of `full` in the untouched model.
    """

    exam: Exam
    model: str
    contestant: Contestant
    tokens: float
    full: int
    asked: Asked
    right: np.ndarray
    refused: np.ndarray


class Examination:
    """An exam that a field of contestants is taking, item by item; it can be marked at any time after the first."""

    def __init__(self, model: Model, field: Sequence[Contestant], exam: Exam) -> None:
        self.model, self.field, self.exam = model, field, exam
        self._asked: list[tuple[str, int, np.ndarray]] = []
        self._marks: list[list[np.ndarray]] = []
        self._counts: list[tuple[float, int]] = []

    @property
    def questions(self) -> int:
        """Questions that every contestant has answered."""
        return int(sum(counts.sum() for _, _, counts in self._asked))

    def take(self, item: Item) -> Iterator[Contestant]:
        """Ask every contestant the item's questions, each in its turn; the picture is encoded once.

        An item that is not taken to its end does not count.
        """
        encoded, marks, texts = self.model.encode(item.picture), list[np.ndarray](), item.questions
        self._counts = self._counts or [_token_counts(self.model, encoded, texts[0], one.plan) for one in self.field]
        for one in self.field:
            marks.append(_marked(self.model, encoded, texts, one.plan))
            yield one
        self._asked.append((item.unit, item.group, _by_family(texts, [True] * len(texts))))
        self._marks.append(marks)

    def sheets(self) -> list[Sheet]:
        """Return what every contestant has made of the items so far."""
        attended = Asked.of(self._asked)
        return [
            Sheet(self.exam, self.model.name, one, *tokens, attended, *np.array(own).swapaxes(0, 1))
            for one, tokens, own in zip(self.field, self._counts, zip(*self._marks, strict=True), strict=True)
        ]


def take_exam(model: Model, field: Sequence[Contestant], exam: Exam, items: Iterable[Item]) -> list[Sheet]:
    """Ask every contestant every question; each picture is encoded once."""
    examination = Examination(model, field, exam)
    for item in tqdm(items, desc=exam.subject, unit=" scenes", disable=None):  # silent where nobody watches
        for _ in examination.take(item):
            pass
    return examination.sheets()


def _token_counts(model: Model, encoded: Encoded, question: Question, plan: Plan) -> tuple[float, int]:
    trace = model.ask(encoded, question.text, plan, max_new_tokens=1).trace
    return trace.average_tokens, trace.full


def _marked(model: Model, encoded: Encoded, questions: Sequence[Question], plan: Plan) -> np.ndarray:
    """Return right answers and false refusals by family, [2, F]."""
    answers = model.ask_all(encoded, [question.text for question in questions], plan, LONGEST_ANSWER)
    right = [judge(question, answer) for question, answer in zip(questions, answers, strict=True)]
    unknown = [judge(Question(REFUSALS, "", UNKNOWN), answer) for answer in answers]
    refused = [gave_up and not known for gave_up, known in zip(unknown, right, strict=True)]
    return np.stack([_by_family(questions, right), _by_family(questions, refused)])


def _by_family(questions: Sequence[Question], counted: Sequence[bool]) -> np.ndarray:
    """Return how many of each family's questions count, [F]."""
    counts = np.zeros(len(ALL_FAMILIES), np.int64)
    for question, one in zip(questions, counted, strict=True):
        counts[ALL_FAMILIES.index(question.family)] += one
    return counts
