"""One function per event of the page: check, run, draw, yield. A request's story starts here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from app import gpu, messages, overlay_clip, screens, views
from app.asking import make_job
from app.checks import MOST_REDUCTION, check_frames, check_method
from app.clips import Choice, open_clip
from app.duration import page_seconds
from app.faults import told
from app.film import Subject
from app.gallery import Example, Gallery
from app.given import CLIP, Given
from app.lastrun import LastRun, recorded_run
from app.media import open_picture
from app.painted import read_brush
from app.plans import Exact, exact_plan, in_words
from app.play import Play
from app.screens import Screen
from app.settings import BUNDLED_MODEL, PAPER_CLIP_REDUCTIONS, PAPER_REDUCTIONS, Settings
from app.slider import slider_rows
from app.zerogpu import ON_ZERO_GPU
from duet_core.errors import DuetError
from duet_core.plan import Size
from duet_core.scenes.actors import FRAMES

Outputs = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything an event needs: what this deployment allows, and the examples."""

    settings: Settings
    gallery: Gallery

    # Examples

    def example_screen(self, example: Example) -> Screen:
        """The recorded run of an example."""
        subject = example.subject
        truth = self.gallery.truth(subject, example.duel.question)
        screen = screens.finished(example.duel, subject, truth, self.gallery.origin)
        return replace(screen, run=self.recorded_run(example))

    def recorded_run(self, example: Example) -> LastRun:
        """What the page remembers of an example's run."""
        return recorded_run(example, self.gallery, self.model_of_examples())

    def take_example(self, event: gr.EventData) -> Outputs:
        """Fill in the chosen picture and its question, and show its recorded run: picture to custom, then `Screen`."""
        example = self.gallery.examples[int(event.number) % len(self.gallery.examples)]
        return (example.subject, *self._asked(example), *self.example_screen(example).outputs)

    def take_clip(self, event: gr.EventData) -> Outputs:
        """Fill in the chosen clip and its question, and show its recorded run: clip to custom, then `Screen`."""
        return self._clip_example(int(event.number))

    def open_clips(self, clip: str | None) -> Outputs:
        """Show the first clip example when the tab of clips opens with none in it; outputs as `take_clip`."""
        return self._clip_example(0) if clip is None else (gr.skip(),) * (9 + len(Screen().outputs))

    def _clip_example(self, number: int) -> Outputs:
        example = self.gallery.clips[number % len(self.gallery.clips)]
        choice = (FRAMES, "Evenly spread", "")
        return (str(example.file), *choice, *self._asked(example), *self.example_screen(example).outputs)

    def _asked(self, example: Example) -> Outputs:
        """Question, reduction, method, model and custom of an example."""
        return (example.duel.question, example.reduction, example.method, self.model_of_examples(), False)

    def model_of_examples(self) -> str:
        """The model that recorded the examples, where this deployment offers it."""
        offered = self.settings.models
        return self.gallery.model if self.gallery.model in offered else offered[0]

    def points(self, medium: str) -> str:
        """The paper's reductions for what is asked about."""
        return views.paper_points(PAPER_CLIP_REDUCTIONS if medium == CLIP else PAPER_REDUCTIONS, MOST_REDUCTION)

    def take_point(self, event: gr.EventData) -> float:
        """Set the slider to one of the paper's reductions."""
        return float(event.number)

    # Uploads

    def picture_changed(self, path: str | None, model: str | None) -> Outputs:
        """Look at a new picture at once: hint, three suggestions, and a notice if it cannot be used."""
        picture, notice = None, ""
        try:
            picture = open_picture(path, self.settings) if path else None
        except DuetError as error:
            notice = messages.sentence(error)
        hint = self._hint(picture, model, messages.KNOWS)
        return (hint, *self.gallery.suggestions(picture, is_clip=False), views.notice(notice))

    def clip_changed(
        self,
        path: str | None,
        count: float,
        rule: str,
        times: str,
        model: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  as Gradio wants it
    ) -> Outputs:
        """Look at a new clip at once: its chosen frames, hint, three suggestions, and a notice if it cannot be used."""
        film, notice = None, ""
        try:
            choice = Choice.of(count, rule, times, self.settings)
            film = open_clip(path, choice, self.settings, lambda share: progress(share)) if path else None
        except DuetError as error:
            notice = messages.sentence(error)
        hint = self._hint(film, model, messages.KNOWS_CLIPS)
        strip = views.frame_strip(overlay_clip.thumbnails(film)) if film else ""
        return (strip, hint, *self.gallery.suggestions(film, is_clip=True), views.notice(notice))

    def _hint(self, subject: Subject | None, model: str | None, knows: str) -> str:
        if subject is None or self.gallery.find(subject) or model != BUNDLED_MODEL:
            return ""
        return views.hint(knows + (messages.FOR_PHOTOS if self.settings.hub else ""))

    # The slider and the folded numbers

    def slider(self, method: str, model: str, medium: str, count: float) -> str:
        """Say what the slider means at every place, for the browser to look up while it moves."""
        return self.slider_of(check_method(method), self._size(model, medium, count))

    def slider_of(self, method: str, size: Size | None) -> str:
        """Say the same of a known method and size, and what asking will take of a visitor's quota if there is one."""
        return slider_rows(method, size, self._cost if ON_ZERO_GPU else None)

    def _cost(self, frames: int, reduction: float) -> str:
        return messages.of_your_gpu_time(page_seconds(frames, reduction, self.settings))

    def preview_exact(self, method: str, model: str, medium: str, count: float, *fields: Any) -> Outputs:
        """Say what the folded fields mean: tokens line, and that they now count instead of the slider."""
        size = self._size(model, medium, count)
        try:
            plan = exact_plan(check_method(method), Exact(*fields))
            words = in_words(plan, size) if size else "as the numbers below say"
        except DuetError as error:
            return views.notice(messages.sentence(error)), True
        return views.tokens_line(words, custom=True), True

    def _size(self, model: str | None, medium: str, count: float) -> Size | None:
        """The size of a model for what is asked about, if it is known without opening it."""
        frames = check_frames(count, self.settings) if medium == CLIP else None
        known = gpu.size_of(model or "", frames)
        return known or (replace(self.gallery.size, frames=frames or 1) if model == self.gallery.model else None)

    # Asking

    def ask_on_page(self, *values: Any) -> Iterator[Outputs]:
        """Run a request of the page: stream both answers, draw the trace, measure; errors become a notice."""
        given = Given(*values)
        try:
            if given.medium == CLIP and given.clip:
                yield Screen(notice="", speed=views.status(messages.WHAT_IS_RUNNING["decoding"])).outputs
            job = self._page_job(given)
        except DuetError as error:
            yield screens.idle(messages.sentence(error)).outputs
            return
        yield screens.started(job.question).outputs
        yield from self._play(job, given)

    def _play(self, job: gpu.Job, given: Given) -> Iterator[Outputs]:
        """Follow a run to its end on the page."""
        example = self.gallery.find(job.subject)
        label = self.gallery.label(example) if example else None
        play = Play(job, self.gallery.truth(job.subject, job.question), given, label)
        try:
            for event in gpu.run(job, self.settings):
                screen = play.show(event)
                if screen:
                    yield screen.outputs
        except Exception as error:
            yield screens.failed(told(error)).outputs
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

    def _page_job(self, given: Given) -> gpu.Job:
        """Return the checked request of the page."""
        plan = exact_plan(check_method(given.method), given.exact) if given.custom else None
        asked = (given.question, given.reduction, given.method, given.model)
        subject, length = self.subject(given), self.length(given)
        brush = read_brush(given.brush, subject)
        return make_job(self.settings, subject, *asked, exact=plan, new_tokens=length, brush=brush)

    def length(self, given: Given) -> int:
        """The longest answer, within what this deployment allows."""
        return max(1, min(int(given.new_tokens or 1), self.settings.new_tokens))

    def subject_of(self, run: LastRun) -> Subject:
        """Open what a run was about; a DuetError says that an upload is gone."""
        example = self.gallery.labelled(run.example) if run.example else None
        return example.subject if example else self.subject(run.given)

    def subject(self, given: Given) -> Subject:
        """Open what the open tab holds."""
        if given.medium != CLIP:
            return open_picture(given.picture, self.settings)
        return open_clip(given.clip, Choice.of(given.count, given.rule, given.times, self.settings), self.settings)
