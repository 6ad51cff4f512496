"""Follows a series on its tab: what changes there with each event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gradio as gr

from app import cards, messages, views
from app.budgets import came_back, smallest
from app.curve import curve
from app.difference import difference, last_step
from app.fates import ONLY_A, ONLY_B
from app.gallery import Gallery, is_right
from app.gpu import SeriesEvent
from app.job import Phase
from app.rack import BASELINE, about, title
from app.series import Ask, Begun, Ended, Failed, Outcome, Said, Series, kept_percent, same, tried
from app.shelf import Downloading
from app.standings import COMPARED, SWEPT, nearest
from app.steps import step_name
from duet_core.methods import METHODS, TRAINED

_REDRAW_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Shown:
    """One update of a tab: its buttons, its notice, its status, and those of its `parts` that change, by number."""

    run: Any = None
    stop: Any = None
    notice: Any = None
    status: Any = None
    parts: Mapping[int, str] = field(default_factory=dict)

    def outputs(self, parts: int) -> tuple[Any, ...]:
        """The values in the order of the tab's outputs, of which `parts` are its own."""
        given = (self.run, self.stop, self.notice, self.status, *(self.parts.get(number) for number in range(parts)))
        return tuple(gr.skip() if value is None else value for value in given)


def idle(notice: str = "", status: str = "") -> Shown:
    """No series is under way."""
    return Shown(gr.update(interactive=True), gr.update(interactive=False), views.notice(notice), status)


class Board:
    """The state of one series on its tab; nothing outlives it."""

    parts: ClassVar[int]

    def __init__(self, job: Series, gallery: Gallery) -> None:
        self.job, self.gallery = job, gallery
        self.done: list[Outcome] = []
        self._doing, self._said, self._told = "", "", 0.0

    def started(self) -> Shown:
        """The old result goes."""
        busy = views.status(messages.WHAT_IS_RUNNING["encoding"])
        blank = dict.fromkeys(range(self.parts), "") | self.opening()
        return Shown(gr.update(interactive=False), gr.update(interactive=True), "", busy, blank)

    def show(self, event: SeriesEvent) -> Shown | None:
        """Take in one event and return what changes; None for a piece too soon after the last one."""
        match event:
            case Phase(name):
                return Shown(status=views.status(messages.WHAT_IS_RUNNING[name]))
            case Downloading(done, total):
                return Shown(status=views.status(messages.downloading(done, total)))
            case Begun(number, ask):
                self._doing, self._said = self.doing(number, ask), ""
                return Shown(status=self._progress(self._doing))
            case Said(_, text):
                return self._saying(text)
            case Ended() | Failed():
                self.done.append(event)
                return Shown(status=self._progress(self._doing), parts=self.drawn())

    def ended(self) -> Shown:
        """The series is over."""
        failed = sum(isinstance(outcome, Failed) for outcome in self.done)
        return idle(status=views.hint(messages.finished_series(len(self.done) - failed, failed)))

    def _saying(self, text: str) -> Shown | None:
        self._said += text
        if time.monotonic() - self._told < _REDRAW_SECONDS:
            return None
        self._told = time.monotonic()
        return Shown(status=self._progress(f"{self._doing} {self._said[-60:]}"))

    def _progress(self, text: str) -> str:
        return views.progress(text, len(self.done), max(len(self.job.asks), len(self.done) + 1))

    # What each tab has of its own

    def opening(self) -> dict[int, str]:
        """The parts that are filled before the first answer."""
        return {0: views.asked(self.job.asks[0].question)}

    def doing(self, number: int, ask: Ask) -> str:
        """Say what begins."""
        return messages.in_turn(title(ask.method), number + 1, len(self.job.asks))

    def drawn(self) -> dict[int, str]:
        """The parts that the last outcome changes."""
        raise NotImplementedError


class CompareBoard(Board):
    """The question, the table, and one card a method."""

    parts: ClassVar[int] = 2 + len(METHODS) + len(TRAINED)

    def drawn(self) -> dict[int, str]:
        """The table grows and the next card comes."""
        label = "Methods compared"
        return {
            1: cards.table(self.done, COMPARED, label, messages.ONE_RUN_EACH),
            1 + len(self.done): self._card(self.done[-1]),
        }

    def _card(self, outcome: Outcome) -> str:
        name = title(outcome.ask.method)
        if isinstance(outcome, Failed):
            return cards.failed_card(name, outcome)
        truth = self.gallery.truth(self.job.subject, outcome.ask.question)
        badges = views.verdict(is_right(truth, outcome.text), truth.answer if truth else "")
        if outcome.ask.method != BASELINE:
            badges = cards.sameness(same(self.done[0], outcome)) + badges
        notes = (nearest(outcome), about(outcome.ask.method))
        return cards.fate_card(name, self.job.subject, outcome, notes, badges)


class SweepBoard(Board):
    """The question, the finding, the curve, and the table with its file."""

    parts: ClassVar[int] = 4

    def doing(self, number: int, ask: Ask) -> str:
        """Say which budget begins."""
        if number >= len(self.job.asks):
            return messages.bisecting(kept_percent(ask))
        return messages.in_turn(f"{kept_percent(ask)} %", number + 1, len(self.job.asks))

    def drawn(self) -> dict[int, str]:
        """Curve and table grow."""
        ended = [outcome for outcome in self.done if isinstance(outcome, Ended)]
        found = smallest(tried(self.done)) if self._finished() else None
        rows = sorted(self.done, key=lambda outcome: outcome.ask.reduction)
        listed = cards.table(rows, SWEPT, "Budgets tried", messages.ONE_RUN_EACH)
        return {
            2: curve(ended, found, self._finding(ended, found)) if ended else "",
            3: listed + cards.csv_link(rows, SWEPT, "duet-lens-sweep.csv"),
        }

    def ended(self) -> Shown:
        """Say what was found."""
        ended = [outcome for outcome in self.done if isinstance(outcome, Ended)]
        found = smallest(tried(self.done))
        if found is None:
            return idle(messages.NO_REFERENCE)
        again = came_back(tried(self.done))
        more = [messages.came_back(again)] if again else []
        said = views.speed(self._finding(ended, found), " ".join([*more, messages.BISECTED]))
        shown = super().ended()
        return Shown(shown.run, shown.stop, shown.notice, shown.status, {1: said})

    def _finished(self) -> bool:
        return self.job.following(self.done) is None

    def _finding(self, ended: list[Ended], found: int | None) -> str:
        point = next((end for end in ended if kept_percent(end.ask) == found), None)
        if point is None or found is None:
            return f"{len(ended)} budgets tried"
        return messages.smallest_found(found, point.trace.average_tokens, point.trace.full)


class TwoBoard(Board):
    """Question A's map, question B's map, and what is different."""

    parts: ClassVar[int] = 3

    def opening(self) -> dict[int, str]:
        """Nothing before the first answer."""
        return {}

    def doing(self, number: int, ask: Ask) -> str:
        """Say which question begins."""
        return messages.in_turn(f"Question {'AB'[number]}", number + 1, len(self.job.asks))

    def drawn(self) -> dict[int, str]:
        """The next card, and the difference once both are there."""
        number, outcome = len(self.done) - 1, self.done[-1]
        heading = f"{'AB'[number]}: {outcome.ask.question}"
        if isinstance(outcome, Failed):
            return {number: cards.failed_card(heading, outcome)}
        card = cards.fate_card(heading, self.job.subject, outcome, [nearest(outcome)])
        first = self.done[0]
        both = isinstance(first, Ended) and number == 1
        return {number: card} | ({2: self._difference(first, outcome)} if both else {})  # type: ignore[arg-type]

    def _difference(self, first: Ended, second: Ended) -> str:
        step = last_step(first.trace, second.trace)
        apart = difference(first.trace, second.trace, step)
        alike = not apart.counts[ONLY_A] and not apart.counts[ONLY_B]
        notes = [messages.NO_SCORES_OF_WORDS if alike else messages.shared_patches(apart.shared)]
        heading = f"A against B, {step_name(first.trace, step).lower()}"
        return cards.difference_card(heading, self.job.subject, first.trace.grid, apart, notes)
