"""Scorecard, How it works, the bundle and the link in a real browser."""

from __future__ import annotations

import re
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from app import messages
from tests.opened import ask, browser, page, wait_for_pictures
from tests.pictures import see_through
from tests.served import served
from tests.test_browser_tabs import WAIT, no_sideways_scroll, open_tab, run, stop_at

__all__ = ["browser", "page", "served"]
pytestmark = pytest.mark.browser


def fill_number(page: Page, name: str, value: int) -> None:
    page.locator(f"#{name} input[type=number]").fill(str(value))
    page.keyboard.press("Tab")


# Scorecard


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_an_exam_is_taken_live_beside_the_stored_run_and_the_papers_figures(page):
    open_tab(page, "Scorecard")
    expect(page.locator("#score-stored svg.curve")).to_be_visible()
    expect(page.locator("#score-paper")).to_contain_text("not ours")
    fill_number(page, "score-questions", 10)
    page.locator("#score-methods").get_by_role("button", name="Remove").last.click()
    page.get_by_label("67%").uncheck()
    run(page, "score")
    expect(page.locator("#score-plot svg.curve")).to_be_visible()
    expect(page.locator("#score-table tbody tr")).to_have_count(2)
    expect(page.locator("#score-note")).to_contain_text("10 questions")
    expect(page.locator("#score-note code")).to_contain_text("bench accuracy --model duet-mini --exam pictures")
    assert no_sideways_scroll(page)


def test_an_exam_can_be_stopped_and_frees_the_model(page):
    open_tab(page, "Scorecard")
    fill_number(page, "score-questions", 200)
    stop_at(page, "score", "#score-status progress")
    page.click("#score-run")
    expect(page.locator("#score-status")).to_contain_text(messages.STOPPED_SERIES, timeout=WAIT)
    expect(page.locator("#score-run")).to_be_enabled()
    open_tab(page, "Ask")
    ask(page)


# How it works


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_five_steps_are_walked_by_keyboard_and_follow_the_example(page):
    open_tab(page, "How it works")
    walk, text = page.locator("#walk .walk"), page.locator("#walk .walk-step:visible h3")
    expect(text).to_contain_text("A picture becomes tokens")
    first = page.locator("#walk .walk-step:visible img").get_attribute("src")
    walk.focus()
    for title in ("keeps what stands out", "merges some of the rest", "listens to the question", "then the answer"):
        page.keyboard.press("ArrowRight")
        expect(text).to_have_count(1)
        expect(text).to_contain_text(title)
        wait_for_pictures(page, ".walk-step:not([hidden]) img", 300)
        assert no_sideways_scroll(page)
    expect(page.locator(".walk-on")).to_be_disabled()
    page.keyboard.press("Home")
    expect(text).to_contain_text("A picture becomes tokens")
    page.click("#example-2")
    expect(page.locator("#walk .walk-step:visible img")).not_to_have_attribute("src", first)
    page.locator(".walk-dot").nth(3).click()
    expect(page.locator("#walk .walk-step:visible")).to_contain_text("What number is on the card?")


# The bundle


def test_one_button_gives_the_bundle_of_the_run(page, tmp_path):
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "duet-lens-run.zip"
    download.value.save_as(tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as bundle:
        assert "maps/1-stage-1.png" in bundle.namelist()
        assert page.url.split("?")[0] in bundle.read("api.py").decode()
    report = page.context.browser.new_page()
    with zipfile.ZipFile(tmp_path / "run.zip") as bundle:
        bundle.extract("report.html", tmp_path)
    asked: list[str] = []
    report.on("request", lambda sent: asked.append(sent.url))
    report.goto((tmp_path / "report.html").as_uri())
    expect(report.locator("img")).to_have_count(4)
    assert all(url.startswith(("file:", "data:")) for url in asked)
    report.close()


# The link


def copied(page: Page) -> str:
    page.click("#copy-link")
    box = page.locator("#link textarea, #link input")
    expect(box).to_have_value(re.compile("^http"))
    return box.input_value()


def test_a_link_restores_example_and_settings(page):
    page.click("#example-2")
    expect(page.locator("#asked")).to_contain_text("card")
    page.locator("#question textarea").fill("How many cats are there?")
    fill_number(page, "reduction", 45)
    expect(page.locator("#tokens")).to_contain_text("317 of 576")
    page.locator("#exact button").first.click()
    page.get_by_label("Contextual").fill("20")
    expect(page.locator("#tokens")).to_contain_text("exact numbers")
    tokens, link = page.locator("#tokens").inner_text(), copied(page)
    assert parse_qs(urlsplit(link).query)["example"] == ["picture-2"]
    page.goto(link)
    expect(page.locator("#link-notice")).to_contain_text(messages.FROM_LINK)
    expect(page.locator("#question textarea")).to_have_value("How many cats are there?")
    expect(page.locator("#reduction input[type=number]")).to_have_value("45")
    expect(page.locator("#tokens")).to_have_text(tokens)
    expect(page.locator("#asked")).to_contain_text("What number is on the card?")
    assert copied(page) == link
    ask(page)
    expect(page.locator("#asked")).to_contain_text("How many cats")
    expect(page.locator("#link-notice p")).to_have_count(0)


def test_a_link_opens_a_clip(page):
    page.goto(page.url + "?example=clip-2&frames=4&choose=change&reduction=80")
    expect(page.locator("#media [role=tab][aria-selected=true]")).to_have_text("Video")
    expect(page.locator("#frames img")).to_have_count(4)
    expect(page.locator("#question textarea")).to_have_value("How many times does the mushroom flash?")
    expect(page.locator("#reduction input[type=number]")).to_have_value("80")


def test_a_link_beside_an_upload_says_that_the_picture_is_not_in_it(page, tmp_path):
    path = see_through(tmp_path / "mine.png")
    with page.expect_response(lambda got: "upload" in got.url):
        page.locator("#picture input[type=file]").set_input_files(str(path))
    expect(page.locator("#hint")).to_contain_text("drawn scenes")
    link = copied(page)
    expect(page.locator("#keep-note")).to_contain_text("not part of the link")
    assert "mine" not in link and "example" not in parse_qs(urlsplit(link).query)
    page.goto(link)
    expect(page.locator("#link-notice")).to_contain_text(messages.LINK_WITHOUT_UPLOAD)


def test_a_hostile_link_gets_a_sentence_and_leaves_the_page_whole(page):
    page.goto(
        page.url + "?example=picture-1&method=%3Cimg%20src%3Dx%3E&reduction=1e999&model=../../etc/passwd&layers=x"
    )
    expect(page.locator("#link-notice")).to_contain_text("There is no method '<img src=x>'")
    expect(page.locator("#reduction input[type=number]")).to_have_value("95")
    expect(page.locator("#patchmap [role=gridcell]")).to_have_count(576)
    assert page.locator("#link-notice img").count() == 0
    assert "Traceback" not in page.content()
