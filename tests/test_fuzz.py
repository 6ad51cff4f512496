"""Media and plans from anybody: whatever comes, there is an answer or a sentence of ours.

A few examples here; `make fuzz` draws 10,000 of each (DUET_FUZZ), of what starts a process a fiftieth.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.checks import check_frames, check_methods, check_model, check_question, check_reduction
from app.film import key_of
from app.gallery import load_gallery
from app.media import open_picture
from app.painted import read_brush
from app.plans import EXACT_FIELDS, Exact, exact_plan, in_words
from app.settings import Settings
from app.share import restore
from duet_core.clips import ClipLimits, parse_times, read_clip
from duet_core.clips.container import check_whole, suffix_of
from duet_core.errors import DuetError
from duet_core.plan import Size
from tests import pictures
from tests.hostile.files import CLIPS, saved

MANY = int(os.environ.get("DUET_FUZZ", "40"))
FUZZ = settings(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(FUZZ, max_examples=max(4, MANY // 50))
LIMITS, GALLERY, SIZE = Settings(), load_gallery(), Size(tokens=576, layers=12)
PICTURES = [
    *(saved(pictures.half_and_half(), kind) for kind in ("PNG", "JPEG", "WEBP")),
    saved(pictures.half_and_half("P"), "PNG"),
    saved(pictures.half_and_half(), "JPEG", progressive=True),
]
KINDS = ("smallest.mp4", "vp8.webm", "mpeg4.avi", "theora.ogv", "moving.gif")
CLIP_BYTES = [(CLIPS / name).read_bytes() for name in KINDS]
NAMES = (
    "example",
    "upload",
    "question",
    "reduction",
    "method",
    "model",
    "longest",
    "frames",
    "choose",
    "at",
    *EXACT_FIELDS,
)
VALUES = ("nan", "inf", "1e999", "cupcake", "clip", "-1", "\0", "owner/model")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def broken(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """Draw a good file with some bytes changed, cut, doubled or put in."""
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, min(len(data) - 1, draw(st.sampled_from([40, 400, 10**9]))))))
        match draw(st.sampled_from(["change", "change", "cut", "double", "put"])):
            case "change":
                data[place : place + 4] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del data[place + draw(st.integers(0, 64)) :]
            case "double":
                data[place:place] = data[place : place + 200]
            case "put":
                data[place:place] = draw(st.binary(max_size=40))
    return bytes(data)


def told(work: Callable[[], Any]) -> Any:
    """Return what comes of it; an error of ours must be one sentence that names no path."""
    try:
        return work()
    except DuetError as error:
        said = str(error)
        assert said and said.rstrip().endswith((".", "?")) and "Traceback" not in said and "/tmp/" not in said
        return None


def in_file(content: bytes, work: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sent"
        path.write_bytes(content)
        return told(lambda: work(path))


@FUZZ
@given(broken(PICTURES) | st.binary(max_size=300))
def test_a_picture_is_a_picture_or_refused(content):
    picture = in_file(content, lambda path: open_picture(str(path), LIMITS))
    assert picture is None or (isinstance(picture, Image.Image) and picture.mode == "RGB" and max(picture.size) <= 2048)


@FUZZ
@given(broken(CLIP_BYTES) | st.binary(max_size=300))
def test_a_container_is_told_before_it_is_decoded(content):
    in_file(content, lambda path: check_whole(path, suffix_of(path)))


@FEW
@given(broken(CLIP_BYTES))
def test_a_clip_is_frames_or_refused(content):
    clip = in_file(content, lambda path: read_clip(path, ClipLimits(deadline_s=10)))
    assert clip is None or (0 < len(clip.frames) <= 64 and clip.duration <= 61)


@FUZZ
@given(
    st.sampled_from(["duet", "none", "fastv"]),
    *[st.none() | st.floats() | st.integers(-3, 2000)] * 3,
    *[st.text("0123456789.,-+eEinfa ", max_size=30) | st.text(max_size=20)] * 2,
    st.sampled_from(["salient", "all_text", "last"]) | st.text(max_size=9),
)
def test_exact_numbers_are_a_plan_or_refused(method, dominant, contextual, width, layers, keep, queries):
    exact = Exact(dominant, contextual, width, layers, keep, queries)
    plan = told(lambda: exact_plan(method, exact))
    if plan:
        told(lambda: plan.check(SIZE.layers))
        assert in_words(plan, SIZE)


@FUZZ
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=60) | st.sampled_from(VALUES)))
def test_a_link_restores_what_is_allowed(query):
    found = told(lambda: restore(query, LIMITS, GALLERY, "duet-mini"))
    if found:
        assert 0 <= found.given.reduction <= 95 and 1 <= found.given.new_tokens <= LIMITS.new_tokens
        assert 4 <= found.given.count <= LIMITS.clip_frames
        assert found.given.model in LIMITS.models or "/" in found.given.model


@FUZZ
@given(st.text(max_size=200) | JSON.map(lambda value: json.dumps(value)))
def test_a_brush_is_read_or_refused(text):
    subject = pictures.half_and_half()
    for sent in (text, f'{{"key": {json.dumps(key_of(subject))}, "keep": {text or "1"}, "drop": []}}'):
        told(lambda sent=sent: read_brush(sent, subject))


@FUZZ
@given(JSON | st.text(max_size=600))
def test_values_of_any_kind_are_checked(value):
    text = value if isinstance(value, str) else str(value)
    question = told(lambda: check_question(text, LIMITS))
    assert question is None or question.encode()
    share = told(lambda: check_reduction(value))
    assert share is None or 0 <= share <= 0.95
    frames = told(lambda: check_frames(value, LIMITS))
    assert frames is None or 4 <= frames <= 32
    told(lambda: check_methods(value))
    told(lambda: check_model(text, LIMITS))
    told(lambda: parse_times(text))
