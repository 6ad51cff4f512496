"""Takes an exam of the scorecard on the model: the bench's own questions and marks, scene by scene, within a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from app.sitting import Scored, Sitting, Turn
from duet_core.bench.accuracy import FULL, Examination, contestants
from duet_core.bench.report import make_rows
from duet_core.engine import Model


def invigilate(model: Model, job: Sitting) -> Iterator[Turn | Scored]:
    """Yield each turn, and the rows after each scene; ends after `job.n` questions or when the time is over."""
    field = contestants(model, job.methods, (FULL, *job.budgets), frames=job.exam.frames)
    examination, end = Examination(model, field, job.exam), time.monotonic() + job.seconds
    for item in job.exam.items(job.seed, job.n):
        own, before = len(item.questions), examination.questions * len(field)
        for number, one in enumerate(examination.take(item), start=1):
            yield Turn(one.method, one.budget, before + number * own, job.n * len(field))
        late = time.monotonic() > end and examination.questions < job.n
        yield Scored(tuple(make_rows(examination.sheets())), examination.questions, late)
        if late:
            return
