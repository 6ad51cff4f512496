"""Plans: the published points, and any budget within one token."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_core import Plan, PlanError
from duet_core.merging import entering_count
from duet_core.methods import METHODS, find_method
from duet_core.plan import Size, duet_schedule, target_budget


def average(plan: Plan, size: Size) -> float:
    """The average a run would have: what really leaves stage 1, over the layers."""
    entering = size.tokens if plan.dominant is None else entering_count(size.tokens + 1, plan.dominant, plan.contextual)
    return sum(plan.tokens_per_layer(entering, size.layers)) / size.layers


@pytest.mark.parametrize(
    ("budget", "dominant", "contextual", "exact"), [(192, 300, 7, 191.75), (128, 170, 35, 128.0), (64, 85, 17, 63.75)]
)
@pytest.mark.parametrize("layers", [32, 8, 40])
def test_published_points(budget, dominant, contextual, exact, layers):
    plan = duet_schedule("duet", budget, Size(576, layers))
    assert (plan.dominant, plan.contextual, plan.cluster_width) == (dominant, contextual, 4)
    assert (plan.layers, plan.keep) == ((layers // 2, 3 * layers // 4), (0.5, 0.0))
    assert average(plan, Size(576, layers)) == exact


@given(
    tokens=st.integers(16, 700),
    layers=st.integers(4, 48),
    share=st.floats(0.02, 1.0),
    name=st.sampled_from(["duet", "random"]),
)
def test_any_budget_lands_within_one_token(tokens, layers, share, name):
    size = Size(tokens, layers)
    target = max(2.0, share * tokens)
    plan = find_method(name).schedule(target, size)
    plan.check(layers)
    assert abs(average(plan, size) - target) <= 1.0


@given(reduction=st.floats(0.0, 0.99))
def test_more_reduction_never_means_more_tokens(reduction):
    size = Size(576, 8)
    here, further = (
        average(duet_schedule("duet", target_budget(size, reduction=r), size), size)
        for r in (reduction, reduction + 0.005)
    )
    assert further <= here + 1.0


def test_no_reduction_keeps_everything():
    assert duet_schedule("duet", target_budget(Size(576, 8), reduction=0.0), Size(576, 8)) == Plan(method="duet")


@pytest.mark.parametrize(
    "wrong",
    [
        {"dominant": 0}, {"contextual": -1}, {"cluster_width": 0}, {"layers": (3,), "keep": ()},
        {"layers": (3,), "keep": (1.5,)}, {"layers": (5, 3), "keep": (0.5, 0.2)},
        {"layers": (3, 5), "keep": (0.2, 0.5)}, {"queries": "every word"},
    ],
)  # fmt: skip
def test_impossible_numbers_are_told(wrong):
    with pytest.raises(PlanError, match=next(iter(wrong)) if len(wrong) == 1 else "layers|keep"):
        Plan(**wrong)


WRONG_TARGETS = [{}, {"reduction": 0.5, "budget": 3}, {"reduction": 1.0}, {"reduction": -0.1}, {"budget": 577}]


@pytest.mark.parametrize("wrong", WRONG_TARGETS)
def test_impossible_targets_are_told(wrong):
    with pytest.raises(PlanError):
        target_budget(Size(576, 8), **wrong)


def test_unknown_method_lists_the_known():
    with pytest.raises(PlanError, match=re.escape(", ".join(METHODS))):
        find_method("fastest")
