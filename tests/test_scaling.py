"""QueCC's scaling law: fits find what made the points, say what they cannot tell, and choices keep to their FLOPs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_core import PlanError
from duet_core.__main__ import main
from duet_core.scaling import ASSUMED, MOST_TOKENS, RECORDED, Law, Point, best_choice, choices, fit, unidentified

SIZES = (0.5, 1.8, 4.0, 7.0, 14.0)
laws = st.builds(Law, st.floats(1, 60), st.floats(0.02, 0.8), st.floats(0.02, 0.8), st.floats(0, 35))


def points_of(law: Law, sizes=(1.0, 4.0, 13.0), tokens=(1, 16, 144, 576)) -> list[Point]:
    return [Point(size, count, 100 - law.error(size, count)) for size in sizes for count in tokens]


@settings(max_examples=6)
@given(law=laws)
def test_a_fit_finds_the_law_that_made_the_points(law):
    found = fit(points_of(law))
    assert found.assumed == ()
    for point in points_of(law, (2.0, 7.0), (4, 36, 300)):
        assert found.error(point.billions, point.tokens) == pytest.approx(point.error, rel=2e-3)


@settings(max_examples=6)
@given(law=laws)
def test_points_of_one_size_tell_all_but_the_size_s_exponent(law):
    points = points_of(law, (7.0,))
    found = fit(points)
    assert (found.assumed, found.a) == (("a",), ASSUMED["a"])
    assert all(found.error(7.0, point.tokens) == pytest.approx(point.error, rel=5e-3) for point in points)


def test_what_so_few_points_cannot_tell_is_assumed():
    assert unidentified([Point(7, 1, 40)]) == ("a", "c", "d")
    assert unidentified([Point(7, 1, 40), Point(7, 36, 50)]) == ("a", "c")
    assert unidentified([Point(1, 1, 40), Point(7, 36, 50), Point(7, 576, 55)]) == ()
    one = fit([Point(7, 576, 60)])
    assert (one.a, one.c, one.d) == (ASSUMED["a"], ASSUMED["c"], ASSUMED["d"]) and one.error(7, 576) == pytest.approx(
        40
    )
    with pytest.raises(PlanError, match="at least one point"):
        fit([])


def test_the_recorded_points_are_met():
    law = fit(RECORDED["average"])
    assert law.assumed == ("a",) and law.c == pytest.approx(0.061, abs=0.005)
    assert all(law.error(7, point.tokens) == pytest.approx(point.error, abs=0.02) for point in RECORDED["average"])


@given(law=laws, flops=st.floats(1e10, 1e14), text=st.integers(0, 200))
def test_choices_keep_to_their_flops_and_the_best_is_one_of_them(law, flops, text):
    offered = choices(law, flops, SIZES, text)
    if not offered:
        with pytest.raises(PlanError, match="allow more FLOPs"):
            best_choice(law, flops, SIZES, text)
        return
    assert all(1 <= one.tokens <= MOST_TOKENS and 2e9 * one.billions * (one.tokens + text) <= flops for one in offered)
    best = best_choice(law, flops, SIZES, text)
    assert best in offered and best.error == min(one.error for one in offered)


@given(law=laws, flops=st.floats(1e11, 1e13))
def test_more_flops_never_do_worse(law, flops):
    assert best_choice(law, 2 * flops, SIZES).error <= best_choice(law, flops, SIZES).error + 1e-9


def test_where_size_counts_more_than_tokens_the_largest_model_wins():
    """N T is fixed, so the error falls with N where a > c, until no more than one token is left."""
    assert best_choice(Law(50, 0.3, 0.1, 0), 28e9 * 1.01, SIZES).billions == 14
    assert best_choice(Law(50, 0.1, 0.3, 0), 2e9 * 0.5 * 500, SIZES).billions == 0.5


def test_the_command_flags_the_doubtful_number_and_does_not_fit_it(capsys):
    assert main(["scaling", "--tflops", "1", "--sizes", "4", "14"]) == 0
    said = capsys.readouterr().out
    assert "| 7B | 576 | 34.6 | left out: the published file has the same number for 4B and 7B" in said
    assert "not identified by these points, but assumed: a." in said
    assert "not identified by these points, but assumed: a, c, d." in said
    assert "| FLOPs | 4B | 14B | best |" in said and "| 1e+12 |" in said
