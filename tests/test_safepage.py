"""What an event leaves as it is costs nothing, and reaches the page as Gradio itself would say it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import gradio as gr
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState
from hypothesis import given
from hypothesis import strategies as st

from app.safepage import SafePage

SAID = st.sampled_from(["", "new", gr.skip(), gr.update(value="set"), gr.update(visible=False)])
REMEMBERED = st.sampled_from([{"some": "state"}, None, gr.skip()])


@pytest.fixture(scope="module")
def loop() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own."""
    with start_blocking_portal() as portal:
        yield portal


@cache
def page_of(kind: type[gr.Blocks], count: int = 4) -> tuple[gr.Blocks, BlockFunction]:
    """Return a page with three texts and what it remembers, and its one event, of which the first so many come out."""
    with kind(analytics_enabled=False) as page:
        outputs: list[Any] = [gr.HTML("old", elem_id=f"text-{number}") for number in range(3)]
        outputs.append(gr.State("before"))
        gr.Button().click(lambda: None, None, outputs[:count])
    return page, page.fns[0]


def came_out(
    loop: BlockingPortal, kind: type[gr.Blocks], predictions: Any, count: int = 4
) -> tuple[list[Any], list[Any]]:
    """Return what reaches the page, and what a new visitor's session remembers then."""
    page, event = loop.call(page_of, kind, count)  # Gradio leaves a loop open where none runs
    state = SessionState(page)
    sent = loop.call(page.postprocess_data, event, deepcopy(predictions), state)  # Gradio empties updates
    for value in sent:
        if isinstance(value, dict) and value.get("props") == gr.skip():
            del value["props"]  # an update of nothing inside an update
    return sent, [state[block._id] for block in event.outputs if block.stateful]


@given(predictions=st.tuples(SAID, SAID, SAID, REMEMBERED))
def test_what_comes_out_is_what_gradio_itself_would_send(loop, predictions):
    assert came_out(loop, SafePage, list(predictions)) == came_out(loop, gr.Blocks, list(predictions))


@given(value=SAID)
def test_an_event_with_one_output_is_left_to_gradio(loop, value):
    assert came_out(loop, SafePage, value, 1) == came_out(loop, gr.Blocks, value, 1)


def test_what_is_left_as_it_is_is_not_built_anew(loop, monkeypatch):
    page, event = loop.call(page_of, SafePage)
    built: list[str] = []
    monkeypatch.setattr(gr.HTML, "get_config", lambda self: built.append(self.elem_id) or {})
    state = SessionState(page)
    built.clear()
    loop.call(page.postprocess_data, event, [gr.skip(), gr.update(value="new"), gr.skip(), gr.skip()], state)
    assert set(built) == {"text-1"}


def test_an_event_that_says_too_little_is_refused_as_gradio_refuses_it(loop):
    with pytest.raises(ValueError, match="didn't return enough"):
        came_out(loop, SafePage, ["only", "two"])
