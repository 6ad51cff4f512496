"""How long the page makes a visitor wait, in a real browser: for the first screen, and for the trace after Ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import median

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, expect

from app.gallery import load_gallery
from tests.opened import ask, browser, page, run_over, wait_for_pictures
from tests.served import served

__all__ = ["browser", "page", "served"]
pytestmark = pytest.mark.browser
TIMES = 5

# Resolves with the milliseconds since the visit began, one frame of the screen after `there` holds.
_SEEN = """() => new Promise((done) => {
  const there = () => %s;
  const look = () => there()
    ? requestAnimationFrame(() => setTimeout(() => done(performance.now())))
    : requestAnimationFrame(look);
  look();
})"""
_SHOWN = "(document.querySelector('%s')?.getClientRects().length ?? 0) > 0"
_EMPTY_PAGE = _SEEN % (_SHOWN % "#alone")
_FIRST_SCREEN = _SEEN % " && ".join(
    [
        "document.querySelectorAll('#patchmap [role=gridcell]').length === 576",
        "document.querySelector('.pm-photo').naturalWidth > 0 && document.querySelector('.pm-paint').width > 300",
        "['full', 'reduced'].every((side) => document.querySelector(`#answer-${side} .answer-text`)?.textContent)",
        _SHOWN % "#ask:not(:disabled)",
    ]
)


@pytest.fixture(scope="module")
def empty_page() -> Iterator[str]:
    """A Gradio page with one button, to tell a slow machine from a slow page."""
    with gr.Blocks(analytics_enabled=False) as bare:
        gr.Button("Alone", elem_id="alone")
    _, address, _ = bare.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_name="127.0.0.1")
    yield address
    bare.close()


def seconds_until(browser: Browser, address: str, seen: str) -> float:
    """Visit an address for the first time, with nothing in the cache, and wait until it is to be seen."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visit = context.new_page()
    visit.goto(address, wait_until="commit")
    took = visit.evaluate(seen)
    context.close()
    return took / 1000


def test_the_first_screen_is_there_within_two_seconds(browser, served, empty_page):
    seconds_until(browser, served, _FIRST_SCREEN)  # the server is warm
    seconds_until(browser, empty_page, _EMPTY_PAGE)
    pairs = [
        (seconds_until(browser, served, _FIRST_SCREEN), seconds_until(browser, empty_page, _EMPTY_PAGE))
        for _ in range(TIMES)
    ]
    ours, empty = (median(column) for column in zip(*pairs, strict=True))
    # An empty Gradio page takes half a second on two free cores. Where others keep them busy, both take longer.
    assert ours <= 2 or ours <= 4 * empty, pairs


# Clicks Ask and resolves with the milliseconds until the next trace stands on the screen, one frame after its steps
# were built. One promise: whoever asks again and again whether it is there takes the time from the page and the engine.
_PACE = """() => new Promise((done) => {
  const from = performance.now();
  const built = (node) => ['pm', 'pm-strip'].some((name) => node.classList?.contains(name));
  new MutationObserver((changes, observer) => {
    if (!changes.some((change) => [...change.addedNodes].some(built))) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - from)));
  }).observe(document.querySelector('#patchmap'), { childList: true, subtree: true });
  document.querySelector('#ask').click();
})"""
_SETTLED = 500  # milliseconds in which what a chosen example sets off comes to rest


def paced(page: Page, number: int) -> tuple[float, float]:
    """Ask about another example; return the milliseconds from the click to the drawn trace, and the engine's own.

    The engine's own: both answers by its stopwatch, vision encoder, selection, prefill and every token, as they were
    spent in this very run, about a picture that it has not seen before. The page tells them beside its figures.
    """
    example = load_gallery().examples[number - 1]
    page.click(f"#example-{number}")
    expect(page.locator("#asked")).to_contain_text(example.duel.question)
    wait_for_pictures(page, "#picture img")
    percent = 78 if round(example.reduction) != 78 else 67  # what is drawn already would not be drawn again
    page.get_by_role("button", name=f"Set the reduction to {percent} percent").click()
    expect(page.locator("#reduction input[type=number]")).to_have_value(str(percent))
    page.wait_for_timeout(_SETTLED)
    with run_over(page):
        took = page.evaluate(_PACE)
    told = re.search(r"Both answers took the model ([\d,]+) ms", page.locator("#speed").inner_text())
    return took, float(told[1].replace(",", ""))


def measured(page: Page) -> tuple[float, float]:
    """Return the medians of what the page takes beyond the engine, and of the engine's own, on pictures new to it."""
    ask(page)  # the first run on a machine takes longer
    runs = [paced(page, number) for number in range(2, 2 + TIMES)]  # more than are kept, so they are new once more
    return median(took - engine for took, engine in runs), median(engine for _, engine in runs)


def test_the_trace_is_drawn_within_150_ms_beyond_the_engines_own_time(page):
    beyond, own = measured(page)
    if beyond > 150:  # a machine with neighbours has slow moments: the same bound, measured once more
        page.reload()
        wait_for_pictures(page, "#picture img")
        beyond, own = measured(page)
    # Where others keep the machine busy, both are stretched alike; on two free cores 150 ms are half of the engine's.
    assert beyond <= 150 or beyond <= own / 2, (beyond, own)
