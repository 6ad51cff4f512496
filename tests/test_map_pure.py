"""What the map is told, checked without a browser: words, colours, the slider's rows, the brush."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image

from app import map_texts as texts
from app.fates import SCALE, STAGE_1, looks
from app.film import key_of
from app.live import is_live, live_json
from app.painted import in_words, read_brush
from app.patchmap import ASSETS, SCRIPTS, map_value, question_parts
from app.slider import slider_plans, slider_rows
from duet_core import Brush
from duet_core.errors import PlanError
from duet_core.grid import Grid
from duet_core.plan import Size
from duet_core.question import salient_spans
from duet_core.trace import Fate
from tests.app_fixtures import small_trace, two_frames

PHOTO = Image.new("RGB", (40, 40), "#a8b0a0")


@given(st.text(alphabet="abc where?! cat's\n<", max_size=60))
def test_a_question_is_cut_at_its_words_and_nothing_is_lost(question):
    words = tuple(question[start:end] for start, end in salient_spans(question))
    parts = question_parts(question, words)
    assert "".join(text for text, _ in parts) == question
    assert [(text, number) for text, number in parts if number >= 0] == [(word, at) for at, word in enumerate(words)]


def test_words_without_their_question_stand_alone():
    assert question_parts("", ("where", "cat")) == [("", -1), ("where", 0), ("cat", 1)]


def test_the_scale_is_cividis_and_even_in_lightness():
    assert [to_hex(matplotlib.colormaps["cividis"](at)) for at in np.linspace(0, 1, len(SCALE))] == list(SCALE)
    linear = [[_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5)] for colour in SCALE]
    light = [116 * float(np.dot((0.2126, 0.7152, 0.0722), part)) ** (1 / 3) - 16 for part in linear]
    steps = np.diff(light)
    assert steps.min() > 0.6 * steps.mean() and steps.max() < 1.5 * steps.mean()


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


# What is left of a colour for those without one kind of cone, in linear light: Machado, Oliveira and Fernandes, 2009
_BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
_XYZ = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8727))  # over the white of a screen


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of a colour in linear light."""
    x, y, z = (f ** (1 / 3) if f > 0.008856 else 7.787 * f + 16 / 116 for f in np.array(_XYZ) @ np.clip(rgb, 0, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", _BLIND)
def test_the_fates_of_a_run_look_different_to_colour_blind_eyes(eye):
    shown = looks([*STAGE_1, "dropped-at-4", "dropped-at-6"])
    linear = [[_linear(int(look.colour[at : at + 2], 16) / 255) for at in (1, 3, 5)] for look in shown]
    seen = [_lab(np.array(_BLIND[eye]) @ np.array(rgb)) for rgb in linear]
    gaps = {
        (one.fate, other.fate): float(np.linalg.norm(seen[a] - seen[b]))
        for (a, one), (b, other) in combinations(enumerate(shown), 2)
    }
    assert min(gaps.values()) > 10, gaps  # 2.3 is what an eye can just tell apart


def test_every_script_of_the_map_is_short_and_taken_once():
    stored = {path.stem: path for path in (ASSETS / "patchmap").glob("*.js")}
    assert sorted(SCRIPTS) == sorted(stored)
    assert all(len(path.read_text().splitlines()) <= 200 for path in stored.values())


@pytest.mark.parametrize(
    ("change", "live"),
    [
        ({}, True),
        ({"method": "visionzip"}, False),
        ({"stage1_scores": np.full(16, np.nan, np.float32)}, False),
        ({"full": 20}, False),
        ({"grid": Grid(1, 4, 4, (40, 40), (0, 0, 40, 40), ((0, 0, 40, 40),))}, False),
    ],
)
def test_stage_1_is_followed_only_where_its_scores_decide(change, live):
    trace = replace(small_trace(), **change)
    assert is_live(trace) is live
    assert (live_json(trace) is not None) is live


def test_ranks_are_those_of_each_frame_and_a_cls_token_counts():
    assert live_json(small_trace())["order"] == list(range(16))
    assert live_json(two_frames())["order"] == [*range(16), *range(16)]
    worse = replace(small_trace(), tokens_per_layer=(6, 6, 3, 1))
    assert (live_json(small_trace())["extra"], live_json(worse)["extra"]) == (0, 1)
    assert len(live_json(small_trace())["plans"]) == 96


@pytest.mark.parametrize("size", [Size(576, 8), Size(256, 8, 8)])
def test_the_rows_of_the_slider_are_the_plans_of_the_method(size):
    rows = json.loads(slider_rows("duet", size))
    for percent in (0, 40, 67, 95):
        plan = slider_plans("duet", size)[percent]
        assert rows[percent][1:5] == [False, plan.dominant, plan.contextual, plan.cluster_width]
        assert f"of {size.total:,} tokens on average" in rows[percent][0]
    assert len({row[0] for row in rows}) > 60


def test_without_a_size_the_slider_speaks_in_percent_and_leaves_the_fields():
    rows = json.loads(slider_rows("duet", None))
    assert {len(row) for row in rows} == {2} and "33 %" in rows[67][0]


def painted(**changes: object) -> str:
    return json.dumps({"key": key_of(PHOTO), "keep": [3, 1], "drop": [2]} | changes)


def test_a_brush_is_read_for_its_own_picture_only():
    assert read_brush(painted(), PHOTO) == Brush((1, 3), (2,))
    assert in_words(read_brush(painted(), PHOTO)) == "2 patches protected, 1 patch forced out"
    assert read_brush("", PHOTO) is None and read_brush(None, PHOTO) is None and in_words(None) == ""
    assert read_brush(painted(keep=[], drop=[]), PHOTO) is None
    with pytest.raises(PlanError, match="another picture"):
        read_brush(painted(), Image.new("RGB", (40, 40)))


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"keep": []}', painted(keep=["a"]), painted(keep=[2])])
def test_a_brush_that_nobody_painted_is_refused_in_a_sentence(text):
    with pytest.raises(PlanError) as caught:
        read_brush(text, PHOTO)
    assert str(caught.value) == texts.NOT_PAINTED or "brush" in str(caught.value)


def test_the_map_tells_of_words_and_of_what_was_forced():
    trace = small_trace()
    rows = np.where(np.isnan(trace.drops[0].scores), np.nan, 0.123456).astype(np.float32)
    spoken = replace(trace, drops=(replace(trace.drops[0], by_word=rows[None], by_end=rows), trace.drops[1]))
    value = json.loads(map_value(PHOTO, spoken, "Is it where", texts.forced(2, 0)))
    assert value["question"] == [["Is it ", -1], ["where", 0]]
    assert value["late"][0]["by_word"][0][0] == 0.123 and value["late"][0]["by_word"][0][15] is None
    assert "by_word" not in value["late"][1]
    assert value["description"].endswith(" By hand: 2 patches protected.")
    assert "By hand" in value["steps"][1]["sentence"] and "By hand" not in value["steps"][0]["sentence"]
    looks = {look["fate"] for look in value["looks"]}
    assert looks >= {"dominant", "anchor", "merged", "dropped-before"}
    assert (trace.fate == Fate.DROPPED).any()
