"""Follows one run event by event: what was said so far, and what the page shows next."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from app import painted, screens, views
from app.compare import agree
from app.duel import Duel
from app.given import Given
from app.gpu import Answered, Downloading, Event, Job, Measured, Phase, Piece, Traced
from app.lastrun import LastRun
from app.map_texts import TIMED_WITHOUT
from app.messages import MEASURED_NOW, WHAT_IS_RUNNING, answers_took, downloading
from app.patchmap import map_value
from app.screens import Screen
from app.standings import tokens_json
from duet_core.bench.speed import PlanSpeed
from duet_core.scenes import Question

_REDRAW_SECONDS = 0.1  # each update costs the server more than a token costs the model
_TITLES = {"full": screens.FULL_TITLE, "reduced": screens.REDUCED_TITLE}


class Play:
    """The state of one request; nothing outlives it."""

    def __init__(
        self, job: Job, truth: Question | None, given: Given | None = None, example: str | None = None
    ) -> None:
        self.job, self.truth, self.given, self.example = job, truth, given, example
        self.said = {"full": "", "reduced": ""}
        self.answered: dict[str, Answered] = {}
        self._drawn = 0.0
        self._doing = "full"  # as `screens.started` says

    def take(self, event: Event) -> None:
        """Remember what an event says."""
        match event:
            case Piece(side, text):
                self.said[side] += text
            case Answered(side):
                self.said[side] = self.said[side].strip()
                self.answered[side] = event

    def show(self, event: Event) -> Screen | None:
        """Take in one event and return what changes on the page; None for a piece too soon after the last change."""
        self.take(event)
        screen = self._change(event)
        if screen:
            self._drawn = time.monotonic()
        return screen

    def _change(self, event: Event) -> Screen | None:
        match event:
            case Phase("measuring") if self._doing == "measuring":
                return Screen()  # nothing new, but a moment at which Stop can end the run
            case Phase(name):
                return None if name == self._doing else Screen(speed=self._status(name))
            case Downloading(done, total):
                return Screen(speed=views.status(downloading(done, total)))
            case Piece(side):
                return self._piece(side)
            case Traced(trace):
                return Screen(patchmap=map_value(self.job.subject, trace, self.job.question, self._forced))
            case Answered():
                return self._answered(event)
            case Measured(full, reduced):
                note = MEASURED_NOW + answers_took(self._took()) + (TIMED_WITHOUT if self.job.brush else "")
                return replace(screens.figures(self._duel(full, reduced), note), run=self._run((full, reduced)))

    def _status(self, name: str) -> str:
        self._doing = name
        return views.status(WHAT_IS_RUNNING[name])

    def _took(self) -> float:
        """Return the engine's own milliseconds of both answers in this run."""
        return sum(answered.spent_ms for answered in self.answered.values())

    def _piece(self, side: str) -> Screen | None:
        if time.monotonic() - self._drawn < _REDRAW_SECONDS:
            return None
        return Screen(**{side: views.answer(_TITLES[side], "", views.streaming(self.said[side], done=False))})

    def _answered(self, event: Answered) -> Screen:
        if event.side == "full":
            body = views.streaming(self.said["full"], done=True)
            card = views.answer(_TITLES["full"], screens.all_count(event.trace.full), body)
            return Screen(full=card, speed=self._status("reduced"))  # both in one: the engine waits for each update
        count = screens.reduced_count(event.trace.average_tokens, event.trace.full)
        count = ", ".join(filter(None, (count, self._forced)))
        counts = screens.all_count(event.trace.full), count
        both = screens.answers((self.said["full"], self.said["reduced"]), counts, self.truth)
        film = screens.overlaid(self.job.subject, event.trace)
        return Screen(full=both.full, reduced=both.reduced, overlay=film, run=self._run())

    @property
    def _forced(self) -> str:
        return painted.in_words(self.job.brush)

    def _run(self, speeds: tuple[PlanSpeed, PlanSpeed] | None = None) -> LastRun | None:
        """Return what the page remembers of the run; nothing of one that the API asked for."""
        trace = self.answered["reduced"].trace
        said = self.said["full"], self.said["reduced"]
        return LastRun(self.given, self.example, *said, trace, speeds) if self.given else None

    def finish(self, events: Iterable[Event]) -> Duel:
        """Take in all events of a run that is measured, and return it whole."""
        speeds = None
        for event in events:
            self.take(event)
            speeds = event if isinstance(event, Measured) else speeds
        if speeds is None:
            raise ValueError("This run was not measured; make its job with measure=True.")
        return self._duel(speeds.full, speeds.reduced)

    def _duel(self, full: PlanSpeed, reduced: PlanSpeed) -> Duel:
        trace = self.answered["reduced"].trace
        return Duel(self.job.question, self.said["full"], self.said["reduced"], trace, (full, reduced))

    def to_json(self) -> dict[str, Any]:
        """Return the finished run as the API gives it."""
        trace = self.answered["reduced"].trace
        return {
            "full": self.said["full"],
            "reduced": self.said["reduced"],
            "agree": agree(self.said["full"], self.said["reduced"]),
            "tokens": tokens_json(trace),
            "cost": {side: event.cost.to_json() for side, event in self.answered.items()},
            "trace": trace.to_json(),
        }
