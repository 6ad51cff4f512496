"""The page in a real browser: an example, an answer, the map, the slider, the keys, a small screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app import messages
from tests import pictures
from tests.opened import ask, browser, page, wait_for_pictures
from tests.served import served

__all__ = ["browser", "page", "served"]
pytestmark = pytest.mark.browser
CLIPS = Path(__file__).parent / "clips"


def fates(page: Page) -> list[str]:
    return page.eval_on_selector_all("#patchmap [role=gridcell]", "cells => cells.map((cell) => cell.dataset.fate)")


def test_the_first_screen_is_a_finished_example(page):
    expect(page.locator("#answer-full .answer-text")).not_to_be_empty()
    expect(page.locator("#answer-reduced .answer-text")).not_to_be_empty()
    expect(page.locator("#speed")).to_contain_text("Recorded with duet-mini")
    assert set(fates(page)) == {"dominant", "anchor", "merged", "dropped-before"}
    labels = page.eval_on_selector_all("#patchmap [role=gridcell]", "cells => cells.map((c) => c.ariaLabel)")
    assert labels[25].startswith("row 2, column 2: ")
    assert page.locator("#patchmap [role=grid] > [role=row]").count() == 24


def test_an_example_is_asked_and_the_slider_changes_the_picture(page):
    page.click("#example-3")
    expect(page.locator("#asked")).to_contain_text("How many")
    expect(page.locator("#tokens")).to_contain_text(re.compile(r"\d+ of 576 tokens on average"))
    ask(page)
    expect(page.locator("#speed")).to_contain_text(messages.MEASURED_NOW)
    for side in ("full", "reduced"):
        expect(page.locator(f"#answer-{side} .answer-text")).not_to_be_empty()
        expect(page.locator(f"#answer-{side} .badge")).to_have_text(re.compile("right|wrong"))
    mild = fates(page)
    page.get_by_role("button", name="Set the reduction to 89 percent").click()
    expect(page.locator("#tokens")).to_contain_text("63 of 576 tokens on average")
    ask(page)
    strong = fates(page)
    assert strong.count("dominant") < mild.count("dominant")
    expect(page.locator("#figures tbody tr")).to_have_count(7)


def test_the_steps_change_the_fates_by_key_and_by_click(page):
    page.focus("#step")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".pm-step[aria-pressed=true]")).to_contain_text("Before layer 4")
    assert "dropped-at-4" in fates(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".pm-step[aria-pressed=true]")).to_contain_text("All patches")
    assert set(fates(page)) == {"dominant"}
    page.locator(".pm-step").last.click()
    expect(page.locator(".pm-step[aria-pressed=true]")).to_contain_text("Before layer 6")
    assert "dropped-at-6" in fates(page)
    assert "dominant" not in fates(page)
    expect(page.locator("#step")).to_have_value("3")


def test_the_grid_is_walked_by_keys_with_one_focus(page):
    cell = page.locator("#patchmap [role=gridcell][tabindex='0']")
    expect(cell).to_have_count(1)
    page.locator("#patchmap [role=gridcell]").nth(30).click()
    page.keyboard.press("ArrowDown")
    expect(cell).to_have_attribute("data-patch", "54")
    expect(page.locator(".pm-card")).to_contain_text("Row 3, column 7")
    expect(page.locator(".pm-card")).to_contain_text("stage-1 score")


def test_the_folded_numbers_follow_the_slider_and_override_it(page):
    page.get_by_role("button", name="Exact numbers").click()
    page.get_by_role("button", name="Set the reduction to 78 percent").click()
    dominant = page.locator("#exact").get_by_label("Dominant")
    expect(dominant).not_to_have_value("")
    expect(page.locator("#tokens")).to_contain_text(re.compile("12[67] of 576"))
    dominant.fill("40")
    expect(page.locator("#tokens")).to_contain_text("not the slider")
    expect(page.get_by_label("Use these instead of the slider")).to_be_checked()
    page.get_by_role("button", name="Set the reduction to 67 percent").click()
    expect(page.get_by_label("Use these instead of the slider")).not_to_be_checked()
    expect(dominant).not_to_have_value("40")


def test_bad_input_is_one_sentence_and_the_page_goes_on(page, tmp_path):
    page.locator("#question textarea").fill("")
    page.click("#ask")
    expect(page.locator("#notice")).to_have_text(messages.NO_QUESTION)
    page.locator("#question textarea").fill("a" * 5000)
    page.click("#ask")
    expect(page.locator("#notice")).to_contain_text("5,000 characters")
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    expect(page.locator("#picture input[type=file]")).to_be_attached()
    page.locator("#picture input[type=file]").set_input_files(pictures.text_named_png(tmp_path / "fake.png"))
    expect(page.locator("#notice")).to_have_text(messages.NOT_A_PICTURE)
    page.click("#example-2")
    # Taking an example cancels a run; a click on Ask in the same instant would be cancelled with it.
    expect(page.locator("#question textarea")).not_to_have_value(re.compile("^a+$"))
    expect(page.locator("#notice")).to_be_hidden()
    ask(page)


def test_a_foreign_picture_is_uploaded_answered_and_drawn_unstretched(page, tmp_path):
    wide = tmp_path / "wide.png"
    pictures.half_and_half(size=(600, 300)).save(wide)
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    page.locator("#picture input[type=file]").set_input_files(wide)
    expect(page.locator("#hint")).to_contain_text("drawn scenes")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#question textarea")).to_have_value("What is in the picture?")
    ask(page)
    photo, grid = page.locator(".pm-photo").bounding_box(), page.locator(".pm-grid").bounding_box()
    assert photo["width"] / photo["height"] == pytest.approx(2, rel=0.02)
    assert grid["width"] / grid["height"] == pytest.approx(1, rel=0.02)
    expect(page.locator("#answer-full .badge")).to_have_count(0)


def open_clips(page: Page) -> None:
    """Open the tab of clips and wait for its first example."""
    page.get_by_role("tab", name="Video").click()
    expect(page.locator("#asked")).to_contain_text("horse")
    expect(page.locator(".pm-film-frame")).to_have_count(8)
    expect(page.locator("#frames img")).to_have_count(8)


def upload_clip(page: Page, path: Path) -> None:
    """Put a clip of one's own into the place of whatever is there."""
    page.locator("#clip").get_by_label("Clear").or_(page.locator("#clip").get_by_label("Remove")).first.click()
    page.locator("#clip input[type=file]").set_input_files(path)


def wait_until_drawn(page: Page) -> None:
    """Wait until there is a picture on each small canvas of the film."""
    page.wait_for_function("""[...document.querySelectorAll('.pm-film-frame canvas')].every((board) => {
        if (!board.width) return false;
        const pixels = board.getContext('2d').getImageData(0, 0, board.width, board.height).data;
        return new Set(pixels).size > 2; })""")


def test_the_tab_of_clips_opens_with_a_finished_example(page):
    open_clips(page)
    expect(page.locator("#speed")).to_contain_text("Recorded with duet-mini")
    expect(page.locator("#tokens")).to_contain_text("of 4,608 tokens on average")
    expect(page.locator("#points")).to_contain_text("93")
    wait_until_drawn(page)
    film = page.locator("#overlay video")
    page.evaluate("document.querySelector('#overlay video').play()")
    expect(film).to_have_js_property("videoWidth", 480)
    page.wait_for_function("document.querySelector('#overlay video').currentTime > 0.2")
    with page.expect_download() as download:
        page.locator("#overlay a").click()
    assert download.value.path().read_bytes().startswith(b"\x1a\x45\xdf\xa3")


def test_a_frame_is_opened_by_click_by_key_and_from_the_heat_map(page):
    open_clips(page)
    frames = page.locator(".pm-film-frame")
    frames.nth(2).click()
    expect(frames.nth(2)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(frames.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".pm-card")).to_contain_text("Frame 4, row")
    page.locator(".pm-heat rect").first.click()
    expect(frames.nth(0)).to_have_attribute("aria-pressed", "true")
    page.locator(".pm-step").nth(2).click()
    expect(frames.nth(0)).to_have_attribute("aria-label", re.compile(r"Frame 1 at 0.0 s: \d+ of 576 tokens"))
    left = [int(text) for text in page.locator(".pm-film-name b").all_inner_texts()]
    assert len(left) == 8 and sum(left) <= 1732 and len(set(left)) > 1


@pytest.mark.parametrize(
    ("name", "shape", "frames"),
    [
        ("h264.mp4", 4 / 3, 8), ("vp9.webm", 4 / 3, 4), ("moving.gif", 4 / 3, 4), ("rotated.mp4", 3 / 4, 4),
    ],
)  # fmt: skip
def test_a_clip_of_ones_own_is_answered_and_drawn_in_its_shape(page, name, shape, frames):
    open_clips(page)
    upload_clip(page, CLIPS / name)
    expect(page.locator("#clip-hint")).to_contain_text("drawn clips")
    page.locator("#count input[type=number]").fill(str(frames))
    page.keyboard.press("Tab")
    page.locator("#reduction input[type=number]").fill("93")
    page.keyboard.press("Tab")
    expect(page.locator("#tokens")).to_contain_text(f"of {frames * 576:,} tokens")
    expect(page.locator("#frames img")).to_have_count(frames)
    page.locator("#suggestions button").first.click()
    expect(page.locator("#question textarea")).to_have_value("What happens in the clip?")
    ask(page)
    expect(page.locator(".pm-film-frame")).to_have_count(frames)
    wait_until_drawn(page)
    photo = page.locator(".pm-photo").bounding_box()
    assert photo["width"] / photo["height"] == pytest.approx(shape, rel=0.02)
    expect(page.locator("#overlay video")).to_be_visible()


def test_every_clip_that_cannot_be_read_gets_its_sentence_at_once(page, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no clip\n" * 20)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {CLIPS / 'h264.mp4'}\n")
    open_clips(page)
    for path, words in (
        (text, "not a clip that can be read"),
        (playlist, "a list that names other files"),
        (CLIPS / "cut.mp4", "cut off or damaged"),
        (CLIPS / "av1.mp4", "compressed as AV1"),
        (CLIPS / "no-frames.mp4", "Not one frame"),
        (CLIPS / "ten-minutes.mp4", "the limit is 60"),
        (CLIPS / "four-k.mp4", "3,840 x 2,160 pixels"),
    ):
        upload_clip(page, path)
        expect(page.locator("#notice")).to_contain_text(words)
        page.evaluate("document.querySelector('#notice .notice').setAttribute('data-old', '')")
        page.click("#ask")
        expect(page.locator("#notice .notice:not([data-old])")).to_contain_text(words)
        expect(page.locator("#ask")).to_be_enabled()
    page.click("#clip-example-2")
    expect(page.locator("#asked")).to_contain_text("How many times")


@pytest.mark.parametrize("page", [390, 768], indirect=True)
def test_a_small_screen_with_a_clip_has_no_sideways_scroll(page):
    open_clips(page)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    wait_until_drawn(page)


@pytest.mark.parametrize("page", [390, 768], indirect=True)
def test_a_small_screen_has_no_sideways_scroll(page):
    for step in range(4):
        page.locator(".pm-step").nth(step).click()
    page.get_by_role("button", name="Exact numbers").click()
    expect(page.locator("#exact").get_by_label("Dominant")).to_be_visible()
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    wait_for_pictures(page, "img")


def test_every_part_can_be_found_by_its_name(page):
    for name in ("picture", "question", "reduction", "method", "model", "ask", "stop", "answer-full", "answer-reduced",
                 "speed", "patchmap", "step", "example-1", "example-6"):  # fmt: skip
        expect(page.locator(f"#{name}")).to_have_count(1)
    open_clips(page)
    for name in ("clip", "count", "rule", "clip-example-1", "clip-example-3"):
        expect(page.locator(f"#{name}")).to_have_count(1)
