"""Letting go of the slider in a real browser: the model runs again where it was asked before, and only there."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.opened import ask, browser, page
from tests.served import served

__all__ = ["browser", "page", "served"]
pytestmark = pytest.mark.browser
AT_REST = 1500  # milliseconds: thrice as long as the slider waits before it asks

_COUNT_RUNS = """() => {
  window.runs = [];
  const ask = document.querySelector('#ask');
  let running = false;
  new MutationObserver(() => {
    if (ask.disabled && !running) window.runs.push(document.querySelector('#reduction input[type=range]').value);
    running = ask.disabled;
  }).observe(ask, { attributeFilter: ['disabled'] });
}"""


def runs(page: Page) -> list[str]:
    """Where the slider stood at each run since they are counted."""
    return page.evaluate("window.runs")


_STEPS = """(many) => {
  const slider = document.querySelector('#reduction input[type=range]');
  for (let step = 0; step < many; step++) {
    slider.stepUp();
    for (const name of ['input', 'change']) slider.dispatchEvent(new Event(name, { bubbles: true }));
  }
  return slider.value; }"""
_STEP_AND_STOP = """async (step) => {
  const stop = document.querySelector('#stop');
  while (stop.disabled) await new Promise(requestAnimationFrame);
  eval(step)(1);
  stop.click(); }"""


def step_up(page: Page, many: int = 1) -> str:
    """Move the slider by as many steps as keys would, faster than any machine; return where it stands then."""
    return page.evaluate(_STEPS, many)


def test_nothing_runs_before_the_first_ask_nor_about_another_question_or_picture(page):
    page.evaluate(_COUNT_RUNS)
    page.focus("#reduction input[type=range]")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(AT_REST)
    assert runs(page) == []
    ask(page)
    first = runs(page)
    assert len(first) == 1
    page.locator("#suggestions button").last.click()
    expect(page.locator("#question textarea")).not_to_have_value("What is in the picture?")
    step_up(page)
    page.wait_for_timeout(AT_REST)
    page.click("#example-2")
    expect(page.locator("#asked")).to_contain_text("card")
    step_up(page)
    page.wait_for_timeout(AT_REST)
    assert runs(page) == first


def test_after_an_ask_letting_go_runs_once_and_loses_no_run(page):
    ask(page)
    page.evaluate(_COUNT_RUNS)
    begin = page.locator("#reduction input[type=range]").input_value()
    last = step_up(page, 5)
    page.wait_for_function("window.runs.length === 1")
    while_running = step_up(page, 2)
    assert begin != last != while_running
    page.wait_for_function("window.runs.length === 2")
    expect(page.locator("#ask")).to_be_enabled()
    average = page.locator("#tokens strong").inner_text()
    expect(page.locator("#answer-reduced .answer-tokens")).to_have_text(average)
    expect(page.locator("#notice .notice")).to_have_count(0)
    page.wait_for_timeout(AT_REST)
    assert runs(page) == [last, while_running]


def test_stop_also_stops_what_waits_for_its_turn(page):
    ask(page)
    page.evaluate(_COUNT_RUNS)
    step_up(page)
    page.evaluate(_STEP_AND_STOP, _STEPS)
    expect(page.locator("#ask")).to_be_enabled()
    page.wait_for_timeout(AT_REST)
    assert len(runs(page)) == 1
