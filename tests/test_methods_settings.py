"""Settings of methods: what may not be is refused in one sentence, and everything that may be runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from duet_core.errors import PlanError
from duet_core.methods import METHODS, build_method
from duet_core.plan import Plan
from tests.conftest import small_inputs, small_llava
from tests.test_methods_before import frames_of, keeps_its_books

HINTS = {
    (method, field.name): get_type_hints(chosen, include_extras=True)[field.name]
    for method, chosen in METHODS.items()
    for field in fields(chosen)
    if field.name != "plan"
}


def extremes(hint) -> list:
    """The least and the most that an annotation allows; large for what has no upper bound."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) is tuple:
        return list(zip(*map(extremes, get_args(hint)), strict=True))
    if get_origin(hint) is not Annotated:
        return {bool: [False, True], float: [-3.0, 3.0]}.get(hint, [None])
    kind, rule = get_args(hint)
    bounds = {type(bound).__name__: getattr(bound, type(bound).__name__.lower()) for bound in rule.metadata}
    least = bounds["Ge"] if "Ge" in bounds else bounds["Gt"] + 1e-6
    return [kind(least), kind(bounds.get("Le", 1000))]


@pytest.fixture(scope="module")
def model():
    return small_llava(grid=6, depth=8)


@pytest.mark.parametrize(("method", "name"), HINTS)
def test_the_least_and_the_most_allowed_run(model, method, name):
    clip = not METHODS[method].about.pictures
    inputs, frames = (frames_of(model), 3) if clip else (small_inputs(model), None)
    for value in extremes(HINTS[method, name]):
        plan = model.plan(method, budget=14 * (frames or 1), frames=frames, settings={name: value})
        run = model.prefill(inputs, plan)
        assert run.logits.isfinite().all(), value
        assert len(run.trace.tokens_per_layer) == 8


@pytest.mark.parametrize(
    ("method", "settings", "wrong"),
    [
        ("vispruner", {"important": 1.5}, "less than or equal to 1"),
        ("vispruner", {"important": float("nan")}, "finite"),
        ("vispruner", {"at_once": 0}, "greater than or equal to 1"),
        ("vispruner", {"at_once": 2.0}, "valid integer"),
        ("metok", {"strides": (1, 2)}, "required"),
        ("metok", {"strides": (1, 0, 2)}, "greater than or equal to 1"),
        ("cdpruner", {"relevance": "most"}, "'even' or 'question'"),
        ("quecc", {"temperature": 0}, "greater than 0"),
        ("trio", {"times_state": "yes"}, "valid boolean"),
        ("fitprune", {"recipe": (3, -1)}, "greater than or equal to 0"),
        ("tome", {"title": "mine"}, "has no setting 'title'; choose among at_once"),
        ("duet", {"plan": None}, "has no setting 'plan'; it has none"),
    ],
)
def test_what_may_not_be_is_refused_in_a_sentence(method, settings, wrong):
    with pytest.raises(PlanError, match=wrong) as refused:
        build_method(Plan(method, dominant=4, settings=tuple(settings.items())))
    assert len(str(refused.value).splitlines()) == 1 and "pydantic" not in str(refused.value)


def test_a_huge_value_does_not_fill_the_sentence():
    with pytest.raises(PlanError) as refused:
        build_method(Plan("fitprune", settings=(("recipe", "x" * 10_000),)))
    assert len(str(refused.value)) < 200


def test_the_books_are_kept_at_an_extreme(model):
    run = model.prefill(small_inputs(model), model.plan("vispruner", budget=7, settings={"important": 0.0}))
    keeps_its_books(run.trace)
