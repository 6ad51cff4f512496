"""From what was sent to a checked request, for the page and the API alike."""

from __future__ import annotations

import logging
from typing import Any

from app import gpu
from app.checks import check_method, check_model, check_question, check_reduction
from app.film import Subject
from app.settings import Settings
from duet_core.errors import DuetError


def make_job(
    settings: Settings, subject: Subject, question: str, reduction: float, method: str, model: str, **more: Any
) -> gpu.Job:
    """Return the checked request; a DuetError says in one sentence what is wrong with it."""
    return gpu.Job(
        subject=subject,
        question=check_question(question, settings),
        reduction=check_reduction(reduction),
        method=check_method(method),
        model=check_model(model, settings),
        **more,
    )


def log_unforeseen(error: Exception) -> None:
    """Log what was not foreseen, without picture, question or address; the visitor's own mistakes are not logged."""
    if not isinstance(error, DuetError):
        logging.getLogger(__name__).error("A request failed.", exc_info=error)
