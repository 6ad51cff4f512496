"""The single place that calls the engine on a device: models opened once, one run at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from app.duration import MEASURE_SECONDS
from app.film import Film, Subject
from app.settings import Settings
from app.shelf import Downloading, Shelf
from app.zerogpu import ON_ZERO_GPU, on_device
from duet_core.bench.speed import PlanSpeed, compare_plans
from duet_core.cost import Cost
from duet_core.engine import Encoded, Model, Picture
from duet_core.errors import DuetError, PlanError
from duet_core.plan import Plan, Size
from duet_core.trace import Trace

Side = Literal["full", "reduced"]
_shelf, _running = Shelf(), threading.Lock()


@dataclass(frozen=True, slots=True)
class Job:
    """One request, checked.

    `exact` replaces the plan that `method` makes of the `reduction` in [0, 1). `measure`: time both plans afterwards.
    """

    model: str
    subject: Subject
    question: str
    method: str
    reduction: float
    exact: Plan | None = None
    new_tokens: int = 64
    measure: bool = True

    @property
    def picture(self) -> Picture:
        """The subject as the engine takes it: a picture, or a list of frames."""
        return list(self.subject.frames) if isinstance(self.subject, Film) else self.subject


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run begins: opening, encoding, full, reduced or measuring."""

    name: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of one answer."""

    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer is complete."""

    side: Side
    trace: Trace
    cost: Cost


@dataclass(frozen=True, slots=True)
class Measured:
    """Both plans, timed in interleaved runs."""

    full: PlanSpeed
    reduced: PlanSpeed


Event = Phase | Downloading | Piece | Answered | Measured


def opened(name: str, settings: Settings) -> Model:
    """Return the opened model of this name; the least recently used one gives way to a new one."""
    opening = _shelf.take(name, settings)
    while True:
        try:
            next(opening)
        except StopIteration as end:
            return end.value


def size_of(name: str, frames: int | None = None) -> Size | None:
    """Return what a plan for a picture, or a clip of so many frames, depends on; never opens a model for it.

    None, too, for a model whose pictures differ in their tokens.
    """
    model = _shelf.get(name)
    try:
        return model.backbone.size(frames) if model else None
    except PlanError:
        return None


def warm_up(settings: Settings) -> None:
    """Open the first model of the menu in the background, so that the page need not wait for it.

    A ZeroGPU Space has it opened first, by the main thread, or the model never reaches a visitor's device.
    """
    asked = (settings.models[0], settings)
    if ON_ZERO_GPU:
        _open_quietly(*asked)
    else:
        threading.Thread(target=_open_quietly, args=asked, daemon=True).start()


def _open_quietly(name: str, settings: Settings) -> None:
    try:
        opened(name, settings)
    except DuetError as error:  # the first question reports it to the visitor
        logging.getLogger(__name__).warning("%s", error)


@on_device
def run(job: Job, settings: Settings) -> Iterator[Event]:
    """Answer with all tokens, then with the job's plan, then time both; closing the generator stops the run."""
    if not _shelf.get(job.model):
        yield Phase("opening")
    model = yield from _shelf.take(job.model, settings)
    if job.exact:
        job.exact.check(model.layers)
    with _running:
        yield Phase("encoding")
        encoded = model.encode(job.picture)
        full = Plan(method="none")
        reduced = job.exact or model.plan(job.method, reduction=job.reduction, encoded=encoded)
        costs: list[Cost] = []
        sides: tuple[tuple[Side, Plan], ...] = (("full", full), ("reduced", reduced))
        for side, plan in sides:
            yield Phase(side)
            costs.append((yield from _answer(model, encoded, job, side, plan)))
        if not job.measure:
            return
        yield Phase("measuring")
        repeats = affordable_repeats(costs, settings.repeats)
        speeds = compare_plans(model, job.picture, job.question, [full, reduced], repeats=repeats)
        yield Measured(*speeds)


def _answer(model: Model, encoded: Encoded, job: Job, side: Side, plan: Plan) -> Generator[Event, None, Cost]:
    """Stream one answer, and return its cost."""
    events: Any = model.stream(encoded, job.question, plan, max_new_tokens=job.new_tokens)
    with closing(events):
        trace = next(events)
        for event in events:
            if isinstance(event, Cost):
                break
            yield Piece(side, event)
    yield Answered(side, trace, event)
    return event


def affordable_repeats(costs: list[Cost], wanted: int) -> int:
    """Return how many interleaved runs fit into the time a visitor may wait, at least one."""
    seconds = sum(cost.first_token_ms for cost in costs) / 1000
    return max(1, min(wanted, int(MEASURE_SECONDS / max(seconds, 1e-9))))
