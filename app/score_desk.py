"""The Scorecard's events: check, take the exam on the model, draw what is there so far."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import gradio as gr

from app import gpu, messages, scorecard, views
from app.boards import Shown, idle
from app.checks import check_methods, check_model
from app.faults import told
from app.handlers import Desk, Outputs
from app.job import Phase
from app.rack import BASELINE
from app.shelf import Downloading
from app.sitting import FEWEST, MOST, Scored, Sitting, SittingEvent, Subject, Turn
from app.stored import stored
from duet_core.bench.exams import GROUP_SEEDS
from duet_core.errors import DuetError, PlanError
from duet_core.scenes import FIRST_TRAINING_SEED

BUDGETS = ("53%", "67%", "78%", "89%", "93%")
SUBJECTS: dict[str, Subject] = {"Pictures": "pictures", "Clips": "clips"}
PARTS = 3  # plot, note, table
_REDRAW_SECONDS = 1.0  # a plot takes longer to draw than an answer to give
_FIRST_FRESH = 100_000  # the seeds below belong to the bench, so that no stored figure is drawn again


def check_sitting(
    methods: object, budgets: object, subject: object, n: object, model: str | None, desk: Desk
) -> Sitting:
    """Return the exam that a visitor asked for, its scenes drawn anew; a DuetError says what is wrong with it."""
    names = tuple(dict.fromkeys(name for name in check_methods(methods) if name != BASELINE))
    if not names:
        raise PlanError(messages.NO_METHODS)
    if subject not in SUBJECTS:
        raise PlanError(messages.unknown_exam(str(subject), tuple(SUBJECTS)))
    seed = random.randrange(_FIRST_FRESH, FIRST_TRAINING_SEED - GROUP_SEEDS)
    checked = check_model(model, desk.settings), SUBJECTS[str(subject)]
    return Sitting(*checked, names, _check_budgets(budgets), _check_n(n), seed)


def _check_budgets(budgets: object) -> tuple[str, ...]:
    chosen = [one for one in BUDGETS if isinstance(budgets, list | tuple) and one in budgets]
    if not chosen:
        raise PlanError(messages.no_budgets(BUDGETS))
    return tuple(chosen)


def _check_n(n: object) -> int:
    known = isinstance(n, int | float) and not isinstance(n, bool) and n == n
    if not known or not FEWEST <= n <= MOST:  # type: ignore[operator]
        raise PlanError(messages.not_so_many_questions(n, FEWEST, MOST))
    return int(n)  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class ScoreDesk:
    """Everything the Scorecard needs."""

    desk: Desk

    def run_on_page(
        self, methods: list[str], budgets: list[str], subject: str, n: float, model: str
    ) -> Iterator[Outputs]:
        """Take an exam and draw it as it goes."""
        try:
            job = check_sitting(methods, budgets, subject, n, model, self.desk)
        except DuetError as error:
            yield idle(messages.sentence(error)).outputs(PARTS)
            return
        yield from (shown.outputs(PARTS) for shown in self._shown(job) if shown)

    def stored_on_page(self, subject: str) -> str:
        """The stored run about what is chosen."""
        return scorecard.stored_card(stored(SUBJECTS[subject]), SUBJECTS[subject])

    def _shown(self, job: Sitting) -> Iterator[Shown | None]:
        card = Card(job)
        yield card.started()
        try:
            for event in gpu.run_exam(job, self.desk.settings):
                yield card.show(event)
        except Exception as error:
            yield idle(told(error))
        else:
            yield card.ended()


class Card:
    """The state of one exam on its tab; nothing outlives it."""

    def __init__(self, job: Sitting) -> None:
        self.job = job
        self.last: Scored | None = None
        self._drawn = 0.0

    def started(self) -> Shown:
        """The old result goes."""
        busy = views.status(messages.WHAT_IS_RUNNING["examining"])
        blank = {0: "", 1: "", 2: ""}
        return Shown(gr.update(interactive=False), gr.update(interactive=True), "", busy, blank)

    def show(self, event: SittingEvent) -> Shown | None:
        """Take in one event and return what changes."""
        match event:
            case Phase(name):
                return Shown(status=views.status(messages.WHAT_IS_RUNNING[name]))
            case Downloading(done, total):
                return Shown(status=views.status(messages.downloading(done, total)))
            case Turn():
                return Shown(status=views.progress(self._doing(event), event.done, event.total))
            case Scored():
                self.last = event
                return self._redrawn()

    def ended(self) -> Shown:
        """All is counted, or the time is over."""
        late = self.last is not None and self.last.timed_out
        said = messages.out_of_time(self.job.seconds) if late else messages.EXAM_OVER
        shown = idle(status=views.hint(said))
        return Shown(shown.run, shown.stop, shown.notice, shown.status, self._parts())

    def _doing(self, turn: Turn) -> str:
        who = scorecard.contestant(turn.method, turn.budget)
        return messages.examining(who, turn.done, turn.total)

    def _redrawn(self) -> Shown | None:
        if time.monotonic() - self._drawn < _REDRAW_SECONDS:
            return None
        parts = self._parts()
        self._drawn = time.monotonic()
        return Shown(parts=parts)

    def _parts(self) -> dict[int, str]:
        if self.last is None:
            return {}
        rows = self.last.rows
        note = f"{scorecard.in_words(rows)} {messages.FRESH_SCENES}"
        repeat = f"<details><summary>Repeat it in a shell</summary><code>{escape(self.job.command)}</code></details>"
        return {
            0: scorecard.plot(rows, scorecard.describe(rows)),
            1: views.hint(note) + repeat,
            2: scorecard.table(rows, "Accuracy of this run"),
        }
