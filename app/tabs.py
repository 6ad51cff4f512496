"""The tabs beside Ask: layout and wiring; what they ask about is what the page holds on its left."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from app import messages, scorecard, views
from app.boards import CompareBoard, SweepBoard, TwoBoard
from app.events import LIGHT, ON_GPU, QUICK
from app.handlers import Desk
from app.inputs import Inputs, html
from app.patchmap import ASSETS
from app.rack import BASELINE, choices, menu
from app.score_desk import BUDGETS, SUBJECTS, ScoreDesk
from app.series_desk import SeriesDesk
from app.sitting import FEWEST, MOST
from app.walk import SCRIPT, WALK, WalkDesk

_CHOSEN = 3  # methods that are chosen when the page opens
_EXAMINED, _AT, _QUESTIONS = ["duet", "random"], ["67%", "89%"], 40  # what the scorecard opens with


def series_tabs(desk: Desk, given: Inputs, last: gr.State, all_tabs: gr.Tabs) -> tuple[Any, ...]:
    """Lay out and connect the tabs, inside a gr.Tabs; returns what follows each new run: function, inputs, outputs."""
    tabs = SeriesDesk(desk)
    first = desk.gallery.examples[0]
    with gr.Tab("Compare", elem_id="compare-tab"):
        html(views.hint(messages.COMPARE_INTRO))
        methods = gr.Dropdown(
            choices(), value=[name for _, name in choices()[:_CHOSEN]], multiselect=True, label="Methods",
            info="As many as you like; each takes its turn.", elem_id="compare-methods",
        )  # fmt: skip
        _bench("compare", "Compare", tabs, tabs.compare_on_page, [methods, *given.all], _compare_parts)
    with gr.Tab("Sweep", elem_id="sweep-tab"):
        html(views.hint(messages.SWEEP_INTRO))
        _bench("sweep", "Sweep", tabs, tabs.sweep_on_page, given.all, _sweep_parts)
    with gr.Tab("Two questions", elem_id="two-tab"):
        html(views.hint(messages.TWO_INTRO))
        second = gr.Textbox(first.suggested[-1], label="Question B", max_lines=3, elem_id="two-question")
        _bench("two", "Ask both", tabs, tabs.two_on_page, [second, *given.all], _two_parts)
    with gr.Tab("Scorecard", elem_id="scorecard-tab"):
        _scorecard(tabs, ScoreDesk(desk), given)
    with gr.Tab(WALK, elem_id="walk-tab") as walk_tab:
        return _walk(WalkDesk(desk), all_tabs, walk_tab, last)


def _walk(desk: WalkDesk, all_tabs: gr.Tabs, own: gr.Tab, last: gr.State) -> tuple[Any, ...]:
    """The five steps, drawn when their tab opens, and while it is open for each new run."""
    shown, opened = html(elem_id="walk", js_on_load=SCRIPT), gr.State("")
    all_tabs.select(_opened, None, opened, **LIGHT)
    own.select(desk.draw, last, shown, **QUICK)
    return desk.redraw, [last, opened], shown


def _opened(event: gr.SelectData) -> str:
    return str(event.value)


def _scorecard(tabs: SeriesDesk, desk: ScoreDesk, given: Inputs) -> None:
    """What to examine, the live run, and beside it the stored run and the paper's figures."""
    html(views.hint(messages.SCORE_INTRO))
    known = [entry for entry in menu() if entry[1] != BASELINE]
    methods = gr.Dropdown(known, value=_EXAMINED, multiselect=True, label="Methods", elem_id="score-methods")
    with gr.Row(elem_id="score-choice"):
        subject = gr.Radio(list(SUBJECTS), value=next(iter(SUBJECTS)), label="Scenes", elem_id="score-subject")
        budgets = gr.CheckboxGroup(list(BUDGETS), value=_AT, label="Tokens saved", elem_id="score-budgets")
        many = gr.Slider(
            FEWEST, MOST, _QUESTIONS, step=10, label="Questions", elem_id="score-questions", buttons=[], min_width=160
        )
    asked = [methods, budgets, subject, many, given.model]
    _bench("score", "Examine", tabs, desk.run_on_page, asked, _score_parts)
    with gr.Column(elem_id="score-beside", elem_classes="cards"):
        stored = html(desk.stored_on_page(next(iter(SUBJECTS))), elem_id="score-stored")
        html(scorecard.paper_card(), elem_id="score-paper")
    subject.change(desk.stored_on_page, subject, stored, **QUICK)


def _bench(
    name: str, label: str, tabs: SeriesDesk, run: Callable[..., Any], inputs: list[Any], lay_out: Callable[[], list]
) -> None:
    """One tab's buttons, notice, status and own parts; run and stop them."""
    with gr.Row(elem_classes="go"):
        button = gr.Button(label, variant="primary", elem_id=f"{name}-run", scale=3, min_width=120)
        stop = gr.Button("Stop", interactive=False, elem_id=f"{name}-stop", scale=1, min_width=80)
    notice = html(elem_id=f"{name}-notice", elem_classes="maybe")
    status = html(elem_id=f"{name}-status", elem_classes="maybe")
    parts = lay_out()
    outputs = [button, stop, notice, status, *parts]
    running = button.click(run, inputs, outputs, show_progress_on=status, **ON_GPU)
    stopped = partial(tabs.stopped, len(parts))
    # Said twice: what the run had sent before it was cancelled may arrive after the first time.
    stop.click(stopped, None, outputs, cancels=[running], **LIGHT).then(stopped, None, outputs, **LIGHT)


def _compare_parts() -> list[gr.HTML]:
    asked, table = _part("compare-asked"), sortable("compare-table")
    with gr.Column(elem_id="compare-maps", elem_classes="cards"):
        return [asked, table, *(_part(f"compare-card-{n}") for n in range(1, CompareBoard.parts - 1))]


def _sweep_parts() -> list[gr.HTML]:
    names = ("sweep-asked", "sweep-found", "sweep-plot")[: SweepBoard.parts - 1]
    return [*map(_part, names), sortable("sweep-table")]


def _two_parts() -> list[gr.HTML]:
    with gr.Column(elem_id="two-maps", elem_classes="cards"):
        return [_part(name) for name in ("two-a", "two-b", "two-difference")[: TwoBoard.parts]]


def _score_parts() -> list[gr.HTML]:
    return [_part("score-plot"), _part("score-note"), sortable("score-table")]


def _part(name: str) -> gr.HTML:
    """A part that takes no room while it is empty."""
    return html(elem_id=name, elem_classes="maybe")


def sortable(name: str) -> gr.HTML:
    """A table whose headings sort it."""
    script = (ASSETS / "table.js").read_text(encoding="utf-8")
    return html(elem_id=name, elem_classes="maybe", js_on_load=script)
