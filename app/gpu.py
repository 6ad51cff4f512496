"""The single place that calls the engine on a device: models opened once, one run at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from app.checks import check_applies
from app.duration import MEASURE_SECONDS
from app.faults import told
from app.film import Film
from app.invigilator import invigilate
from app.job import Answered, Event, Job, Measured, Phase, Piece, Side, Traced
from app.patience import within
from app.recent import Kept, Recent
from app.series import Ask, Begun, Ended, Failed, Outcome, Said, Series
from app.settings import Settings
from app.shelf import Downloading, Shelf
from app.sitting import Sitting, SittingEvent
from app.zerogpu import ON_ZERO_GPU, on_device
from duet_core.bench.speed import compare_in_turns, drained
from duet_core.cost import Cost
from duet_core.engine import Encoded, Model
from duet_core.errors import DuetError, PlanError
from duet_core.memory import trim
from duet_core.plan import Plan, Size

SeriesEvent = Phase | Downloading | Begun | Said | Ended | Failed
_DRAW_SECONDS = 0.1  # on a laptop the page draws the trace with the cores that measuring would take from it
_shelf, _running = Shelf(), threading.Lock()
_recent = Recent()  # under the lock


def opened(name: str, settings: Settings) -> Model:
    """Return the opened model of this name; the least recently used one gives way to a new one."""
    return drained(_shelf.take(name, settings))


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


@contextmanager
def _turn() -> Iterator[None]:
    """Let one run in at a time; what it freed goes back to the system when it leaves."""
    with _running:
        try:
            yield
        finally:
            trim()


@on_device
def run(job: Job, settings: Settings) -> Iterator[Event]:
    """Answer with all tokens, then with the job's plan, then time both; closing the generator stops the run."""
    model = yield from _take(job.model, settings)
    if job.exact:
        job.exact.check(model.layers)
    yield from within(_run(model, job, settings), settings.run_seconds)


def _run(model: Model, job: Job, settings: Settings) -> Generator[Event, None, None]:
    with _turn():
        yield Phase("full")  # encoding is its first part; a word of its own would keep the engine waiting
        kept = _recent.take(model, job.subject)
        full = Plan(method="none")
        reduced = job.exact or model.plan(job.method, reduction=job.reduction, encoded=kept.encoded)
        costs = [(yield from _answer_in_full(model, kept, job))]
        yield Phase("reduced")
        costs.append((yield from _answer(model, kept.encoded, job, "reduced", reduced)))
        if not job.measure:
            return
        yield Phase("measuring")
        time.sleep(_DRAW_SECONDS)
        repeats = affordable_repeats(costs, settings.repeats)
        yield (yield from _measured(model, job, [full, reduced], repeats))


def _take(name: str, settings: Settings) -> Generator[Phase | Downloading, None, Model]:
    """Return an opened model; say so while it is being opened."""
    if not _shelf.get(name):
        yield Phase("opening")
    return (yield from _shelf.take(name, settings))


def _answer_in_full(model: Model, kept: Kept, job: Job) -> Generator[Event, None, Cost]:
    """Stream the answer with all tokens, or tell it again where it was given before; return its cost."""
    asked = job.question, job.new_tokens
    if told := kept.answers.get(asked):
        yield from (replace(event, spent_ms=0.0) if isinstance(event, Answered) else event for event in told)
        return _cost(told)
    heard: list[Event] = []
    with closing(_answer(model, kept.encoded, job, "full", Plan(method="none"))) as events:
        for event in events:
            if isinstance(event, Answered) and kept.runs == 1:  # the encoder ran for this one
                event = replace(event, spent_ms=event.spent_ms + kept.encoded.encode_ms)
            heard.append(event)
            yield event
    kept.keep(asked, tuple(heard))
    return _cost(heard)


def _cost(told: Sequence[Event]) -> Cost:
    """Return the cost of a whole answer, which its last event tells."""
    return next(event.cost for event in reversed(told) if isinstance(event, Answered))


def _answer(model: Model, encoded: Encoded, job: Job, side: Side, plan: Plan) -> Generator[Event, None, Cost]:
    """Stream one answer, and return its cost."""
    brush = job.brush if side == "reduced" else None
    events: Any = model.stream(
        encoded,
        job.question,
        plan,
        max_new_tokens=job.new_tokens,
        brush=brush,
        by_word=job.measure and side == "reduced",
    )
    with closing(events):
        trace = next(events)
        if side == "reduced":
            yield Traced(trace)
        for event in events:
            if isinstance(event, Cost):
                break
            yield Piece(side, event)
    yield Answered(side, trace, event, event.answer_ms - event.encode_ms)
    return event


def _measured(model: Model, job: Job, plans: list[Plan], repeats: int) -> Generator[Event, None, Measured]:
    """Time both plans in turn; there is a moment to stop after each run."""
    turns = compare_in_turns(model, job.subject, job.question, plans, repeats)
    while True:
        try:
            next(turns)
        except StopIteration as end:
            return Measured(*end.value)
        yield Phase("measuring")


def affordable_repeats(costs: list[Cost], wanted: int) -> int:
    """Return how many interleaved runs fit into the time a visitor may wait, at least one."""
    seconds = sum(cost.first_token_ms for cost in costs) / 1000
    return max(1, min(wanted, int(MEASURE_SECONDS / max(seconds, 1e-9))))


@on_device
def run_series(job: Series, settings: Settings) -> Iterator[SeriesEvent]:
    """Encode once and give one answer after the other; one that fails leaves the others their turn."""
    model = yield from _take(job.model, settings)
    yield from within(_run_series(model, job), settings.run_seconds)


def _run_series(model: Model, job: Series) -> Generator[SeriesEvent, None, None]:
    with _turn():
        yield Phase("encoding")
        encoded, done = _recent.take(model, job.subject).encoded, list[Outcome]()
        while ask := job.following(done):
            done.append((yield from _outcome(model, encoded, job, ask, len(done))))


def _outcome(
    model: Model, encoded: Encoded, job: Series, ask: Ask, number: int
) -> Generator[SeriesEvent, None, Outcome]:
    """Give one answer of a series, or say why it cannot be given."""
    yield Begun(number, ask)
    outcome: Outcome
    try:
        outcome = yield from _ended(model, encoded, job, ask, number)
    except Exception as error:
        outcome = Failed(ask, told(error))
    yield outcome
    return outcome


def _ended(model: Model, encoded: Encoded, job: Series, ask: Ask, number: int) -> Generator[Said, None, Ended]:
    check_applies(ask.method, clip=isinstance(job.subject, Film))
    plan = model.plan(ask.method, reduction=ask.reduction, encoded=encoded)
    if number == 0:  # what a device does for the first time takes longer: it shall not count for one of the series
        model.ask(encoded, ask.question, plan, max_new_tokens=1)
    events: Any = model.stream(encoded, ask.question, plan, max_new_tokens=job.new_tokens)
    text = ""
    with closing(events):
        trace = next(events)
        for event in events:
            if isinstance(event, Cost):
                break
            text += event
            yield Said(number, event)
    return Ended(ask, text.strip(), trace, event)


@on_device
def run_exam(job: Sitting, settings: Settings) -> Iterator[SittingEvent]:
    """Take an exam of the scorecard; closing the generator ends it at the next answer."""
    model = yield from _take(job.model, settings)
    with _turn(), closing(invigilate(model, job)) as events:  # type: ignore[type-var]
        yield Phase("examining")
        yield from events
