"""One function per event of the page: check, run, draw, yield. A request's story starts here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from app import gpu, messages, screens, views
from app.checks import check_method, check_model, check_question, check_reduction
from app.gallery import Example, Gallery
from app.media import open_picture
from app.plans import Exact, exact_of, exact_plan, in_words, plan_for
from app.play import Play
from app.screens import Screen
from app.settings import BUNDLED_MODEL, Settings
from duet_core.errors import DuetError
from duet_core.plan import Size

Outputs = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything an event needs: what this deployment allows, and the examples."""

    settings: Settings
    gallery: Gallery

    def example_screen(self, example: Example) -> Screen:
        """The recorded run of an example."""
        truth = self.gallery.truth(example.picture, example.duel.question)
        return screens.finished(example.duel, example.picture, truth, self.gallery.origin)

    def first_picture(self) -> Image.Image:
        """Put the first example's picture into the input when the page opens."""
        return self.gallery.examples[0].picture

    def take_example(self, event: gr.EventData) -> Outputs:
        """Fill in the chosen example (picture to custom, as in `Inputs`) and show its recorded run."""
        example = self.gallery.examples[int(event.number) % len(self.gallery.examples)]
        asked = (example.picture, example.duel.question, example.reduction, example.method)
        return (*asked, self._model_of_examples(), False, *self.example_screen(example).outputs)

    def _model_of_examples(self) -> str:
        """The model that recorded the examples, where this deployment offers it."""
        offered = self.settings.models
        return self.gallery.model if self.gallery.model in offered else offered[0]

    def take_point(self, event: gr.EventData) -> float:
        """Set the slider to one of the paper's reductions."""
        return float(event.number)

    def picture_changed(self, path: str | None, model: str | None) -> Outputs:
        """Look at a new picture at once: hint, three suggestions, and a notice if it cannot be used."""
        picture, notice = None, ""
        try:
            picture = open_picture(path, self.settings) if path else None
        except DuetError as error:
            notice = messages.sentence(error)
        return (self._hint(picture, model), *self.gallery.suggestions(picture), views.notice(notice))

    def _hint(self, picture: Image.Image | None, model: str | None) -> str:
        if picture is None or self.gallery.find(picture) or model != BUNDLED_MODEL:
            return ""
        return views.hint(messages.KNOWS + (messages.FOR_PHOTOS if self.settings.hub else ""))

    def preview(self, reduction: float, method: str, model: str) -> Outputs:
        """Say what the slider means, and put its plan into the folded fields: tokens line, custom, six fields."""
        size = self._size(model)
        if size is None:
            left = views.tokens_line(f"{100 - reduction:.0f} % of the model's tokens on average")
            return (left, False, *[gr.skip()] * 6)
        plan = plan_for(check_method(method), check_reduction(reduction), size)
        return (views.tokens_line(in_words(plan, size)), False, *_fields(exact_of(plan)))

    def preview_exact(self, method: str, model: str, *fields: Any) -> Outputs:
        """Say what the folded fields mean: tokens line, and that they now count instead of the slider."""
        size = self._size(model)
        try:
            plan = exact_plan(check_method(method), Exact(*fields))
            words = in_words(plan, size) if size else "as the numbers below say"
        except DuetError as error:
            return views.notice(messages.sentence(error)), True
        return views.tokens_line(words, custom=True), True

    def _size(self, model: str | None) -> Size | None:
        """The size of a model, if it is known without opening it."""
        known = gpu.size_of(model or "")
        return known or (self.gallery.size if model == self.gallery.model else None)

    def ask_on_page(
        self, path: str | None, question: str, reduction: float, method: str, model: str, custom: bool, *exact: Any
    ) -> Iterator[Outputs]:
        """Run a request of the page: stream both answers, draw the trace, measure; errors become a notice."""
        try:
            job = self._page_job(path, question, reduction, method, model, custom, *exact)
        except DuetError as error:
            yield screens.idle(messages.sentence(error)).outputs
            return
        yield screens.started(job.question).outputs
        yield from self._play(job)

    def _play(self, job: gpu.Job) -> Iterator[Outputs]:
        """Follow a run to its end on the page."""
        play = Play(job, self.gallery.truth(job.picture, job.question))
        try:
            for event in gpu.run(job, self.settings):
                screen = play.show(event)
                if screen:
                    yield screen.outputs
        except Exception as error:
            _log(error)
            yield screens.failed(messages.sentence(error)).outputs
        else:
            yield screens.idle().outputs

    def stopped(self, full: str, reduced: str) -> Outputs:
        """Say that the run was stopped; what was said so far stays."""
        return Screen(
            full=views.stilled(full),
            reduced=views.stilled(reduced),
            notice=views.notice(messages.STOPPED),
            speed=views.hint("No figures: the run was stopped before it was measured."),
            ask=gr.update(interactive=True),
            stop=gr.update(interactive=False),
        ).outputs

    def ask_api(self, picture: str | None, question: str, reduction: float, method: str, model: str) -> dict[str, Any]:
        """Ask one question about one picture with all visual tokens and with fewer.

        Args:
            picture: the picture (PNG, JPEG or WebP).
            question: the question, at most 500 characters.
            reduction: percentage of visual tokens to save on average over the layers, 0 to 95.
            method: duet, random, uniform or none.
            model: a model of the menu, or a hub name where this deployment allows it.

        Returns:
            full and reduced (the two answers), agree, tokens {full, entering, average, final}, cost, trace.
        """
        try:
            job = self._job(picture, question, reduction, method, model, measure=False)
            play = Play(job, None)
            for event in gpu.run(job, self.settings):
                play.take(event)
        except Exception as error:
            _log(error)
            raise gr.Error(messages.sentence(error), print_exception=False) from error
        return play.to_json()

    def _job(self, path: str | None, question: str, reduction: float, method: str, model: str, **more: Any) -> gpu.Job:
        """Return the checked request; a DuetError says in one sentence what is wrong with it."""
        return gpu.Job(
            picture=open_picture(path, self.settings),
            question=check_question(question, self.settings),
            reduction=check_reduction(reduction),
            method=check_method(method),
            model=check_model(model, self.settings),
            **more,
        )

    def _page_job(
        self, path: str | None, question: str, reduction: float, method: str, model: str, custom: bool, *exact: Any
    ) -> gpu.Job:
        """Return the checked request of the page; `exact` is the six plan fields and the longest answer."""
        *fields, new_tokens = exact
        plan = exact_plan(check_method(method), Exact(*fields)) if custom else None
        length = max(1, min(int(new_tokens or 1), self.settings.new_tokens))
        return self._job(path, question, reduction, method, model, exact=plan, new_tokens=length)


def _fields(exact: Exact) -> Outputs:
    return (exact.dominant, exact.contextual, exact.cluster_width, exact.layers, exact.keep, exact.queries)


def _log(error: Exception) -> None:
    """Log what was not foreseen, without picture, question or address; the visitor's own mistakes are not logged."""
    if not isinstance(error, DuetError):
        logging.getLogger(__name__).error("A request failed.", exc_info=error)
