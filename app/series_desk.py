"""One function per event of the tabs Compare, Sweep and Two questions: check, run, draw, yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app import gpu, messages, views
from app.asking import compare_series, sweep_series, two_series
from app.boards import Board, CompareBoard, Shown, SweepBoard, TwoBoard, idle
from app.faults import told
from app.given import CLIP, Given
from app.handlers import Desk, Outputs
from app.series import Series
from duet_core.errors import DuetError

Make = Callable[[Given, dict[str, Any]], Series]


@dataclass(frozen=True, slots=True)
class SeriesDesk:
    """Everything the three tabs need; what is asked about comes from the page's own inputs."""

    desk: Desk

    def compare_on_page(self, methods: list[str] | None, *values: Any) -> Iterator[Outputs]:
        """Put the question through several methods at the slider's budget."""

        def make(given: Given, more: dict[str, Any]) -> Series:
            asked = (self.desk.subject(given), given.question, given.reduction, methods, given.model)
            return compare_series(self.desk.settings, *asked, **more)

        yield from self._play(values, make, CompareBoard)

    def sweep_on_page(self, *values: Any) -> Iterator[Outputs]:
        """Put the question through one method at falling budgets."""

        def make(given: Given, more: dict[str, Any]) -> Series:
            asked = (self.desk.subject(given), given.question, given.method, given.model)
            return sweep_series(self.desk.settings, *asked, **more)

        yield from self._play(values, make, SweepBoard)

    def two_on_page(self, second: str, *values: Any) -> Iterator[Outputs]:
        """Ask the page's question and another one at the slider's budget."""

        def make(given: Given, more: dict[str, Any]) -> Series:
            asked = (self.desk.subject(given), (given.question, second), given.reduction, given.method, given.model)
            return two_series(self.desk.settings, *asked, **more)

        yield from self._play(values, make, TwoBoard)

    def stopped(self, parts: int) -> Outputs:
        """Say that a series was stopped; what is finished stays."""
        return idle(status=views.hint(messages.STOPPED_SERIES)).outputs(parts)

    def _play(self, values: tuple[Any, ...], make: Make, board_of: type[Board]) -> Iterator[Outputs]:
        """Follow one series to its end on its tab."""
        given = Given(*values)
        if given.medium == CLIP and given.clip:
            yield Shown(status=views.status(messages.WHAT_IS_RUNNING["decoding"])).outputs(board_of.parts)
        try:
            job = make(given, {"new_tokens": self.desk.length(given)})
        except DuetError as error:
            yield idle(messages.sentence(error)).outputs(board_of.parts)
            return
        board = board_of(job, self.desk.gallery)
        yield from (shown.outputs(board.parts) for shown in self._shown(job, board) if shown)

    def _shown(self, job: Series, board: Board) -> Iterator[Shown | None]:
        yield board.started()
        try:
            for event in gpu.run_series(job, self.desk.settings):
                yield board.show(event)
        except Exception as error:
            yield idle(told(error))
        else:
            yield board.ended()
