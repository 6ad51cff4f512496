"""The page: layout and event wiring only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args

import gradio as gr

from app import views
from app.checks import MOST_REDUCTION
from app.gallery import Gallery
from app.handlers import Desk
from app.media import SafePage, SafePicture
from app.patchmap import PatchMap
from app.plans import Exact, exact_of, in_words, plan_for
from app.render import data_url
from app.settings import PAPER_REDUCTIONS, Settings
from duet_core.methods import METHODS
from duet_core.plan import Queries

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
# Tells Python which button inside a piece of HTML was clicked; "choose" is the name of the event.
_CHOOSE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('choose', { number: Number(button.dataset.number) });
});"""
HEADER = """<header class="masthead"><h1>DUET <em>Lens</em></h1>
<p>Ask about a picture, then pull the slider: see which patches the model stops looking at, stage by stage,
and whether the answer and the clock care.</p></header>"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The components a visitor sets, in the order in which `Desk.ask_on_page` takes them."""

    picture: SafePicture
    question: gr.Textbox
    reduction: gr.Slider
    method: gr.Dropdown
    model: gr.Dropdown
    custom: gr.Checkbox
    dominant: gr.Number
    contextual: gr.Number
    cluster_width: gr.Number
    layers: gr.Textbox
    keep: gr.Textbox
    queries: gr.Dropdown
    new_tokens: gr.Slider

    @property
    def all(self) -> list[Any]:
        """Every component, in order."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def plan_fields(self) -> list[Any]:
        """The six fields that are a plan."""
        return self.all[6:12]


@dataclass(frozen=True, slots=True)
class Beside:
    """What else stands on the visitor's side."""

    hint: gr.HTML
    examples: gr.HTML
    suggestions: tuple[gr.Button, ...]
    points: gr.HTML
    tokens: gr.HTML
    ask: gr.Button
    stop: gr.Button
    notice: gr.HTML


def build(settings: Settings, gallery: Gallery) -> gr.Blocks:
    """Return the whole page, ready to launch."""
    desk = Desk(settings, gallery)
    with SafePage(title="DUET Lens", fill_width=True, delete_cache=(600, 1800), analytics_enabled=False) as page:
        _html(HEADER, elem_id="masthead")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=320, elem_id="ask-side"):
                given, beside = _question_side(desk)
            with gr.Column(scale=8, min_width=320, elem_id="result-side"):
                shown = _result_side(desk)
        _wire(page, desk, given, beside, [beside.notice, *shown, beside.ask, beside.stop])
        _add_api(desk)
    page.queue(max_size=settings.queue, default_concurrency_limit=1)
    return page


def _html(value: str = "", **options: Any) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, **options)


def _buttons(value: str, **options: Any) -> gr.HTML:
    """A piece of HTML whose buttons raise the event "choose" with their number."""
    return gr.HTML(value, js_on_load=_CHOOSE, apply_default_css=False, **options)


def _question_side(desk: Desk) -> tuple[Inputs, Beside]:
    """Lay out the visitor's side, filled in with the first example."""
    first = desk.gallery.examples[0]
    picture = SafePicture(
        label="Picture", type="filepath", image_mode=None, format="png", height=250, elem_id="picture",
        sources=["upload", "clipboard", "webcam"], buttons=["fullscreen"],
    )  # fmt: skip
    hint = _html(elem_id="hint")
    thumbs = [(example.name, data_url(example.picture, "JPEG", 120)) for example in desk.gallery.examples]
    examples = _buttons(views.example_buttons(thumbs), elem_id="examples")
    question = gr.Textbox(first.duel.question, label="Question", lines=1, max_lines=3, elem_id="question")
    with gr.Row(elem_id="suggestions"):
        suggestions = tuple(gr.Button(text, size="sm", min_width=60) for text in first.suggested)
    reduction = gr.Slider(
        0, MOST_REDUCTION, first.reduction, step=1, label="Reduction in %", elem_id="reduction", buttons=[]
    )
    points = _buttons(views.paper_points(PAPER_REDUCTIONS, MOST_REDUCTION), elem_id="points")
    plan = plan_for(first.method, first.reduction / 100, desk.gallery.size)
    tokens = _html(views.tokens_line(in_words(plan, desk.gallery.size)), elem_id="tokens")
    method, model = _menus(desk)
    with gr.Row(elem_id="go"):
        ask = gr.Button("Ask", variant="primary", elem_id="ask", scale=3, min_width=120)
        stop = gr.Button("Stop", interactive=False, elem_id="stop", scale=1, min_width=80)
    notice = _html(elem_id="notice")
    exact = _exact_fields(desk.settings, exact_of(plan))
    given = Inputs(picture, question, reduction, method, model, *exact)
    return given, Beside(hint, examples, suggestions, points, tokens, ask, stop, notice)


def _menus(desk: Desk) -> tuple[gr.Dropdown, gr.Dropdown]:
    """The method and the model."""
    titles = [(method.title, name) for name, method in METHODS.items()]
    with gr.Row(elem_id="menus"):
        method = gr.Dropdown(
            titles, value=desk.gallery.examples[0].method, label="Method", elem_id="method", min_width=130
        )
        model = gr.Dropdown(
            list(desk.settings.models), value=desk.settings.models[0], label="Model", elem_id="model",
            allow_custom_value=desk.settings.hub, min_width=130,
        )  # fmt: skip
    return method, model


def _exact_fields(settings: Settings, shown: Exact) -> tuple[Any, ...]:
    """The folded numbers of the plan, each with one line of help, and the longest answer."""
    with gr.Accordion("Exact numbers", open=False, elem_id="exact"):
        custom = gr.Checkbox(
            False, label="Use these instead of the slider", info="Switches on when you edit a number below."
        )
        with gr.Row():
            dominant = gr.Number(
                shown.dominant, label="Dominant", precision=0, min_width=120,
                info="Tokens kept as they are, CLS included; empty keeps all.",
            )  # fmt: skip
            contextual = gr.Number(
                shown.contextual, label="Contextual", precision=0, min_width=120,
                info="Tokens merged from what is not dominant.",
            )  # fmt: skip
        with gr.Row():
            layers = gr.Textbox(
                shown.layers, label="Layers", min_width=120, info="Prune before these layers, counted from 0."
            )
            keep = gr.Textbox(
                shown.keep, label="Keep ratios", min_width=120, info="Share of the entering tokens left there."
            )
        with gr.Row():
            width = gr.Number(
                shown.cluster_width, label="Cluster width", precision=0, min_width=120,
                info="Patches pooled per contextual token.",
            )  # fmt: skip
            queries = gr.Dropdown(
                list(get_args(Queries)), value=shown.queries, label="Query words", min_width=120,
                info="Whose attention ranks the tokens.",
            )  # fmt: skip
        length = gr.Slider(
            1, settings.new_tokens, min(64, settings.new_tokens), step=1, label="Longest answer",
            info="New tokens at most.", buttons=[],
        )  # fmt: skip
    return custom, dominant, contextual, width, layers, keep, queries, length


def _result_side(desk: Desk) -> list[Any]:
    """Lay out the result, filled in with the first example's recorded run; the order is `Screen`'s."""
    first = desk.example_screen(desk.gallery.examples[0])
    asked = _html(first.asked, elem_id="asked")
    with gr.Row(elem_id="answers", equal_height=True):
        full = _html(first.full, elem_id="answer-full")
        reduced = _html(first.reduced, elem_id="answer-reduced")
    speed = _html(first.speed, elem_id="speed")
    patchmap = PatchMap(first.patchmap, elem_id="patchmap")
    figures = _html(first.figures, elem_id="figures")
    return [asked, full, reduced, speed, patchmap, figures]


def _wire(page: gr.Blocks, desk: Desk, given: Inputs, beside: Beside, result: list[Any]) -> None:
    """Connect every event of the page to its handler."""
    page.load(desk.first_picture, None, given.picture, **LIGHT)
    run = gr.on(
        [beside.ask.click, given.question.submit], desk.ask_on_page, given.all, result,
        concurrency_id="gpu", concurrency_limit=1, show_progress="minimal", show_progress_on=result[4], **PRIVATE,
    )  # fmt: skip
    beside.stop.click(desk.stopped, result[2:4], result, cancels=[run], **LIGHT)
    slider: list[Any] = [given.reduction, given.method, given.model]
    previewed = [beside.tokens, given.custom, *given.plan_fields]
    filled = [given.picture, given.question, given.reduction, given.method, given.model, given.custom]
    chosen = beside.examples.choose(desk.take_example, None, [*filled, *result], cancels=[run], **LIGHT)
    chosen.then(desk.preview, slider, previewed, **LIGHT)
    beside.points.choose(desk.take_point, None, given.reduction, **LIGHT)
    gr.on(
        [component.change for component in slider], desk.preview, slider, previewed, trigger_mode="always_last", **LIGHT
    )
    gr.on(
        [field.input for field in given.plan_fields], desk.preview_exact,
        [given.method, given.model, *given.plan_fields],
        [beside.tokens, given.custom], trigger_mode="always_last", **LIGHT,
    )  # fmt: skip
    about = [beside.hint, *beside.suggestions, beside.notice]
    gr.on(
        [given.picture.change, given.model.change], desk.picture_changed, [given.picture, given.model], about, **LIGHT
    )
    for button in beside.suggestions:
        button.click(lambda text: text, button, given.question, **LIGHT)


def _add_api(desk: Desk) -> None:
    """The one public endpoint, on components of its own: theirs are no limits that would answer in other words."""
    inputs = [
        SafePicture(label="picture", type="filepath", image_mode=None, visible=False),
        gr.Textbox(label="question", visible=False),
        gr.Number(67, label="reduction in percent", visible=False),
        gr.Textbox("duet", label="method", visible=False),
        gr.Textbox(desk.settings.models[0], label="model", visible=False),
    ]
    gr.Button(visible=False).click(
        desk.ask_api, inputs, gr.JSON(visible=False), api_name="ask", concurrency_id="gpu", concurrency_limit=1
    )
