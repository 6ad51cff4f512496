"""The page: layout and event wiring only."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.api import add_api
from app.clips import RULES
from app.events import LIGHT, ON_GPU, PRIVATE
from app.gallery import Gallery
from app.given import CLIP, PICTURE
from app.handlers import Desk
from app.inputs import Beside, Inputs, html, question_side
from app.keep import keep_row, open_links
from app.patchmap import PatchMap
from app.safepage import SafePage
from app.settings import Settings
from app.slider import FOLLOW, FOLLOW_UNLESS_EXACT
from app.tabs import series_tabs

FOLLOWING: dict[str, Any] = {"js": FOLLOW, **LIGHT}
TELL = "() => {{ window.dispatchEvent(new CustomEvent('{}')); }}"
HEADER = """<header class="masthead"><h1>DUET <em>Lens</em></h1>
<p>Ask about a picture or a clip, then pull the slider: see which patches the model stops looking at, stage by stage,
and whether the answer and the clock care.</p></header>"""


def build(settings: Settings, gallery: Gallery) -> gr.Blocks:
    """Return the whole page, ready to launch."""
    desk = Desk(settings, gallery)
    with SafePage(
        title="DUET Lens", fill_width=True, delete_cache=(60, 60 * settings.keep_minutes), analytics_enabled=False
    ) as page:
        html(HEADER, elem_id="masthead")
        from_link = html(elem_id="link-notice", elem_classes="maybe")
        last = gr.State(None)  # set when the page opens; a visitor whose state was given up has none
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=320, elem_id="ask-side"):
                given, beside = question_side(desk)
            with gr.Column(scale=8, min_width=320, elem_id="result-side"), gr.Tabs(elem_id="views") as views:
                with gr.Tab("Ask", elem_id="ask-tab"):
                    shown = _result_side(desk)
                    keep_row(desk, given, last)
                follow = series_tabs(desk, given, last, views)
        result = [beside.notice, *shown, beside.ask, beside.stop, last]
        run = _wire_asking(desk, given, beside, result)
        for event in (run, *_wire_examples(desk, given, beside, result, run)):
            event.then(*follow, **LIGHT)  # a state that changes outside the queue tells nobody
        open_links(page, desk, given, beside, from_link, result)
        _wire_uploads(desk, given, beside)
        _wire_slider(desk, given, beside)
        add_api(settings)
    page.queue_fairly(settings)
    return page


def _result_side(desk: Desk) -> list[Any]:
    """Lay out the result, filled in with the first example's recorded run; the order is `Screen`'s."""
    first = desk.example_screen(desk.gallery.examples[0])
    asked = html(first.asked, elem_id="asked")
    with gr.Row(elem_id="answers", equal_height=True):
        full = html(first.full, elem_id="answer-full")
        reduced = html(first.reduced, elem_id="answer-reduced")
    speed = html(first.speed, elem_id="speed")
    patchmap = PatchMap(first.patchmap, elem_id="patchmap")
    overlay = html(first.overlay, elem_id="overlay")
    figures = html(first.figures, elem_id="figures")
    return [asked, full, reduced, speed, patchmap, overlay, figures]


def _wire_asking(desk: Desk, given: Inputs, beside: Beside, result: list[Any]) -> Any:
    """Connect Ask and Stop; returns the event of a run, so that others can cancel it."""
    asking = [beside.ask.click, given.question.submit]
    gr.on(asking, None, js=TELL.format("duet-asked"), **LIGHT)
    run = gr.on(
        asking, desk.ask_on_page, given.all, result,
        show_progress_on=result[4], **ON_GPU,
    )  # fmt: skip
    beside.stop.click(desk.stopped, result[2:4], result, cancels=[run], **LIGHT)
    return run


def _wire_examples(desk: Desk, given: Inputs, beside: Beside, result: list[Any], run: Any) -> list[Any]:
    """Connect the examples, of which taking one cancels a run; returns the events that bring another run."""
    asked = [given.question, given.reduction, given.method, given.model, given.custom]
    clip, opened = [given.clip, *given.frames, *asked, *result], [given.medium, beside.points]
    events = [
        beside.examples.choose(desk.take_example, None, [given.picture, *asked, *result], cancels=[run], **LIGHT),
        beside.clip_examples.choose(desk.take_clip, None, clip, cancels=[run], **LIGHT),
        beside.picture_tab.select(lambda: (PICTURE, desk.points(PICTURE)), None, opened, **LIGHT),
        beside.clip_tab.select(lambda: (CLIP, desk.points(CLIP)), None, opened, **LIGHT).then(
            desk.open_clips, given.clip, clip, **LIGHT
        ),
    ]
    taken, filled = _followed(given, beside)
    unless: dict[str, Any] = {"js": FOLLOW_UNLESS_EXACT, **LIGHT}
    for event in events:
        drawn = event.then(desk.slider, _menus(given), beside.rows, **LIGHT)
        drawn.then(None, [given.custom, beside.tokens, *taken], filled, **unless)
    for button in beside.suggestions:
        button.click(lambda text: text, button, given.question, **LIGHT)
    return events


def _wire_uploads(desk: Desk, given: Inputs, beside: Beside) -> None:
    """Connect what looks at a new picture or clip at once."""
    about = [*beside.suggestions, beside.notice]
    gr.on(
        [given.picture.change, given.model.change, beside.picture_tab.select], desk.picture_changed,
        [given.picture, given.model], [beside.hint, *about], **LIGHT,
    )  # fmt: skip
    gr.on(
        [given.clip.change, given.count.change, given.rule.change, given.times.submit, beside.clip_tab.select],
        desk.clip_changed, [given.clip, *given.frames, given.model],
        [beside.strip, beside.clip_hint, *about], trigger_mode="always_last", show_progress_on=beside.strip,
        concurrency_limit=4, **PRIVATE,
    )  # fmt: skip
    other = [field.change for field in (given.picture, given.clip, given.model, given.count, given.rule)]
    tabs = [beside.picture_tab.select, beside.clip_tab.select]
    gr.on([*other, *tabs], None, js=TELL.format("duet-other-subject"), **LIGHT)
    gr.on([given.question.change, given.times.change], None, js=TELL.format("duet-other-question"), **LIGHT)
    timed = list(RULES)[-1]
    given.rule.change(lambda rule: gr.update(visible=rule == timed), given.rule, given.times, **LIGHT)


def _wire_slider(desk: Desk, given: Inputs, beside: Beside) -> None:
    """Keep the slider, the count in words and the folded numbers in step."""
    followed = _followed(given, beside)
    pointed = beside.points.choose(desk.take_point, None, given.reduction, **LIGHT)
    pointed.then(None, *followed, **FOLLOWING)
    gr.on(  # what a visitor does; a link, for one, sets the menus and exact numbers beside them
        [given.method.input, given.model.input, given.count.input],
        desk.slider, _menus(given), beside.rows, trigger_mode="always_last", **LIGHT,
    ).then(None, *followed, **FOLLOWING)  # fmt: skip
    given.reduction.input(None, *followed, trigger_mode="multiple", **FOLLOWING)
    gr.on(
        [field.input for field in given.plan_fields], desk.preview_exact, [*_menus(given), *given.plan_fields],
        [beside.tokens, given.custom], trigger_mode="always_last", **LIGHT,
    )  # fmt: skip


def _menus(given: Inputs) -> list[Any]:
    """What decides what the slider means."""
    return [given.method, given.model, given.medium, given.count]


def _followed(given: Inputs, beside: Beside) -> tuple[list[Any], list[Any]]:
    """What `FOLLOW` takes and what it fills in, all in the browser."""
    taken = [given.reduction, given.method, beside.rows, *given.plan_fields]
    return taken, [beside.tokens, given.custom, *given.plan_fields]
