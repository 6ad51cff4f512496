"""Times plans side by side: interleaved runs, so that whatever slows the machine slows them all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch

from duet_core.cost import Cost
from duet_core.engine import Encoded, Model, Picture
from duet_core.plan import Plan
from duet_core.timing import Spread


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
    turns = compare_in_turns(model, picture, question, plans, repeats, warm_up)
    while True:
        try:
            next(turns)
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
    return [_summary(plan, own, costs[0]) for plan, own in zip(plans, costs, strict=True)]


def _once(model: Model, picture: Picture | Encoded, question: str, plan: Plan) -> Cost:
    return model.ask(picture, question, plan, max_new_tokens=4).cost


def _summary(plan: Plan, own: list[Cost], first: list[Cost]) -> PlanSpeed:
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


def measure_speed(
    model: Model, picture: Picture, question: str, plans: Mapping[str, Plan], repeats: int
) -> dict[str, object]:
    """Time plans by name on one picture or clip, the first of them the one to compare with, and our loop itself."""
    speeds = compare_plans(model, picture, question, list(plans.values()), repeats)
    full = speeds[0]
    return {
        "against_generate": _against_generate(model, picture, question, repeats).to_json(),
        "budgets": [
            {
                "budget": name,
                **speed.to_json(),
                "flops_ratio": round(full.flops / speed.flops, 3),
                "selection_share": round(speed.select_ms.median / full.prefill_ms.median, 4),
            }
            for name, speed in zip(plans, speeds, strict=True)
        ],
    }


def _against_generate(model: Model, picture: Picture, question: str, repeats: int) -> Spread:
    """Return our loop's time with nothing dropped over transformers' own `generate`, same inputs, in turns."""
    inputs = model.inputs(picture, question)
    with torch.inference_mode():

        def theirs() -> None:
            model.backbone.model.generate(**inputs, max_new_tokens=48, do_sample=False)

        def ours() -> None:
            model.generate(inputs, model.plan("none"), 48)

        theirs()  # both warm up
        ours()
        return Spread.of([_seconds(ours) / _seconds(theirs) for _ in range(repeats)])


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def speed_table(report: dict, threads: int) -> str:
    """Return the report as Markdown: ratios first, since absolute times are this machine's."""
    loop = report["against_generate"]
    lines = [
        f"Nothing dropped, our loop against transformers' generate: {loop['median']:.2f}x the time"
        f" ({loop['low']:.2f} to {loop['high']:.2f}, {loop['runs']} pairs, {threads} threads).",
        "",
        "| budget | prefill faster | FLOPs fewer | first token sooner | selection / full prefill | prefill ms |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_speed_line(row) for row in report["budgets"]])


def _speed_line(row: dict) -> str:
    def times(spread: dict) -> str:
        return f"{spread['median']:.2f}x ({spread['low']:.2f} to {spread['high']:.2f})"

    cells = [
        str(row["budget"]),
        times(row["prefill_ratio"]),
        f"{row['flops_ratio']:.2f}x",
        times(row["first_token_ratio"]),
        f"{100 * row['selection_share']:.1f} %",
        f"{row['prefill_ms']['median']:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"
