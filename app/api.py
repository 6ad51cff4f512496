"""The public endpoints: their docstrings are the API page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from app import gpu
from app.asking import compare_series, make_job, sweep_series
from app.budgets import came_back, smallest
from app.clips import Choice, SafeClip, open_clip
from app.events import MODEL
from app.fairness import nobody_waits
from app.faults import told
from app.film import Subject
from app.media import SafePicture, open_picture
from app.play import Play
from app.series import Ended, Failed, Outcome, Series, tried
from app.settings import Settings
from app.standings import point_json, row_json
from duet_core.errors import DuetError
from duet_core.scenes.actors import FRAMES

T = TypeVar("T")


class CallerLeft(DuetError):  # noqa: N818  nobody will read it
    """Whoever asked does not wait any more."""


class Names(gr.JSON):
    """A list of names that says so; what `gr.JSON` says of itself is no schema that MCP takes."""

    is_template = True

    def api_info(self) -> dict[str, Any]:
        """Return the schema of a list of names."""
        return {"type": "array", "items": {"type": "string"}, "description": "a list of names"}


@dataclass(frozen=True, slots=True)
class Api:
    """What this deployment answers to programs."""

    settings: Settings

    def ask(self, picture: str | None, question: str, reduction: float, method: str, model: str) -> dict[str, Any]:
        """Ask one question about one picture with all visual tokens and with fewer.

        Args:
            picture: the picture (PNG, JPEG or WebP).
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            method: duet, none for all tokens, or another name that `python -m duet_core methods` lists.
            model: a model of the menu, or a hub name where this deployment allows it.

        Returns:
            full and reduced (the two answers), agree, tokens {full, entering, average, final}, cost, trace.
        """
        return self._answer(lambda: open_picture(picture, self.settings), question, reduction, method, model)

    def ask_clip(
        self, clip: str | None, question: str, reduction: float, method: str, model: str, frames: float
    ) -> dict[str, Any]:
        """Ask one question about one clip with all visual tokens and with fewer.

        Args:
            clip: the clip (MP4, MOV, WebM, AVI, Ogg, GIF or WebP), at most a minute long.
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            method: duet, none for all tokens, or another name that `python -m duet_core methods` lists.
            model: a model of the menu, or a hub name where this deployment allows it.
            frames: how many frames to look at, evenly spread, 4 to 32.

        Returns:
            full and reduced (the two answers), agree, tokens {full, entering, average, final}, cost, trace (the patches
            of one frame after the other).
        """

        def read() -> Subject:
            return open_clip(clip, Choice.of(frames, "uniform", "", self.settings), self.settings)

        return self._answer(read, question, reduction, method, model)

    def compare(
        self, picture: str | None, question: str, reduction: float, methods: list[str] | None, model: str
    ) -> dict[str, Any]:
        """Ask one question about one picture through several methods at one budget.

        Args:
            picture: the picture (PNG, JPEG or WebP).
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            methods: a list of names, such as ["duet"]; all tokens (none), random and uniform always run along.
            model: a model of the menu, or a hub name where this deployment allows it.

        Returns:
            rows, one per method: method, title, full and reduced (the two answers), agree, note (what it reached if
            it could not meet the budget), tokens {full, entering, average, final}, cost, trace; or method, title and
            error.
        """

        def make() -> Series:
            subject = open_picture(picture, self.settings)
            return compare_series(self.settings, subject, question, reduction, methods, model)

        done = self._outcomes(make)
        return {"rows": [row_json(done[0], outcome) for outcome in done]}

    def sweep(self, picture: str | None, question: str, method: str, model: str) -> dict[str, Any]:
        """Ask one question about one picture at budgets from all tokens down to 5 %, then bisect.

        Args:
            picture: the picture (PNG, JPEG or WebP).
            question: the question, at most 500 characters.
            method: the name of a method, such as duet; not none.
            model: a model of the menu, or a hub name where this deployment allows it.

        Returns:
            points in the order they were tried: kept_percent, method, answer, same (as with all tokens), note, tokens,
            cost, or error; smallest, the point of the smallest budget with the unchanged answer, found by bisection,
            which takes for granted that answers hold at every larger budget; came_back, the smaller budgets in percent
            that show the contrary.
        """
        done = self._outcomes(
            lambda: sweep_series(self.settings, open_picture(picture, self.settings), question, method, model)
        )
        points, found = [point_json(done[0], outcome) for outcome in done], smallest(tried(done))
        best = next((point for point in points if point["kept_percent"] == found), None)
        return {"points": points, "smallest": best, "came_back": list(came_back(tried(done)))}

    def _outcomes(self, make: Callable[[], Series]) -> list[Outcome]:
        """Run a series; every error of the whole leaves as one of our sentences."""
        try:
            events = _while_awaited(gpu.run_series(make(), self.settings))
            return [event for event in events if isinstance(event, Ended | Failed)]
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error

    def _answer(self, read: Callable[[], Subject], *asked: Any) -> dict[str, Any]:
        """Run one request; every error leaves as one of our sentences."""
        try:
            job = make_job(self.settings, read(), *asked, measure=False)
            play = Play(job, None)
            for event in _while_awaited(gpu.run(job, self.settings)):
                play.take(event)
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error
        return play.to_json()


def _while_awaited(events: Iterator[T]) -> Iterator[T]:
    """Pass a run's events on; end it where the caller has left, for nobody else would."""
    with closing(events):  # type: ignore[type-var]
        for event in events:
            if nobody_waits():
                raise CallerLeft
            yield event


def add_api(settings: Settings) -> None:
    """Add the endpoints to the page that is being built, on components of their own.

    Those of the page have limits that would answer in other words.
    """
    api = Api(settings)
    picture = SafePicture(label="picture", type="filepath", image_mode=None, visible=False)
    clip = SafeClip(label="clip", visible=False)
    frames = gr.Number(FRAMES, label="frames", visible=False)
    methods = Names(["duet"], label="methods", visible=False)
    question, reduction, method, model = _asked(settings)
    asked = [question, reduction, method, model]
    for answer, name, inputs in (
        (api.ask, "ask", [picture, *asked]),
        (api.ask_clip, "ask_clip", [clip, *asked, frames]),
        (api.compare, "compare", [picture, question, reduction, methods, model]),
        (api.sweep, "sweep", [picture, question, method, model]),
    ):
        gr.Button(visible=False).click(answer, inputs, gr.JSON(label="answer", visible=False), api_name=name, **MODEL)


def _asked(settings: Settings) -> list[Any]:
    """Question, reduction, method and model, which the endpoints share."""
    return [
        gr.Textbox(label="question", visible=False),
        gr.Number(67, label="reduction in percent", visible=False),
        gr.Textbox("duet", label="method", visible=False),
        gr.Textbox(settings.models[0], label="model", visible=False),
    ]
