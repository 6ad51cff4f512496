"""The visitor's side of the page: what can be set, laid out and filled in with the first example."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, get_args

import gradio as gr

from app import views
from app.checks import MOST_REDUCTION
from app.clips import FILE_TYPES, RULES, SafeClip
from app.film import Film, frames_of
from app.gallery import Example
from app.given import CLIP, PICTURE
from app.handlers import Desk
from app.job import PAGE_TOKENS
from app.media import SafePicture
from app.menu import model_choices
from app.plans import EXACT_FIELDS, Exact, exact_of, plan_for
from app.rack import menu
from app.render import data_url
from app.settings import Settings
from duet_core.clips import FEWEST
from duet_core.plan import Queries
from duet_core.scenes.actors import FRAMES

# Tells Python which button inside a piece of HTML was clicked; "choose" is the name of the event.
_CHOOSE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('choose', { number: Number(button.dataset.number) });
});"""
# Holds what is painted on the map, so that it goes along with the next question.
_TAKE_PAINT = "window.addEventListener('duet-brush', (event) => { props.value = event.detail; });"
_THUMB = 120


@dataclass(frozen=True, slots=True)
class Inputs:
    """The components a visitor sets, field by field as in `app.given.Given`."""

    medium: gr.State
    picture: SafePicture
    clip: SafeClip
    count: gr.Slider
    rule: gr.Dropdown
    times: gr.Textbox
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
    brush: gr.HTML

    @property
    def all(self) -> list[Any]:
        """Every component, in order."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def plan_fields(self) -> list[Any]:
        """The six fields that are a plan."""
        return [getattr(self, name) for name in EXACT_FIELDS]

    @property
    def frames(self) -> list[Any]:
        """What chooses the frames of a clip."""
        return [self.count, self.rule, self.times]


@dataclass(frozen=True, slots=True)
class Beside:
    """What else stands on the visitor's side."""

    media: gr.Tabs
    picture_tab: gr.Tab
    clip_tab: gr.Tab
    hint: gr.HTML
    clip_hint: gr.HTML
    strip: gr.HTML
    examples: gr.HTML
    clip_examples: gr.HTML
    suggestions: tuple[gr.Button, ...]
    points: gr.HTML
    tokens: gr.HTML
    rows: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    notice: gr.HTML


def html(value: str = "", **options: Any) -> gr.HTML:
    """A piece of HTML without Gradio's own styles."""
    return gr.HTML(value, apply_default_css=False, **options)


def _buttons(value: str, **options: Any) -> gr.HTML:
    """A piece of HTML whose buttons raise the event "choose" with their number."""
    return gr.HTML(value, js_on_load=_CHOOSE, apply_default_css=False, **options)


def question_side(desk: Desk) -> tuple[Inputs, Beside]:
    """Lay out the visitor's side, filled in with the first example."""
    first, medium = desk.gallery.examples[0], gr.State(PICTURE)
    with gr.Tabs(elem_id="media") as media:
        with gr.Tab("Image", id=PICTURE) as picture_tab:
            picture, hint, examples = _picture_side(desk)
        with gr.Tab("Video", id=CLIP, render_children=True) as clip_tab:
            clip, frames, strip, clip_hint, clip_examples = _clip_side(desk)
    question = gr.Textbox(first.duel.question, label="Question", lines=1, max_lines=3, elem_id="question")
    with gr.Row(elem_id="suggestions"):
        suggestions = tuple(gr.Button(text, size="sm", min_width=60) for text in first.suggested)
    reduction = gr.Slider(
        0, MOST_REDUCTION, first.reduction, step=1, label="Reduction in %", elem_id="reduction", buttons=[]
    )
    points = _buttons(desk.points(PICTURE), elem_id="points")
    plan = plan_for(first.method, first.reduction / 100, desk.gallery.size)
    meaning = desk.slider_of(first.method, desk.gallery.size)
    tokens = html(json.loads(meaning)[round(first.reduction)][0], elem_id="tokens")
    rows = gr.Textbox(meaning, visible="hidden", elem_id="slider-rows")
    method, model = _menus(desk)
    with gr.Row(elem_id="go"):
        ask = gr.Button("Ask", variant="primary", elem_id="ask", scale=3, min_width=120)
        stop = gr.Button("Stop", interactive=False, elem_id="stop", scale=1, min_width=80)
    notice = html(elem_id="notice")
    exact = _exact_fields(desk.settings, exact_of(plan))
    brush = gr.HTML(
        "", html_template="", js_on_load=_TAKE_PAINT, apply_default_css=False, visible="hidden", elem_id="brush"
    )
    given = Inputs(medium, picture, clip, *frames, question, reduction, method, model, *(*exact, brush))
    tabs, hints = (media, picture_tab, clip_tab), (hint, clip_hint)
    beside = Beside(
        *tabs, *hints, strip, examples, clip_examples, suggestions, points, tokens, rows, ask, stop, notice
    )  # fmt: skip
    return given, beside


def _picture_side(desk: Desk) -> tuple[SafePicture, gr.HTML, gr.HTML]:
    """The picture, a hint about it, and the examples."""
    picture = SafePicture(
        label="Picture", type="filepath", image_mode=None, format="png", height=250, elem_id="picture",
        sources=["upload", "clipboard", "webcam"], buttons=["fullscreen"],
    )  # fmt: skip
    hint = html(elem_id="hint")
    examples = _buttons(views.example_buttons(map(_thumb, desk.gallery.examples)), elem_id="examples")
    return picture, hint, examples


def _clip_side(desk: Desk) -> tuple[SafeClip, tuple[gr.Slider, gr.Dropdown, gr.Textbox], gr.HTML, gr.HTML, gr.HTML]:
    """The clip, which of its frames, these frames, a hint about it, and the examples."""
    clip = SafeClip(label="Clip", file_types=FILE_TYPES, height=120, elem_id="clip")
    strip, hint = html(elem_id="frames"), html(elem_id="clip-hint")
    examples = _buttons(views.example_buttons(map(_thumb, desk.gallery.clips), "clip-example"), elem_id="clip-examples")
    with gr.Row(elem_id="frame-choice"):
        count = gr.Slider(
            FEWEST,
            desk.settings.clip_frames,
            FRAMES,
            step=1,
            label="Frames",
            elem_id="count",
            min_width=120,
            buttons=[],
        )
        rule = gr.Dropdown(list(RULES), value=next(iter(RULES)), label="Which frames", elem_id="rule", min_width=130)
    times = gr.Textbox(
        label="Times", info="For “At these times”: seconds or minutes, such as 0.5, 2, 1:03.", elem_id="times",
        visible=False,
    )  # fmt: skip
    return clip, (count, rule, times), strip, hint, examples


def _thumb(example: Example) -> tuple[str, str]:
    """The name and a small picture of an example: of a clip, its middle frame."""
    frames = frames_of(example.subject)
    middle = len(frames) // 2 if isinstance(example.subject, Film) else 0
    return example.name, data_url(frames[middle], "JPEG", _THUMB)


def _menus(desk: Desk) -> tuple[gr.Dropdown, gr.Dropdown]:
    """The method and the model."""
    with gr.Row(elem_id="menus"):
        method = gr.Dropdown(
            menu(), value=desk.gallery.examples[0].method, label="Method", elem_id="method", min_width=130
        )
        model = gr.Dropdown(
            model_choices(desk.settings), value=desk.settings.models[0], label="Model", elem_id="model",
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
                info="Tokens kept as they are in every picture or frame, CLS included; empty keeps all.",
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
            1, settings.new_tokens, min(PAGE_TOKENS, settings.new_tokens), step=1, label="Longest answer",
            info="New tokens at most.", buttons=[],
        )  # fmt: skip
    return custom, dominant, contextual, width, layers, keep, queries, length
