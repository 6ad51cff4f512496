"""The plan on the page: slider -> exact numbers, exact numbers -> plan, and the count in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from app import messages
from duet_core.errors import PlanError
from duet_core.methods import find_method
from duet_core.plan import Plan, Size, target_budget


@dataclass(frozen=True, slots=True)
class Exact:
    """The folded fields as they stand on the page: lists are text with commas, an empty number is None."""

    dominant: float | None
    contextual: float | None
    cluster_width: float | None
    layers: str
    keep: str
    queries: str


_MOST, _MOST_LAYERS = 1_000_000, 200  # more than any model has tokens or layers
EXACT_FIELDS = tuple(field.name for field in fields(Exact))


def plan_for(method: str, reduction: float, size: Size) -> Plan:
    """Return the plan a method makes of a reduction in [0, 1) for a model of this size."""
    return find_method(method).schedule(target_budget(size, reduction=reduction), size)


def exact_of(plan: Plan) -> Exact:
    """Return the folded fields that show a plan."""
    return Exact(
        dominant=plan.dominant,
        contextual=plan.contextual,
        cluster_width=plan.cluster_width,
        layers=", ".join(str(layer) for layer in plan.layers),
        keep=", ".join(f"{ratio:.4g}" for ratio in plan.keep),
        queries=plan.queries,
    )


def exact_plan(method: str, exact: Exact) -> Plan:
    """Return the plan of the folded fields; a PlanError names the field that cannot be read."""
    everything = exact.dominant is None
    return Plan(
        method=method,
        dominant=None if everything else _count("dominant", exact.dominant, 1),
        contextual=0 if everything else _count("contextual", exact.contextual, 0),
        cluster_width=_count("cluster width", exact.cluster_width, 1),
        layers=tuple(int(number) for number in _numbers("layers", exact.layers, "4, 6")),
        keep=tuple(_numbers("keep ratios", exact.keep, "0.5, 0")),
        queries=exact.queries,  # type: ignore[arg-type]
    )


def _count(name: str, value: float | None, least: int) -> int:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not known or value != int(value) or not least <= value <= _MOST:  # type: ignore[arg-type,operator]
        raise PlanError(messages.not_a_count(name, value, least))
    return int(value)  # type: ignore[arg-type]


def _numbers(name: str, text: str, example: str) -> list[float]:
    parts = [part.strip() for part in str(text or "").split(",") if part.strip()]
    try:
        numbers = [float(part) for part in parts[:_MOST_LAYERS]]
    except ValueError:
        numbers = [math.nan]
    if len(parts) > _MOST_LAYERS or not all(abs(number) <= _MOST for number in numbers):
        raise PlanError(messages.not_numbers(name, str(text)[:60], example))
    return numbers


def average_tokens(plan: Plan, size: Size) -> float:
    """Return the visual tokens a layer sees on average under a plan."""
    counts = plan.tokens_per_layer(plan.entering(size), size.layers)
    return sum(counts) / len(counts)


def in_words(plan: Plan, size: Size) -> str:
    """Return what the plan leaves, as "192 of 576 tokens on average"."""
    return f"{average_tokens(plan, size):,.0f} of {size.total:,} tokens on average"
