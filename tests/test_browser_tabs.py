"""Compare, Sweep and Two questions in a real browser, on the bundled examples with the bundled model."""

from __future__ import annotations

import csv
import re
import urllib.parse

import pytest
from playwright.sync_api import Page, expect

from app import messages, rack
from tests.opened import browser, page, wait_for_pictures
from tests.served import served

__all__ = ["browser", "page", "served"]
pytestmark = pytest.mark.browser
TITLES = [rack.title(name) for name in rack.line_up([name for _, name in rack.choices()[:3]])]
WAIT = 240_000  # milliseconds: a series takes as long as many answers


def open_tab(page: Page, name: str) -> None:
    """Open a tab of the result side; on a small screen it may hide behind the three dots."""
    tab = page.locator("#views [role=tab]:visible", has_text=re.compile(f"^{name}$"))
    expect(page.locator("#views [role=tab]:visible").first).to_be_visible()
    if tab.count() == 0:
        page.locator("#views .overflow-menu > button").click()
        tab = page.locator("#views .overflow-dropdown button", has_text=name)
    tab.first.click()


def run(page: Page, name: str) -> None:
    page.click(f"#{name}-run")
    expect(page.locator(f"#{name}-status")).to_contain_text("Done", timeout=WAIT)
    expect(page.locator(f"#{name}-run")).to_be_enabled()
    expect(page.locator(f"#{name}-stop")).to_be_disabled()


def column(page: Page, table: str, number: int) -> list[float]:
    cells = page.locator(f"#{table} tbody tr > :nth-child({number})")
    return [float(cell.get_attribute("data-value")) for cell in cells.all()]


def no_sideways_scroll(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_methods_are_compared_and_the_table_is_sorted(page):
    open_tab(page, "Compare")
    run(page, "compare")
    cards = page.locator("#compare-maps .card")
    expect(cards.locator("figcaption")).to_have_text(TITLES)
    expect(page.locator("#compare-table tbody tr")).to_have_count(len(TITLES))
    expect(cards.locator("img")).to_have_count(len(TITLES))
    wait_for_pictures(page, ".card img", 200)
    assert all(picture.get_attribute("alt") for picture in cards.locator("img").all())
    assert all(card.strip() for card in cards.locator(".card-answer").all_inner_texts())
    heading = page.locator("#compare-table thead button", has_text="First token")
    heading.click()
    expect(page.locator("#compare-table th[aria-sort=ascending]")).to_contain_text("First token")
    times = column(page, "compare-table", 6)
    assert times == sorted(times)
    heading.click()
    expect(page.locator("#compare-table th[aria-sort=descending]")).to_contain_text("First token")
    assert column(page, "compare-table", 6) == times[::-1]
    assert no_sideways_scroll(page)


def test_a_sweep_finds_the_smallest_budget_and_gives_its_table(page):
    open_tab(page, "Sweep")
    run(page, "sweep")
    expect(page.locator("#sweep-found")).to_contain_text(re.compile(r"The answer is unchanged down to \d+ %"))
    expect(page.locator("#sweep-found")).to_contain_text("need not be monotonous")
    expect(page.locator("#sweep-plot svg.curve")).to_be_visible()
    rows = page.locator("#sweep-table tbody tr").count()
    assert rows >= 7 and column(page, "sweep-table", 1)[0] == 100
    with page.expect_download() as download:
        page.locator("#sweep-table a.keep").click()
    assert download.value.suggested_filename == "duet-lens-sweep.csv"
    link = page.locator("#sweep-table a.keep").get_attribute("href")
    written = list(csv.DictReader(urllib.parse.unquote(link.split(",", 1)[1]).splitlines()))
    assert len(written) == rows and written[0]["same_answer"] == "True"


def test_two_questions_show_what_only_one_of_them_kept(page):
    open_tab(page, "Two questions")
    page.locator("#two-question textarea").fill("What colour is the heart?")
    run(page, "two")
    for number, text in enumerate(("A: What is in the picture?", "B: What colour is the heart?")):
        expect(page.locator("#two-maps figcaption").nth(number)).to_have_text(text)
    expect(page.locator("#two-maps img")).to_have_count(3)
    expect(page.locator("#two-difference .legend b")).to_have_count(4)
    counts = [int(text) for text in page.locator("#two-difference .legend b").all_inner_texts()]
    assert len(counts) == 4 and sum(counts) == 576 and counts[0] > 0 and counts[1] > 0
    page.locator("#two-question textarea").fill("what is in the picture?".capitalize())
    page.click("#two-run")
    expect(page.locator("#two-notice")).to_have_text(messages.SAME_QUESTIONS)


_STOP_AT = """([name, sign, many]) => new MutationObserver((_, watch) => {
    const stop = document.querySelector(`#${name}-stop`)
    if (document.querySelectorAll(sign).length < many || stop.disabled) return
    watch.disconnect()
    stop.click()
}).observe(document.body, {childList: true, subtree: true, attributes: true})"""


def stop_at(page: Page, name: str, sign: str, many: int = 1) -> None:
    """Press a tab's Stop as soon as so many signs are there: from outside the page, a fast run would be over before."""
    page.evaluate(_STOP_AT, [name, sign, many])


def test_stop_ends_a_sweep_keeps_what_is_there_and_frees_the_model(page):
    open_tab(page, "Sweep")
    stop_at(page, "sweep", "#sweep-table tbody tr", 2)
    page.click("#sweep-run")
    expect(page.locator("#sweep-status")).to_contain_text(messages.STOPPED_SERIES, timeout=WAIT)
    expect(page.locator("#sweep-run")).to_be_enabled()
    assert 2 <= page.locator("#sweep-table tbody tr").count() < 7
    open_tab(page, "Two questions")
    run(page, "two")
    page.locator("#question textarea").fill(" ")
    open_tab(page, "Compare")
    page.click("#compare-run")
    expect(page.locator("#compare-notice")).to_have_text(messages.NO_QUESTION)


def test_a_clip_is_compared_frame_by_frame(page):
    page.get_by_role("tab", name="Video").click()
    expect(page.locator("#frames img")).to_have_count(8)
    expect(page.locator("#asked")).to_contain_text("horse")
    page.get_by_role("button", name="Set the reduction to 93 percent").click()
    page.locator("#count input[type=number]").fill("4")
    page.keyboard.press("Tab")
    expect(page.locator("#tokens")).to_contain_text("of 2,304 tokens")
    expect(page.locator("#frames img")).to_have_count(4)
    open_tab(page, "Compare")
    run(page, "compare")
    expect(page.locator("#compare-maps img")).to_have_count(len(TITLES))
    entered = column(page, "compare-table", 3)
    assert entered[0] == 2304 and min(entered[1:]) < 500
