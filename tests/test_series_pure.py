"""Series of answers as pure functions: the bisection, what is asked next, tables, cards, the difference, the curve."""

from __future__ import annotations

import csv
import io
import pickle
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app import asking, budgets, cards, checks, messages, rack, standings
from app.budgets import ALL, KEPT, MOST_STEPS, Tried
from app.curve import curve
from app.difference import difference, kept, last_step
from app.duration import MOST, gpu_seconds
from app.fates import BOTH, NEITHER, ONLY_A, ONLY_B
from app.film import Film
from app.render import marks_of, overlay, painted, sheet
from app.series import Ask, Ended, Series, kept_percent, same, sweep_asks, tried
from app.settings import Settings
from duet_core.checkpoint import bundled_folders
from duet_core.errors import PlanError, QuestionError
from duet_core.methods import METHODS, About, offered
from tests.app_fixtures import small_trace, traces, two_frames
from tests.series_fixtures import ended, failed

SETTINGS = Settings()
PHOTO = Image.new("RGB", (40, 40), "teal")


# The bisection


def searched(holds) -> list[Tried]:
    """Sweep and bisect with an answer that holds where `holds` says so."""
    points = [Tried(kept, holds(kept)) for kept in KEPT]
    while (kept := budgets.next_kept(points)) is not None:
        assert kept not in {point.kept for point in points}
        points.append(Tried(kept, holds(kept)))
    return points


@given(st.integers(5, 100))
def test_bisection_finds_the_smallest_budget_of_a_monotonous_answer_to_the_percent(edge):
    points = searched(lambda kept: kept >= edge)
    assert budgets.smallest(points) == edge
    assert budgets.came_back(points) == ()
    assert len(points) <= len(KEPT) + MOST_STEPS


@given(st.lists(st.booleans(), min_size=101, max_size=101))
def test_bisection_ends_and_is_honest_whatever_the_answers(answers):
    answers[ALL] = True
    points = searched(lambda kept: answers[kept])
    found = budgets.smallest(points)
    assert all(point.same for point in points if point.kept >= found)
    assert set(budgets.came_back(points)) == {point.kept for point in points if point.same and point.kept < found}


def test_no_reference_no_smallest_budget():
    assert budgets.smallest([Tried(100, False), Tried(75, True)]) is None
    assert budgets.next_kept([Tried(100, False), Tried(75, True)]) is None


# What is asked


def sweep() -> Series:
    return Series("duet-mini", PHOTO, sweep_asks("Where?", "duet"), narrow=True)


def test_a_sweep_asks_all_tokens_first_and_the_rest_of_its_method():
    asks = sweep().asks
    assert [kept_percent(ask) for ask in asks] == list(KEPT)
    assert [ask.method for ask in asks] == ["none"] + ["duet"] * (len(KEPT) - 1)


@given(st.integers(5, 100))
def test_a_sweep_goes_on_by_bisection_until_it_knows(edge):
    done = []
    while ask := sweep().following(done):
        done.append(replace(ended("cat" if kept_percent(ask) >= edge else "dog"), ask=ask))
    assert budgets.smallest(tried(done)) == edge
    assert len(done) <= len(sweep().shares)


def test_a_sweep_ends_without_a_reference_and_a_failed_budget_does_not_hold():
    assert sweep().following([failed()]) is None
    first, *rest = sweep().asks
    done = [replace(ended(), ask=first), *(replace(failed(), ask=ask) for ask in rest)]
    assert kept_percent(sweep().following(done)) == 87


def test_a_comparison_asks_each_method_once_with_the_controls_and_goes_on_after_a_failure():
    job = asking.compare_series(SETTINGS, PHOTO, "Where?", 78, ["duet", "random", "duet", "none"], "duet-mini")
    assert [ask.method for ask in job.asks] == ["none", "duet", "random", "uniform"]
    assert [ask.reduction for ask in job.asks] == [0.0, 0.78, 0.78, 0.78]
    assert job.following([failed()] * 3).method == "uniform"
    assert job.following([failed()] * 4) is None
    assert pickle.loads(pickle.dumps(job)).asks == job.asks


@pytest.mark.parametrize(
    ("names", "words"),
    [(["magic"], "no method 'magic'"), ("duet", "must be a list of names"), ({"a": 1}, "must be a list of names")],
)
def test_methods_that_are_none_are_refused(names, words):
    with pytest.raises(PlanError, match=words):
        checks.check_methods(names)
    assert checks.check_methods(None) == checks.check_methods([]) == ()


def test_what_makes_no_sense_is_refused_in_a_sentence():
    with pytest.raises(PlanError, match="nothing to sweep"):
        asking.sweep_series(SETTINGS, PHOTO, "Where?", "none", "duet-mini")
    with pytest.raises(QuestionError, match="are the same"):
        asking.two_series(SETTINGS, PHOTO, ("Where?", " Where? "), 67, "duet", "duet-mini")
    with pytest.raises(QuestionError, match="no question yet"):
        asking.two_series(SETTINGS, PHOTO, ("Where?", ""), 67, "duet", "duet-mini")


def test_a_space_is_asked_for_more_seconds_the_more_answers_there_are():
    few, many = (
        Series("duet-mini", PHOTO, tuple(Ask("Where?", "duet", 0.5) for _ in range(count))) for count in (2, 9)
    )
    assert gpu_seconds(few, SETTINGS) < gpu_seconds(many, SETTINGS) < gpu_seconds(sweep(), SETTINGS) <= MOST


# The rack


def test_every_method_that_does_not_run_anyway_can_be_chosen():
    names = [name for _, name in rack.choices()]
    assert {*names, "none", "random", "uniform"} == set(offered(bundled_folders()))
    assert rack.line_up(names)[0] == "none" and set(rack.line_up(names)) == set(offered(bundled_folders()))


def test_what_a_method_tells_of_itself_is_one_line_and_decides_what_it_is_asked_about(monkeypatch):
    own = About("Somebody 2025", "before the model", confidence="abstract only", interpretation=True, clips=False)
    monkeypatch.setattr(METHODS["duet"], "about", own)
    assert rack.about("duet") == "Somebody 2025; before the model; abstract only; our reading in parts"
    monkeypatch.setattr(METHODS["duet"], "about", replace(own, stage="none", training="a codebook"))
    assert rack.about("duet") == "Somebody 2025; abstract only; needs training: a codebook; our reading in parts"
    checks.check_applies("duet", clip=False)
    with pytest.raises(PlanError, match="DUET is not made for a clip"):
        checks.check_applies("duet", clip=True)


def test_every_method_says_something():
    assert all(rack.about(name) and rack.title(name) for name in METHODS)


# Tables


def test_a_method_that_misses_its_budget_says_what_it_reached():
    assert standings.nearest(ended(reduction=13 / 16)) == ""
    assert standings.nearest(ended(reduction=0.5)) == messages.nearest_reached(3, 8)
    assert "budget of 8 tokens" in messages.nearest_reached(3, 8)


def test_the_table_has_a_row_each_and_tells_failures_in_their_place():
    done = [ended(method="none"), ended("dog"), failed("Too <large>.")]
    shown = cards.table(done, standings.COMPARED, "Methods", "Timed once.")
    assert shown.count("<tr") == 4 and shown.count("<button") == len(standings.COMPARED) + 1
    assert "Too &lt;large&gt;." in shown and ">no</td>" in shown and ">yes</td>" in shown
    assert 'data-value="2000000">2.00 MB' in shown and "Timed once." in shown


def test_the_csv_holds_plain_values_and_no_formula():
    rows = list(
        csv.DictReader(io.StringIO(standings.to_csv([ended("=1+1"), ended("cat, dog"), failed()], standings.SWEPT)))
    )
    assert [row["answer"] for row in rows] == ["'=1+1", "cat, dog"]
    assert rows[0]["kept_percent"] == "20" and rows[1]["same_answer"] == "False"


def test_rows_of_the_api_are_those_of_ask_or_an_error():
    row = standings.row_json(ended("dog", "none"), ended())
    assert (row["full"], row["reduced"], row["agree"]) == ("dog", "cat", False)
    assert set(row["cost"]) == {"full", "reduced"} and row["tokens"]["average"] == 3
    assert standings.row_json(ended(), failed("No."))["error"] == "No."
    alone = standings.row_json(failed(), ended())
    assert alone["full"] is alone["agree"] is None and set(alone["cost"]) == {"reduced"}
    assert same(failed(), ended()) is None


# Pictures


def test_a_card_has_its_map_its_words_and_its_counts():
    card = cards.fate_card("A <method>", PHOTO, ended("<b>cat</b>"), ["a note", ""])
    assert "A &lt;method&gt;" in card and "&lt;b&gt;cat&lt;/b&gt;" in card and "<b>cat" not in card
    assert card.count("<img") == 1 and "data:image/png" in card and 'alt="A &lt;method&gt;. Stage 1 keeps' in card
    assert "a note" in card and "dropped before the model <b>8</b>" in card
    assert "No &lt;way&gt;." in cards.failed_card("X", failed("No <way>."))


def test_a_sheet_shows_every_frame_and_a_picture_as_it_is():
    trace = small_trace()
    alone = sheet([PHOTO], trace.grid, marks_of(trace, 1), 80)
    assert alone.size == (80, 80) and alone.tobytes() == overlay(PHOTO, trace, 1, 80).tobytes()
    clip = two_frames()
    assert sheet([PHOTO] * 2, clip.grid, marks_of(clip, 1), 84).size == (84, 40)


def test_the_four_looks_of_a_difference_are_told_apart_without_colour():
    drawn = {}
    for look in (ONLY_A, ONLY_B, BOTH, NEITHER):
        picture = painted(
            Image.new("RGB", (80, 80), "#888888"), small_trace((80, 80), (0, 0, 80, 80)).grid, [look] * 16, 320
        )
        drawn[look] = np.asarray(picture.convert("L"), float)
    pairs = [(a, b) for a in drawn for b in drawn if a is not b]
    assert all(np.abs(drawn[a] - drawn[b]).mean() > 4 for a, b in pairs)


@given(traces(), st.data())
def test_a_difference_counts_every_patch_once(first, data):
    died = np.array(data.draw(st.permutations(first.died_at.tolist())), np.int32)
    fate = np.where(died == 0, 3, 0).astype(np.uint8)
    second = replace(first, died_at=died, fate=fate)
    step = last_step(first, second)
    apart, back = difference(first, second, step), difference(second, first, step)
    assert sum(apart.counts.values()) == first.grid.patches == len(apart.marks)
    assert apart.counts[ONLY_A] == back.counts[ONLY_B] and apart.counts[BOTH] == back.counts[BOTH]
    assert difference(first, first, step).shared == 1 and 0 <= apart.shared == back.shared <= 1


def test_what_is_kept_follows_the_steps():
    assert [int(kept(small_trace(), step).sum()) for step in range(4)] == [16, 5, 2, 0]
    assert last_step(small_trace(), small_trace()) == 2
    card = cards.difference_card(
        "A against B",
        Film((PHOTO,) * 2, (0.0, 1.0)),
        two_frames().grid,
        difference(two_frames(), two_frames(), 2),
        ["alike"],
    )
    assert "kept for neither <b>29</b>" in card and "3 for both" in card


def test_the_curve_is_one_svg_in_the_colours_of_the_page():
    done = [replace(ended(text), ask=ask) for text, ask in zip(["cat", "cat", "dog"], sweep().asks, strict=False)]
    drawn = curve(done, 75, 'The "answer" held')
    root = ET.fromstring(drawn)
    assert root.tag.endswith("svg") and root.get("aria-label") == 'The "answer" held'
    assert "currentColor" in drawn and "#010203" not in drawn and "<metadata" not in drawn
    assert isinstance(done[0], Ended) and curve(done[:1], None, "one point").startswith("<svg")


@pytest.mark.parametrize("sentence", [messages.smallest_found(9, 52, 576), messages.smallest_found(100, 576, 576),
                                      messages.came_back((8, 5)), messages.not_for_this("X", True)])  # fmt: skip
def test_findings_are_whole_sentences(sentence):
    assert sentence[0].isupper() and sentence.endswith(".")
