"""How methods other than DUET spend a budget: all before the model, at layers inside it, or some of both.

Every solver lands within one token of the target where its method can; where it cannot, it comes as close as it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from duet_core.plan import Plan, Size, closest_plan

PUBLISHED_DEPTH = 32
"""Layers of the model that the field's layer numbers are given for."""


def at_depth(layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Return layer numbers of a 32-layer model at the same depth of another; a shallow model may have fewer of them."""
    scaled = {max(1, round(layer * n_layers / PUBLISHED_DEPTH)) for layer in layers}
    return tuple(sorted(layer for layer in scaled if layer < n_layers))


def before_model(method: str, target: float, size: Size, merged: float = 0.0) -> Plan:
    """Return the plan whose tokens all fall away before the model, equally many of each frame.

    `merged`: the share of the entering tokens that are contextual (merged) ones.
    """
    if target >= size.total:
        return Plan(method=method)
    entering = size.each(target)
    contextual = min(round(entering * merged), entering - 1)
    return Plan(method=method, dominant=entering - contextual, contextual=contextual)


def inside_model(method: str, target: float, size: Size, layers: Sequence[int], last: int | None = None) -> Plan:
    """Return the plan that cuts at `layers` (of a 32-layer model), by the same ratio each time.

    `last`: how many tokens the last cut leaves, where the method fixes that. No salient words guide such a plan.
    """
    plan = _cut(method, target, size, size.total, at_depth(layers, size.layers), last=last)
    return replace(plan, queries="last")


def shaped(method: str, target: float, size: Size, shares: Callable[[float], Sequence[float]]) -> Plan:
    """Return the plan in which the layers behind the first see falling shares of the tokens.

    `shares(t)`: those shares, one for each layer from 1 on; they rise with t, from the least at 0 to 1 at 1.
    """
    if target >= size.total:
        return Plan(method=method, queries="last")
    steps = range(16 * size.total + 1)

    def at(step: int) -> Plan:
        counts = [size.total, *(int(size.total * share) for share in shares(step / steps[-1]))]
        cuts = {layer: after for layer, (before, after) in enumerate(pairwise(counts), 1) if after < before}
        keep = _ratios(list(cuts.values()), size.total)
        return Plan(method=method, layers=tuple(cuts), keep=keep, queries="last")

    return closest_plan(at, steps, size.total, target, size.layers)


def before_and_inside(method: str, target: float, size: Size, layer: int, ratio: float) -> Plan:
    """Return the plan that lets some tokens in and cuts them to a share of `ratio` at one layer (of 32).

    Where all enter and that is still too few, the share rises.
    """
    if target >= size.total:
        return Plan(method=method)
    layers = at_depth((layer,), size.layers)
    if not layers:  # a model of one layer has no inside
        return before_model(method, target, size)
    (at,) = layers
    mean = (at + (size.layers - at) * ratio) / size.layers
    if size.total * mean < target:
        return _cut(method, target, size, size.total, (at,))
    entering = min(size.most, size.each(target / mean))
    return _cut(method, target, size, size.entering(entering), (at,), dominant=entering)


def in_stages(method: str, target: float, size: Size, layers: Sequence[int], shares: Sequence[float]) -> Plan:
    """Return the plan that lets some tokens in and keeps these shares of them from these layers on (of 32).

    A shallow model has the last ones only. The shares are scaled a little, so that whole tokens of every frame do not
    step over the target; where all tokens enter and that is still too few, they rise towards 1.
    """
    at = at_depth(layers, size.layers)
    if target >= size.total or not at:
        return before_model(method, target, size)
    shares = shares[len(shares) - len(at) :]
    lasting = [after - before for before, after in pairwise((*at, size.layers))]
    mean = (at[0] + sum(share * many for share, many in zip(shares, lasting, strict=True))) / size.layers
    enough = (each for each in range(1, size.most) if size.entering(each) * mean >= target - 1e-6)
    dominant = next(enough, None)
    enters = size.total if dominant is None else size.entering(dominant)

    def shifted(step: int) -> Plan:
        t = step / (4 * enters) - 1.0
        rising = dominant is None and t > 0.0
        keep = tuple(min(1.0, share + t * (1.0 - share if rising else share)) for share in shares)
        return Plan(method=method, dominant=dominant, layers=at, keep=keep)

    return closest_plan(shifted, range(8 * enters + 1), enters, target, size.layers)


def _cut(
    method: str,
    target: float,
    size: Size,
    entering: int,
    layers: tuple[int, ...],
    dominant: int | None = None,
    last: int | None = None,
) -> Plan:
    """Return the plan of cuts by a common ratio whose average comes closest to the target."""
    if target >= size.total or not layers:
        return Plan(method=method)
    steps = range(4 * entering + 1)

    def at(step: int) -> Plan:
        share = step / steps[-1]
        counts = [int(entering * share ** (number + 1)) for number in range(len(layers))]
        if last is not None:
            counts[-1] = min(last, counts[-1])
        return Plan(method=method, dominant=dominant, layers=layers, keep=_ratios(counts, entering))

    return closest_plan(at, steps, entering, target, size.layers)


def _ratios(counts: Sequence[int], entering: int) -> tuple[float, ...]:
    """Return the ratios of which `int(entering * ratio)` makes just these counts."""
    return tuple(min(1.0, (count + 0.5) / entering) if count else 0.0 for count in counts)
