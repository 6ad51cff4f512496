"""From what was sent to a checked request, for the page and the API alike; a DuetError says what is wrong with it."""

from __future__ import annotations

from typing import Any

from app import gpu
from app.checks import check_method, check_methods, check_model, check_question, check_reduction
from app.film import Subject
from app.messages import NOTHING_TO_SWEEP, SAME_QUESTIONS
from app.rack import BASELINE, line_up
from app.series import Ask, Series, sweep_asks
from app.settings import Settings
from duet_core.errors import PlanError, QuestionError


def make_job(
    settings: Settings, subject: Subject, question: str, reduction: float, method: str, model: str, **more: Any
) -> gpu.Job:
    """Return the checked request of both answers."""
    return gpu.Job(
        subject=subject,
        question=check_question(question, settings),
        reduction=check_reduction(reduction),
        method=check_method(method),
        model=check_model(model, settings),
        **more,
    )


def compare_series(
    settings: Settings, subject: Subject, question: str, reduction: float, methods: object, model: str, **more: Any
) -> Series:
    """Return the series that puts one question through several methods at one budget."""
    text, share = check_question(question, settings), check_reduction(reduction)
    asks = [Ask(text, name, 0.0 if name == BASELINE else share) for name in line_up(check_methods(methods))]
    return Series(check_model(model, settings), subject, tuple(asks), **more)


def sweep_series(settings: Settings, subject: Subject, question: str, method: str, model: str, **more: Any) -> Series:
    """Return the series that looks for the smallest budget with the unchanged answer."""
    text, name = check_question(question, settings), check_method(method)
    if name == BASELINE:
        raise PlanError(NOTHING_TO_SWEEP)
    return Series(check_model(model, settings), subject, sweep_asks(text, name), narrow=True, **more)


def two_series(
    settings: Settings, subject: Subject, questions: tuple[str, str], reduction: float, method: str, model: str,
    **more: Any,
) -> Series:  # fmt: skip
    """Return the series that asks two questions at one budget."""
    first, second = (check_question(question, settings) for question in questions)
    if first == second:
        raise QuestionError(SAME_QUESTIONS)
    asks = tuple(Ask(text, check_method(method), check_reduction(reduction)) for text in (first, second))
    return Series(check_model(model, settings), subject, asks, **more)
