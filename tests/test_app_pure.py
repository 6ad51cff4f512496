"""The page's pure functions: comparing, describing, drawing, planning, reading settings."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app import charts, checks, compare, messages, plans, views
from app.describe import describe, step_sentence
from app.duel import Duel
from app.fates import looks
from app.film import Film
from app.overlay_clip import overlay_webm, pace
from app.patchmap import map_value
from app.render import data_url, overlay, view_box
from app.settings import Settings
from app.steps import shown_step
from duet_core.errors import ModelNotFound, PlanError, QuestionError
from duet_core.plan import Plan, Size
from tests.app_fixtures import small_duel, small_trace, speed, traces, two_frames

WORDS = st.lists(st.sampled_from("a the cat dog red two left".split()), max_size=8)


# Comparing


@given(WORDS, WORDS)
def test_unmarked_words_are_the_same_in_both_answers(full, reduced):
    ours, theirs = compare.differing_words(" ".join(full), " ".join(reduced))
    assert [word.text for word in ours] == full
    assert [word.text for word in theirs] == reduced
    assert [w.text for w in ours if not w.differs] == [w.text for w in theirs if not w.differs]
    assert compare.agree(" ".join(full), " ".join(reduced)) == (not any(w.differs for w in (*ours, *theirs)))


def test_only_the_differing_word_is_marked():
    full, reduced = compare.differing_words("the red cat", "the blue cat")
    assert [word.differs for word in full] == [False, True, False]
    assert [word.text for word in reduced if word.differs] == ["blue"]


@pytest.mark.parametrize(
    ("ratio", "kv", "same", "said"),
    [
        ((2.1, 1.9, 2.3), 340, True, "First word 2.1x sooner, 66 % less KV cache, same answer."),
        ((1.08, 1.02, 1.2), 340, True, "First word 1.08x sooner, 66 % less KV cache, same answer."),
        ((1.3, 0.98, 1.9), 340, True, "No speed-up here, 66 % less KV cache, same answer."),
        ((1.02, 1.01, 1.03), 1000, False, "No speed-up here, no KV cache saved, a different answer."),
        ((0.5, 0.4, 0.6), 340, True, "No speed-up here: first word 2.00x later, 66 % less KV cache, same answer."),
    ],
)
def test_the_speed_sentence_claims_only_what_every_run_showed(ratio, kv, same, said):
    assert compare.speed_sentence(speed(20, (1, 1, 1), 1000), speed(10, ratio, kv), same) == said


@given(st.floats(0.1, 9), st.floats(0, 1), st.floats(0, 1))
def test_no_boast_without_a_gain_in_every_run(median, below, above):
    ratio = (median, median * (1 - below), median * (1 + above))
    said = compare.speed_sentence(speed(20, (1, 1, 1), 1000), speed(10, ratio, 500), True)
    if ratio[1] <= 1.0:
        assert "sooner" not in said


# Figures


def test_the_table_shows_values_spreads_and_what_selection_costs():
    rows = {row.name: row for row in charts.rows(small_duel())}
    assert rows["First token"].full == charts.Cell("20.0 ms", "18.0–22.0")
    assert rows["First token"].ratio == charts.Cell("2.00x", "1.90–2.10")
    assert rows["Selection"].ratio.value == "50.0 %"
    assert rows["KV cache"].reduced.value == "1.00 MB"
    assert rows["KV cache"].ratio.value == "67 % less"
    assert "5 interleaved runs" in charts.runs_in_words(small_duel())


def test_a_one_word_answer_has_no_decode_figure():
    duel = small_duel()
    short = Duel("q", "a", "a", duel.trace, (speed(20, (1, 1, 1), 9, decode=False), duel.speeds[1]))
    decode = next(row for row in charts.rows(short) if row.name == "Decode per token")
    assert (decode.full.value, decode.ratio.value) == ("–", "–")


def test_a_duel_survives_json():
    duel = small_duel()
    back = Duel.from_json(json.loads(json.dumps(duel.to_json())))
    assert back.to_json() == duel.to_json()
    assert back.speeds[1].first_token_ratio == duel.speeds[1].first_token_ratio


class Markup(HTMLParser):
    """Collects the tags and the text of a piece of HTML."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


NASTY = st.text(st.sampled_from("<>&\"'/ascript =onerr") | st.characters(codec="utf-8"), max_size=40)


@given(NASTY.filter(lambda text: text.split()))
def test_nothing_a_visitor_or_a_model_says_becomes_markup(said):
    for page, tags in [
        (views.notice(said), {"p"}),
        (views.asked(said), {"p"}),
        (views.streaming(said, done=True), set()),
        (views.verdict(False, said), {"div", "span"}),
        (views.answer(said, said, views.marked(compare.differing_words(said, "")[0])), {"div", "span", "mark"}),
    ]:
        found = Markup(page)
        assert set(found.tags) <= tags
        assert "".join(said.split()) in "".join(found.text.split())


# Describing and drawing


def test_the_description_tells_both_stages():
    said = describe(small_trace())
    assert "keeps 4 dominant patches" in said
    assert "merges 3 more into 1 contextual token" in said
    assert "drops 8 before" in said
    assert "From layer 2 on 2 visual tokens remain" in said
    assert said.endswith("From layer 3 on no visual token is left.")
    assert step_sentence(small_trace(), 2).endswith("Guided by: where.")


@given(traces())
def test_every_step_has_a_sentence_a_look_and_a_picture(trace):
    photo = Image.new("RGB", trace.grid.picture, "white")
    for step in range(len(trace.steps)):
        assert step_sentence(trace, step).endswith(".")
        labels = trace.labels(step)
        assert {look.fate for look in looks(labels)} == set(labels)
        assert overlay(photo, trace, step, 90).width == 90
    assert describe(trace)


def test_each_fate_has_its_own_colour_and_its_own_glyph():
    fates = ["dominant", "anchor", "merged", "dropped-before", "dropped-at-2", "dropped-at-5"]
    shown = looks(fates)
    assert [look.fate for look in shown] == fates
    assert len({look.colour for look in shown}) == len({look.glyph for look in shown}) == len(fates)


def test_the_overlay_fades_what_was_dropped_and_leaves_what_was_kept():
    photo = Image.new("RGB", (40, 40), (200, 0, 0))
    drawn = np.asarray(overlay(photo, small_trace(), 1, 160), int)
    kept, dropped = drawn[20, 20], drawn[140, 20]
    assert abs(kept - [200, 0, 0]).max() <= 2
    assert dropped.min() > 150


def test_a_wide_picture_is_never_stretched_and_what_was_not_seen_is_faded():
    photo = Image.new("RGB", (80, 40), (0, 0, 200))
    trace = small_trace(picture=(80, 40), seen=(20, 0, 60, 40))
    drawn = overlay(photo, trace, 0, 160)
    assert drawn.size == (160, 80)
    pixels = np.asarray(drawn, int)
    assert abs(pixels[40, 80] - [0, 0, 200]).max() <= 2
    assert pixels[40, 10, 0] > 100
    assert pixels[40, 150, 0] > 100


def test_padding_belongs_to_the_view():
    trace = small_trace(picture=(40, 20), seen=(0, -10, 40, 30))
    assert view_box(trace.grid) == (0, -10, 40, 30)
    assert overlay(Image.new("RGB", (40, 20)), trace, 1, 80).size == (80, 80)


def test_the_map_gets_every_patch_of_every_step():
    photo = Image.new("RGB", (40, 40), "white")
    value = json.loads(map_value(photo, small_trace()))
    assert [step["tokens"] for step in value["steps"]] == [16, 5, 2, 0]
    assert [step["name"] for step in value["steps"]] == ["All patches", "Stage 1", "Before layer 2", "Before layer 3"]
    trace = small_trace()
    for number, step in enumerate(value["steps"]):
        assert [value["looks"][label]["fate"] for label in step["labels"]] == trace.labels(number)
    (only,) = value["frames"]
    assert only["photo"].startswith("data:image/jpeg;base64,") and only["time"] is None
    assert only["tokens"] == [5, 5, 2, 0]
    assert len(data_url(photo)) < 2000


def test_a_clips_map_counts_what_is_left_of_every_frame():
    trace = two_frames()
    frames = tuple(Image.new("RGB", (40, 40), colour) for colour in ("white", "black"))
    value = json.loads(map_value(Film(frames, (0.0, 0.5)), trace))
    assert [(own["time"], own["tokens"]) for own in value["frames"]] == [(0.0, [5, 5, 2, 0]), (0.5, [1, 1, 1, 1])]
    assert value["heat_text"].startswith("Tokens left of each frame: 1 to 5 from layer 0, 1 to 2 from layer 2")
    assert (value["rows"], value["cols"], len(value["steps"][0]["labels"])) == (4, 4, 32)
    assert "most in frame 1: 4" in value["steps"][1]["sentence"]


def test_the_overlay_of_a_frame_shows_that_frames_patches():
    photo, trace = Image.new("RGB", (40, 40), (200, 0, 0)), two_frames()
    first, second = (np.asarray(overlay(photo, trace, 1, 160, frame), int) for frame in range(2))
    assert abs(first[20, 60] - [200, 0, 0]).max() <= 2  # kept in the first frame
    assert second[20, 60].min() > 150  # dropped in the second


def test_the_overlay_clip_shows_the_last_step_with_anything_left():
    assert shown_step(small_trace()) == 2
    assert shown_step(two_frames()) == 3
    film = Film((Image.new("RGB", (40, 40)),) * 2, (0.0, 0.5))
    written, poster = overlay_webm(film, two_frames())
    assert base64.b64decode(written.partition(",")[2]).startswith(b"\x1a\x45\xdf\xa3")
    assert poster.startswith("data:image/jpeg")
    assert pace(film) == 2.0 and pace(Film(film.frames, (0.0, 30.0))) == 1.0


# Plans and checks


@given(st.floats(0, 0.95), st.sampled_from(["duet", "random", "uniform", "none"]))
def test_the_folded_fields_carry_the_sliders_plan(reduction, method):
    size = Size(576, 8)
    plan = plans.plan_for(method, reduction, size)
    back = plans.exact_plan(method, plans.exact_of(plan))
    assert abs(plans.average_tokens(back, size) - plans.average_tokens(plan, size)) <= 1
    if method != "none":
        assert abs(plans.average_tokens(plan, size) - 576 * (1 - reduction)) <= 1
    assert plans.in_words(plan, size).endswith("of 576 tokens on average")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((100, 10, 4, "four", "0.5", "salient"), "layers field holds 'four'"),
        ((100, 10, 4, "4", "half", "salient"), "keep ratios field holds 'half'"),
        ((100, None, 4, "", "", "salient"), "contextual field holds None"),
        ((0, 10, 4, "", "", "salient"), "dominant field holds 0"),
        ((100, 10, 4, "6, 4", "0.5, 0", "salient"), "strictly rising"),
        ((100, 10, 4, "4, 6", "0.5", "salient"), "one ratio per layer"),
    ],
)
def test_exact_numbers_that_make_no_plan_say_which(fields, words):
    with pytest.raises(PlanError, match=words):
        plans.exact_plan("duet", plans.Exact(*fields))


def test_no_dominant_number_keeps_everything():
    assert plans.exact_plan("duet", plans.Exact(None, 5, 4, "", "", "salient")) == Plan("duet")


@pytest.mark.parametrize("value", [-1, 95.1, 100, float("nan"), float("inf"), None, "67", True])
def test_a_reduction_outside_its_range_is_refused(value):
    with pytest.raises(PlanError, match="from 0 to 95"):
        checks.check_reduction(value)


@given(st.text(max_size=3000))
def test_a_question_passes_as_it_is_or_is_refused_in_one_sentence(text):
    settings = Settings()
    try:
        assert checks.check_question(text, settings) == text.strip()
        assert 0 < len(text.strip()) <= settings.question_chars
    except QuestionError as error:
        assert str(error) == messages.NO_QUESTION or "limit is 500" in str(error)


def test_a_question_of_5000_characters_says_both_numbers():
    with pytest.raises(QuestionError, match=r"5,000 characters and the limit is 500"):
        checks.check_question("a" * 5000, Settings())


@pytest.mark.parametrize(
    "name", ["", None, "/etc", "../secret", "assets/models", "~/models", "C:\\models", "tests/golden"]
)
def test_a_visitor_never_opens_a_path(name):
    with pytest.raises(ModelNotFound):
        checks.check_model(name, Settings())


def test_the_menu_and_hub_names_may_be_opened():
    assert checks.check_model("duet-mini", Settings()) == "duet-mini"
    assert checks.check_model("llava-hf/llava-1.5-7b-hf", Settings()) == "llava-hf/llava-1.5-7b-hf"
    assert checks.check_model("/srv/model", Settings(models=("/srv/model",))) == "/srv/model"
    with pytest.raises(ModelNotFound):
        checks.check_model("llava-hf/llava-1.5-7b-hf", Settings(hub=False))


def test_settings_come_from_the_environment():
    given_ = {"DUET_MODELS": "duet-mini, a/b", "DUET_HUB": "0", "DUET_REPEATS": "3", "DUET_DEVICE": "cpu"}
    settings = Settings.from_environment(given_)
    assert (settings.models, settings.hub, settings.repeats, settings.device) == (("duet-mini", "a/b"), False, 3, "cpu")
    assert Settings.from_environment({}) == Settings()
    for wrong in ({"DUET_REPEATS": "many"}, {"DUET_REPEATS": "0"}, {"DUET_HUB": "maybe"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings.from_environment(wrong)


def test_an_unforeseen_error_shows_nothing_of_itself():
    assert messages.sentence(RuntimeError("/secret/path")) == messages.FAILED
    assert messages.sentence(PlanError("Say this.")) == "Say this."
