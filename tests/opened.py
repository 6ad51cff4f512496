"""The page opened in a real browser, for the tests that drive it; whatever it complains of fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import MISSING, find_browser

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    assert path, MISSING
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, served, request) -> Iterator[Page]:
    """Open the page; afterwards no console error, no failed request and no foreign host may have been seen."""
    width = getattr(request, "param", 1280)
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.set_default_timeout(60_000)
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("response", lambda got: complaints.append(got.url) if got.status >= 400 else None)
    opened.on("request", lambda sent: complaints.append(sent.url) if _foreign(sent.url, served) else None)
    opened.goto(served)
    expect(opened.locator("#patchmap [role=gridcell]")).to_have_count(576)
    expect(opened.locator("#picture img")).to_be_visible()
    yield opened
    opened.close()
    assert complaints == []


def ask(page: Page) -> None:
    """Press Ask and wait until this very run is over."""
    with run_over(page):
        page.click("#ask")


@contextmanager
def run_over(page: Page) -> Iterator[None]:
    """Wait until the run that is begun inside is over: its figures are new ones, and Ask can be pressed again."""
    page.evaluate("document.querySelector('#figures table')?.setAttribute('data-old', '')")
    yield
    measured = page.locator("#figures table:not([data-old])")
    expect(measured).to_be_visible(timeout=200_000)  # on a busy machine it takes its time
    expect(page.locator("#ask")).to_be_enabled()


def wait_for_pictures(page: Page, selector: str, width: int = 1) -> None:
    """Wait until there are pictures under a selector, and all of them are there, at least so wide."""
    page.wait_for_function(
        """([selector, width]) => {
          const pictures = [...document.querySelectorAll(selector)].filter((one) => one.src);
          return pictures.length > 0 && pictures.every((one) => one.complete && one.naturalWidth >= width); }""",
        arg=[selector, width],
    )


def _foreign(url: str, served: str) -> bool:
    return not url.startswith((served, "data:", "blob:"))
