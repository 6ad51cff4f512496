"""How it works: five steps with the numbers and pictures of the run on the page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html import escape

import pytest
from PIL import Image

from app import walk_texts
from app.gallery import load_gallery
from app.handlers import Desk
from app.settings import Settings
from app.walk import WALK, WalkDesk, walkable
from duet_core.trace import Fate

GALLERY = load_gallery()
DESK = Desk(Settings(), GALLERY)


def pictures(html: str) -> list[bytes]:
    urls = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(url))).tobytes() for url in urls]


@pytest.mark.parametrize("example", [GALLERY.examples[0], GALLERY.examples[1], GALLERY.clips[1]], ids=lambda e: e.name)
def test_five_steps_show_the_run_with_its_own_numbers(example):
    trace = example.duel.trace
    html = WalkDesk(DESK).draw(DESK.recorded_run(example))
    assert html.count('<article class="walk-step"') == 5 and html.count(" hidden>") == 4
    assert len(set(pictures(html))) == 5
    for number in (trace.full, trace.entering, int((trace.fate == Fate.DOMINANT).sum())):
        assert f"{number:,}" in html
    assert walk_texts.THIS_RUN in html and "Arrow keys" in html


def test_a_run_without_both_stages_gives_way_to_the_first_example():
    run = DESK.recorded_run(GALLERY.examples[1])
    other = replace(run, trace=replace(run.trace, method="random"))
    assert walkable(run.trace) and not walkable(other.trace)
    assert escape(walk_texts.OF_EXAMPLE) in WalkDesk(DESK).draw(other)
    gone = replace(run, example=None, given=replace(run.given, picture="/nowhere.png"))
    assert escape(walk_texts.OF_EXAMPLE) in WalkDesk(DESK).draw(gone)
    assert WalkDesk(DESK).draw(None) == WalkDesk(DESK).draw(gone)


def test_a_new_run_is_drawn_only_where_somebody_looks():
    run = DESK.recorded_run(GALLERY.examples[0])
    assert WalkDesk(DESK).redraw(run, "Compare") == ""
    assert WalkDesk(DESK).redraw(run, WALK).startswith("<p")


def test_questions_stay_text():
    run = DESK.recorded_run(GALLERY.examples[0])
    html = WalkDesk(DESK).draw(replace(run, given=replace(run.given, question="<script>x</script>")))
    assert "<script>" not in html
