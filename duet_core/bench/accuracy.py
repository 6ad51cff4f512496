"""Accuracy on fresh generated scenes, per question family, method and budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from PIL import Image
from tqdm import tqdm

from duet_core.engine import Encoded, Model
from duet_core.plan import Plan
from duet_core.scenes import FAMILIES, Question, judge, make_scene

FULL = "full"
LONGEST_ANSWER = 48  # tokens; the longest true caption is shorter


@dataclass(frozen=True, slots=True)
class Row:
    """How many of a family's questions were answered right under one method and budget."""

    method: str
    budget: str
    family: str
    right: int
    total: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """One method at one budget (`full`, or average visual tokens per layer)."""

    method: str
    budget: str
    plan: Plan


def contestants(model: Model, methods: Sequence[str], budgets: Sequence[str]) -> list[Contestant]:
    """Return every method at every budget; all tokens are run once, under the method `none`."""
    full = [Contestant("none", FULL, model.plan("none"))] if FULL in budgets else []
    numbers = [budget for budget in budgets if budget != FULL]
    return full + [
        Contestant(method, budget, model.plan(method, budget=float(budget))) for budget in numbers for method in methods
    ]


def scene_questions(seed: int, n: int, style: str | None = None) -> Iterator[tuple[Image.Image, tuple[Question, ...]]]:
    """Yield scenes from `seed` on with their questions, `n` questions in all (the last scene may be cut short)."""
    asked = 0
    while asked < n:
        scene = make_scene(seed, style)
        questions = scene.questions[: n - asked]
        yield scene.image, questions
        asked, seed = asked + len(questions), seed + 1


def measure_accuracy(
    model: Model, field: Sequence[Contestant], scenes: Iterable[tuple[Image.Image, tuple[Question, ...]]]
) -> list[Row]:
    """Ask every contestant every question; each picture is encoded once."""
    right: dict[tuple[Contestant, str], int] = {}
    total: dict[str, int] = {}
    for image, questions in tqdm(scenes, unit=" scenes", disable=None):  # silent where nobody watches
        encoded = model.encode(image)
        for question in questions:
            total[question.family] = total.get(question.family, 0) + 1
            for contestant in field:
                key = contestant, question.family
                right[key] = right.get(key, 0) + _is_right(model, encoded, question, contestant.plan)
    return [
        Row(one.method, one.budget, family, right[one, family], total[family])
        for one in field
        for family in FAMILIES
        if family in total
    ]


def _is_right(model: Model, encoded: Encoded, question: Question, plan: Plan) -> bool:
    return judge(question, model.ask(encoded, question.text, plan, LONGEST_ANSWER).text)


def rows_to_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return the rows as plain JSON values."""
    return [asdict(row) for row in rows]


def accuracy_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: a line per method and budget, a column per family, percent right."""
    families = [family for family in FAMILIES if any(row.family == family for row in rows)]
    head = ["method", "budget", "overall", *families]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, budget in dict.fromkeys((row.method, row.budget) for row in rows):
        own = {row.family: row for row in rows if (row.method, row.budget) == (method, budget)}
        cells = [_percent(list(own.values())), *(_percent([own[family]]) for family in families)]
        lines.append("| " + " | ".join([method, budget, *cells]) + " |")
    return "\n".join(lines)


def _percent(rows: Sequence[Row]) -> str:
    return f"{100 * sum(row.right for row in rows) / sum(row.total for row in rows):.1f}"
