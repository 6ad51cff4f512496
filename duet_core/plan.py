"""The numbers of one run, and how a slider or a budget becomes such numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from duet_core.errors import PlanError

Queries = Literal["salient", "all_text", "last"]
Stages = Literal["both", "1", "2"]

# Contextual tokens as a share of the tokens entering, at shares of a picture's tokens that enter: the knots are the
# published settings for pictures of 576 tokens (85/17, 170/35, 300/7) and frames of 256 (20/7, 160/32), and all kept.
_IN_PICTURES = ((0.0, 17 / 102), (102 / 576, 17 / 102), (205 / 576, 35 / 205), (307 / 576, 7 / 307), (1.0, 0.0))
_IN_FRAMES = ((0.0, 7 / 27), (27 / 256, 7 / 27), (192 / 256, 32 / 192), (1.0, 0.0))
_KEEP_AT_HALF, _KEEP_AT_THREE_QUARTERS = 0.5, 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of one run.

    `dominant`: tokens kept unchanged in stage 1, CLS included; None keeps every patch and skips stage 1.
    `contextual`: merged tokens; `cluster_width`: patches pooled per contextual token. Before the language-model layer
    `layers[i]` (0-based) `int(n1 * keep[i])` of the n1 entering visual tokens are kept. `queries`: whose attention
    ranks them (engine.md, stage 2). `seed` is for methods that draw at random; `settings`: further ones of the method,
    (name, value) each. `shared`: how many tokens enter of all crops or frames together, for a method that shares them
    out itself (`Method.share_out`); `dominant` is then their mean.
    """

    method: str = "duet"
    dominant: int | None = None
    contextual: int = 0
    cluster_width: int = 4
    layers: tuple[int, ...] = ()
    keep: tuple[float, ...] = ()
    queries: Queries = "salient"
    seed: int = 0
    settings: tuple[tuple[str, Any], ...] = ()
    shared: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no model could run; a PlanError says which."""
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "keep", tuple(self.keep))
        _require(self.dominant is None or self.dominant >= 1, "dominant", self.dominant, "at least 1, or None")
        _require(self.contextual >= 0, "contextual", self.contextual, "at least 0")
        _require(self.cluster_width >= 1, "cluster_width", self.cluster_width, "at least 1")
        _require(self.shared is None or self.shared >= 1, "shared", self.shared, "at least 1, or None")
        _require(len(self.layers) == len(self.keep), "keep", self.keep, f"one ratio per layer in {self.layers}")
        _require(all(0.0 <= ratio <= 1.0 for ratio in self.keep), "keep", self.keep, "ratios between 0 and 1")
        rising = all(a < b for a, b in pairwise(self.layers))
        _require(rising, "layers", self.layers, "strictly rising layer numbers")
        falling = all(a >= b for a, b in pairwise(self.keep))
        _require(falling, "keep", self.keep, "ratios that never rise again")
        _require(self.queries in get_args(Queries), "queries", self.queries, " | ".join(get_args(Queries)))

    def check(self, n_layers: int) -> None:
        """Raise a PlanError if a pruning layer lies outside a model of `n_layers` layers."""
        inside = all(1 <= layer < n_layers for layer in self.layers)
        _require(inside, "layers", self.layers, f"layer numbers from 1 to {n_layers - 1}, the model's last layer")

    def only(self, stages: Stages) -> Plan:
        """Return this plan with one stage alone: "1" prunes nothing inside the model, "2" lets every patch in."""
        if stages == "1":
            return replace(self, layers=(), keep=())
        return replace(self, dominant=None) if stages == "2" else self

    def resized(self, dominant: int, contextual: int) -> Plan:
        """Return this plan with another number of tokens from stage 1."""
        return replace(self, dominant=dominant, contextual=contextual)

    def ratio_at(self, layer: int) -> float | None:
        """Return the share of the entering tokens kept from this layer on, None where nothing is dropped."""
        return dict(zip(self.layers, self.keep, strict=True)).get(layer)

    def entering(self, size: Size) -> int:
        """Return how many tokens enter of what has this size."""
        if self.dominant is None:
            return size.total
        return size.entering(self.dominant + self.contextual) if self.shared is None else min(self.shared, size.total)

    def tokens_per_layer(self, entering: int, n_layers: int) -> tuple[int, ...]:
        """Return the visual tokens each layer sees when `entering` tokens come out of stage 1."""
        counts = [entering] * n_layers
        for layer, ratio in zip(self.layers, self.keep, strict=True):
            counts[layer:] = [int(entering * ratio)] * (n_layers - layer)
        return tuple(counts)


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise PlanError(f"The plan's {name} is {value}; it must be {limit}.")


@dataclass(frozen=True, slots=True)
class Size:
    """What a plan depends on: visual tokens of one picture, language-model layers, and pictures (frames of a clip).

    A plan's `dominant` and `contextual` count for every frame; a budget for all of them together. Where one picture is
    several crops, they count for every crop, and `rooms` tells how many tokens each crop can pass on at most.
    """

    tokens: int
    layers: int
    frames: int = 1
    rooms: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """Visual tokens of the whole clip (or the one picture)."""
        return self.tokens * self.frames

    @property
    def parts(self) -> int:
        """How many frames or crops stage 1 looks at, each for itself."""
        return len(self.rooms) or self.frames

    @property
    def most(self) -> int:
        """The most tokens that stage 1 can leave of a frame or crop."""
        return max(self.rooms, default=self.tokens)

    def entering(self, each: int) -> int:
        """Return how many tokens enter when stage 1 leaves so many of each frame or crop, of all there are at most."""
        return sum(min(each, room) for room in self.rooms) if self.rooms else min(each, self.tokens) * self.frames

    def each(self, entering: float) -> int:
        """Return how many tokens of each frame or crop, at least one, come closest to so many in all."""
        if not self.rooms:
            return max(1, round(entering / self.frames))
        return min(range(1, self.most + 1), key=lambda each: abs(self.entering(each) - entering))


def target_budget(size: Size, reduction: float | None = None, budget: float | None = None) -> float:
    """Return the wanted average of visual tokens per layer, from a reduction in [0, 1) or a budget in tokens.

    Raises a PlanError when both or neither are given, or when the value lies outside what the model can do.
    """
    if (reduction is None) == (budget is None):
        raise PlanError("A plan takes either a reduction or a budget; give exactly one of the two.")
    if budget is None:
        share = 0.0 if reduction is None else reduction
        _require(0.0 <= share < 1.0, "reduction", share, "at least 0 and below 1")
        return size.total * (1.0 - share)
    _require(size.parts <= budget <= size.total, "budget", budget, f"between {size.parts} and {size.total} tokens")
    return float(budget)


def duet_schedule(method: str, target: float, size: Size) -> Plan:
    """Return the plan of DUET's schedule whose average comes closest to `target` visual tokens per layer.

    Layers at 1/2 and 3/4 of the depth. Up to the budget where everything enters, the ratios stay at the published 0.5
    and 0 and the entering tokens vary, as many in each frame of a clip; above it everything enters and the ratios rise
    towards 1.
    """
    if target >= size.total:
        return Plan(method=method)
    base = scheduled(Plan(method=method), size.layers)
    if target > _average(base, size.total, size.layers):
        return _milder(base, target, size)
    each = min(_choices(size), key=lambda n: abs(_average(base, size.entering(n), size.layers) - target))
    plan = _tuned(_split(base, each, size), size.entering(each), target, size.layers)
    if size.rooms and abs(_average(plan, size.entering(each), size.layers) - target) > 1.0:
        return _tuned(base, size.total, target, size.layers)  # what ends the lines makes up too much of all the tokens
    return plan


def _choices(size: Size) -> range:
    """Return how many tokens stage 1 may leave of each frame or crop, so that no more enter than there are."""
    if not size.rooms:
        return range(1, size.tokens + 1)
    return range(2, max(3, bisect_right(range(size.most + 1), size.total, key=size.entering)))


def scheduled(base: Plan, n_layers: int) -> Plan:
    """Return the plan with DUET's pruning layers and ratios for a depth; a shallow model has fewer of them."""
    places = {n_layers // 2: _KEEP_AT_HALF, 3 * n_layers // 4: _KEEP_AT_THREE_QUARTERS}
    places.pop(0, None)
    return replace(base, layers=tuple(places), keep=tuple(places.values()))


def _average(plan: Plan, entering: int, n_layers: int) -> float:
    counts = plan.tokens_per_layer(entering, n_layers)
    return sum(counts) / len(counts)


def _split(base: Plan, entering: int, size: Size) -> Plan:
    """Divide a picture's entering tokens into dominant and contextual ones as the published settings do."""
    share = _interpolate(_IN_PICTURES if size.frames == 1 else _IN_FRAMES, entering / size.most)
    contextual = min(max(1, round(entering * share)), entering - 1)
    return replace(base, dominant=entering - contextual, contextual=contextual)


def _interpolate(knots: Sequence[tuple[float, float]], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(knots):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return knots[-1][1]


def _tuned(plan: Plan, entering: int, target: float, n_layers: int) -> Plan:
    """Shift the first ratio where a token more in every frame would step over the target; one frame never needs it."""
    if not plan.keep or abs(_average(plan, entering, n_layers) - target) <= 1.0:
        return plan

    def keeping(tokens: int) -> Plan:
        return replace(plan, keep=((tokens + 0.5) / entering, *plan.keep[1:]))

    return closest_plan(keeping, range(entering), entering, target, n_layers)


def _milder(base: Plan, target: float, size: Size) -> Plan:
    """Keep every patch and raise the ratios just so far that the average meets the target."""
    steps = range(4 * size.total + 1)

    def at(step: int) -> Plan:
        t = step / steps[-1]
        return replace(base, keep=tuple(ratio + (1.0 - ratio) * t for ratio in base.keep))

    return closest_plan(at, steps, size.total, target, size.layers)


def closest_plan(plan_at: Callable[[int], Plan], steps: range, entering: int, target: float, n_layers: int) -> Plan:
    """Return the plan of the step whose average comes closest to the target; averages must rise with the steps."""

    def average(step: int) -> float:
        return _average(plan_at(step), entering, n_layers)

    above = bisect_left(steps, target, key=average)
    return plan_at(min((k for k in (above - 1, above) if k in steps), key=lambda k: abs(average(k) - target)))
