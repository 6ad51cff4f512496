"""Times plans side by side: interleaved runs, so that whatever slows the machine slows them all alike."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from duet_core.cost import Cost
from duet_core.engine import Encoded, Model, Picture
from duet_core.plan import Plan
from duet_core.timing import Spread

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanSpeed:
    """One plan's measured times in milliseconds, and how many times faster it was than the first plan.

    The ratios pair run i of the first plan with run i of this one; above 1 means that this plan was faster.
    `decode_ms` is None when no answer had a second token.
    """

    plan: Plan
    encode_ms: Spread
    select_ms: Spread
    prefill_ms: Spread
    first_token_ms: Spread
    decode_ms: Spread | None
    prefill_ratio: Spread
    first_token_ratio: Spread
    flops: int
    kv_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return the figures as plain JSON values."""
        spreads = {name: getattr(self, name) for name in self.__slots__ if name != "plan"}
        return {name: v.to_json() if isinstance(v, Spread) else v for name, v in spreads.items()}


def compare_plans(
    model: Model, picture: Picture, question: str, plans: Sequence[Plan], repeats: int = 5, warm_up: int = 1
) -> list[PlanSpeed]:
    """Ask the same question under each plan in turn, `repeats` times over, and compare all plans with the first.

    Each run encodes the picture anew and decodes a few tokens, so that every figure belongs to one run.
    """
    return drained(compare_in_turns(model, picture, question, plans, repeats, warm_up))


def drained(work: Generator[Any, None, T]) -> T:
    """Run a generator to its end, whatever it yields on the way, and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def compare_in_turns(
    model: Model, picture: Picture, question: str, plans: Sequence[Plan], repeats: int = 5, warm_up: int = 1
) -> Generator[None, None, list[PlanSpeed]]:
    """Do as `compare_plans`, and yield after each run, so that whoever waits no more can end it there."""
    costs: list[list[Cost]] = [[] for _ in plans]
    for _ in range(warm_up + repeats):
        for plan, own in zip(plans, costs, strict=True):
            own.append(_once(model, picture, question, plan))
            yield
    costs = [own[warm_up:] for own in costs]
    return [summed_up(plan, own, costs[0]) for plan, own in zip(plans, costs, strict=True)]


def _once(model: Model, picture: Picture | Encoded, question: str, plan: Plan) -> Cost:
    return model.ask(picture, question, plan, max_new_tokens=4).cost


def summed_up(plan: Plan, own: Sequence[Cost], first: Sequence[Cost]) -> PlanSpeed:
    """Return the figures of one plan's runs, each paired with the run of the first plan in the same round."""
    decode = [cost.decode_ms for cost in own if cost.decode_ms is not None]
    return PlanSpeed(
        plan=plan,
        encode_ms=Spread.of([cost.encode_ms for cost in own]),
        select_ms=Spread.of([cost.select_ms for cost in own]),
        prefill_ms=Spread.of([cost.prefill_ms for cost in own]),
        first_token_ms=Spread.of([cost.first_token_ms for cost in own]),
        decode_ms=Spread.of(decode) if decode else None,
        prefill_ratio=Spread.of([a.prefill_ms / b.prefill_ms for a, b in zip(first, own, strict=True)]),
        first_token_ratio=Spread.of([a.first_token_ms / b.first_token_ms for a, b in zip(first, own, strict=True)]),
        flops=own[0].prefill_flops,
        kv_bytes=own[0].kv_bytes,
    )
