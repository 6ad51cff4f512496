"""What the result side of the page shows at each moment of a run: pure functions from a run to HTML."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from app import charts, compare, views
from app.duel import Duel
from app.film import Film, Subject
from app.gallery import is_right
from app.messages import WHAT_IS_RUNNING
from app.overlay_clip import overlay_webm
from app.patchmap import map_value
from app.steps import shown_step, step_name
from duet_core.scenes import Question
from duet_core.trace import Trace

FULL_TITLE, REDUCED_TITLE = "All tokens", "Reduced"


@dataclass(frozen=True, slots=True)
class Screen:
    """One update of the page, in the order of the page's outputs; None leaves a part as it is, and unsent."""

    notice: Any = None
    asked: Any = None
    full: Any = None
    reduced: Any = None
    speed: Any = None
    patchmap: Any = None
    overlay: Any = None
    figures: Any = None
    ask: Any = None
    stop: Any = None
    run: Any = None

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The values in the order of the fields."""
        given = (getattr(self, field.name) for field in fields(self))
        return tuple(gr.skip() if value is None else value for value in given)


def idle(text: str = "") -> Screen:
    """No run is under way; a notice says why, if there is something to say."""
    return Screen(notice=views.notice(text), ask=gr.update(interactive=True), stop=gr.update(interactive=False))


def started(question: str) -> Screen:
    """A run begins: the old answers go, the old picture stays until there is a new one."""
    return Screen(
        notice="",
        asked=views.asked(question),
        full=views.answer(FULL_TITLE, "", views.streaming("", done=False)),
        reduced=views.answer(REDUCED_TITLE, "", ""),
        speed=views.status(WHAT_IS_RUNNING["full"]),
        figures="",
        overlay="",
        ask=gr.update(interactive=False),
        stop=gr.update(interactive=True),
    )


def failed(text: str) -> Screen:
    """A run broke off with an error: say so, and leave no caret blinking."""
    rest = idle(text)
    blank = [views.answer(title, "", views.marked(())) for title in (FULL_TITLE, REDUCED_TITLE)]
    return Screen(notice=rest.notice, full=blank[0], reduced=blank[1], speed="", ask=rest.ask, stop=rest.stop)


def answers(texts: tuple[str, str], counts: tuple[str, str], truth: Question | None) -> Screen:
    """Both answers are there: mark what differs and judge both."""
    full, reduced = compare.differing_words(*texts)
    verdicts = [views.verdict(is_right(truth, text), truth.answer if truth else "") for text in texts]
    return Screen(
        full=views.answer(FULL_TITLE, counts[0], views.marked(full), verdicts[0]),
        reduced=views.answer(REDUCED_TITLE, counts[1], views.marked(reduced), verdicts[1]),
    )


def figures(duel: Duel, origin: str) -> Screen:
    """The measured part: the honest sentence and the table."""
    same = compare.agree(duel.full, duel.reduced)
    said = charts.runs_in_words(duel)
    return Screen(
        speed=views.speed(compare.speed_sentence(*duel.speeds, same), origin),
        figures=views.figures(charts.rows(duel), said),
    )


def finished(duel: Duel, subject: Subject, truth: Question | None, origin: str) -> Screen:
    """A whole run at once, as the first screen and a chosen example show it."""
    both = answers((duel.full, duel.reduced), counts(duel), truth)
    measured, rest = figures(duel, origin), idle()
    return Screen(
        notice=rest.notice,
        asked=views.asked(duel.question),
        full=both.full,
        reduced=both.reduced,
        speed=measured.speed,
        patchmap=map_value(subject, duel.trace, duel.question),
        overlay=overlaid(subject, duel.trace),
        figures=measured.figures,
        ask=rest.ask,
        stop=rest.stop,
    )


def overlaid(subject: Subject, trace: Trace) -> str:
    """The overlay clip of a clip's run; nothing for a picture."""
    if not isinstance(subject, Film):
        return ""
    caption = f"{step_name(trace, shown_step(trace))}: what is left of every frame."
    return views.overlay_clip(*overlay_webm(subject, trace), caption)


def counts(duel: Duel) -> tuple[str, str]:
    """Say how many tokens each answer read."""
    return all_count(duel.trace.full), reduced_count(duel.trace.average_tokens, duel.trace.full)


def all_count(full: int) -> str:
    """Say how many tokens the full answer read."""
    return f"{full:,} tokens"


def reduced_count(average: float, full: int) -> str:
    """Say how many tokens the reduced answer read on average."""
    return f"{average:,.0f} of {full:,} tokens on average"
