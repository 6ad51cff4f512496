"""Bootstrap intervals over scenes: they hold their figure, narrow with more scenes, and pair what is paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_core.bench.bootstrap import difference, ratio, share


@st.composite
def counts(draw, columns=1):
    """Right answers of some contestants and questions asked, scene by scene; at least one question in all."""
    total = draw(st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any))
    right = [[draw(st.integers(0, most)) for most in total] for _ in range(columns)]
    return *(np.array(own) for own in right), np.array(total)


@given(counts())
def test_an_interval_holds_its_figure(marks):
    right, total = marks
    figure = share(right, total)
    assert 0 <= figure.low <= figure.value == right.sum() / total.sum() <= figure.high <= 1
    assert figure.low < figure.high, "a finite sample never leaves certainty"


@given(counts())
def test_more_scenes_of_the_same_sort_narrow_it(marks):
    few, many = share(*marks), share(*(np.tile(own, 16) for own in marks))
    assert many.value == pytest.approx(few.value)
    assert many.high - many.low < 0.8 * (few.high - few.low)


@given(counts())
def test_identical_answers_differ_by_exactly_nothing(marks):
    right, total = marks
    ahead, times = difference(right, right.copy(), total), ratio(right, right.copy())
    assert (ahead.value, ahead.low, ahead.high) == (0, 0, 0)
    assert times is None if not right.any() else (times.value, times.low, times.high) == (1, 1, 1)


@given(counts(columns=2))
def test_a_difference_turned_round_changes_its_sign(marks):
    one, other, total = marks
    there, back = difference(one, other, total), difference(other, one, total)
    assert there.low <= there.value <= there.high
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)


@given(counts(columns=2))
def test_who_is_never_behind_is_not_behind_in_any_resample(marks):
    one, other, total = marks
    assert difference(np.maximum(one, other), other, total).low >= 0
    times = ratio(np.maximum(one, other), other)
    assert times is None if not other.any() else times.low >= 1


def test_scenes_count_and_not_questions():
    """A scene's questions that all fall together are one piece of evidence."""
    alike, apart = np.array([10, 0] * 20), np.array([5] * 39 + [4])
    total = np.full(40, 10)
    wide, narrow = share(alike, total), share(apart, total)
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng, covered = np.random.default_rng(1), 0
    for _ in range(200):
        ease = rng.beta(8, 2, 60)  # scenes differ: 80 % on average
        figure = share(rng.binomial(10, ease), np.full(60, 10))
        covered += figure.low <= 0.8 <= figure.high
    assert 0.88 <= covered / 200 <= 0.99


def test_nothing_asked_has_no_figure():
    nothing = np.zeros(3, int)
    assert share(nothing, nothing) is None and difference(nothing, nothing, nothing) is None
    assert ratio(np.ones(3, int), nothing) is None
