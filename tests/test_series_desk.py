"""The events of Compare, Sweep and Two questions against the real engine and the bundled model."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from app import gpu, messages, rack
from app.boards import CompareBoard
from app.gallery import load_gallery
from app.handlers import Desk
from app.series_desk import SeriesDesk
from app.settings import Settings
from duet_core.errors import PlanError
from duet_core.methods import METHODS
from tests.test_app_handlers import given

RUN, STOP, NOTICE, STATUS, ASKED, TABLE, FIRST_CARD = range(7)


@pytest.fixture(scope="module")
def tabs() -> SeriesDesk:
    return SeriesDesk(Desk(Settings(device="cpu"), load_gallery()))


@pytest.fixture(scope="module")
def picture(tabs) -> str:
    return str(tabs.desk.gallery.examples[0].file)


def final(events) -> dict[int, Any]:
    """Return what each part of a tab shows at the end."""
    shown: dict[int, Any] = {}
    for outputs in events:
        shown |= {number: value for number, value in enumerate(outputs) if value != gr.skip()}
    return shown


def test_methods_are_compared_and_one_that_fails_leaves_the_others_their_turn(tabs, picture, monkeypatch):
    def too_few(target, size):
        raise PlanError("The budget is 1 and must be larger: raise it.")

    def broken(target, size):
        raise RuntimeError("a secret")

    monkeypatch.setattr(METHODS["duet"], "schedule", staticmethod(too_few))
    monkeypatch.setattr(METHODS["random"], "schedule", staticmethod(broken))
    shown = final(tabs.compare_on_page(["duet"], *given(picture)))
    cards = [shown[number] for number in range(FIRST_CARD, FIRST_CARD + 4)]
    names = ("none", "duet", "random", "uniform")
    assert all(rack.title(name) in card for name, card in zip(names, cards, strict=True))
    assert "must be larger: raise it." in cards[1] and messages.FAILED in cards[2]
    assert "<img" in cards[0] and "<img" in cards[3] and "a secret" not in str(shown)
    assert shown[TABLE].count('class="failed"') == 2
    assert messages.finished_series(2, 2) in shown[STATUS]
    assert shown[RUN]["interactive"] and not shown[STOP]["interactive"]


def test_closing_a_series_stops_it_inside_an_answer_and_frees_the_model(tabs, picture):
    run = tabs.compare_on_page([], *given(picture, "What is in the picture?"))
    for outputs in run:
        if "2 of 3 ..." in str(outputs[STATUS]):
            break
    assert gpu._running.locked()
    run.close()
    assert not gpu._running.locked()
    assert messages.STOPPED_SERIES in tabs.stopped(CompareBoard.parts)[STATUS]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (lambda tabs, path: tabs.compare_on_page(["duet"], *given(None)), "no picture yet"),
        (lambda tabs, path: tabs.compare_on_page(["magic"], *given(path)), "no method"),
        (lambda tabs, path: tabs.sweep_on_page(*given(path, method="none")), "nothing to sweep"),
        (lambda tabs, path: tabs.two_on_page("", *given(path)), "no question yet"),
        (lambda tabs, path: tabs.two_on_page("Why?", *given(path, reduction=99)), "from 0 to 95"),
    ],
)
def test_a_bad_request_is_one_notice_and_leaves_the_tab_ready(tabs, picture, event, words):
    shown = final(event(tabs, picture))
    assert words in shown[NOTICE] and shown[RUN]["interactive"] and not shown[STATUS]
