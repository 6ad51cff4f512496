"""One run of the speed bench: every plan, the bare decoder layers it could at best be as fast as, and transformers.

All take turns in every round, so that whatever slows the machine slows them all alike; every figure is a ratio within
a round, or its median over rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from duet_core import running
from duet_core.bench.speed import PlanSpeed, summed_up
from duet_core.cost import Cost
from duet_core.engine import Encoded, Model, Picture
from duet_core.plan import Plan
from duet_core.timing import Spread
from duet_core.trace import Trace

BATCHES = (1, 4)
_TOKENS = 4  # decoded in each run of a plan
_LONGEST = 24  # tokens decoded beside transformers
_WARM_UP = 2  # rounds


@dataclass(frozen=True, slots=True)
class Lap:
    """One plan in one round: its `cost`, the milliseconds of the floor, and how long a second question waited.

    `floor_ms`: the language model's own layers over random states of the lengths that the plan left to each of them.
    `again_ms`: from the question to the first piece of the answer on the wall clock, the picture being encoded.
    """

    cost: Cost
    floor_ms: float
    again_ms: float


def measure_speed(
    model: Model, picture: Picture, question: str, plans: Mapping[str, Plan], repeats: int
) -> dict[str, Any]:
    """Time plans by name on one picture or clip, the first of them the one to compare with, and our loop itself."""
    encoded = model.encode(picture)
    rounds = [
        [_lap(model, picture, encoded, question, plan) for plan in plans.values()] for _ in range(_WARM_UP + repeats)
    ]
    laps = list(zip(*rounds[_WARM_UP:], strict=True))  # of each plan
    return {
        "against_generate": {str(many): against_generate(model, picture, question, repeats, many) for many in BATCHES},
        "budgets": [
            {"budget": name, **_figures(plan, own, laps[0])}
            for (name, plan), own in zip(plans.items(), laps, strict=True)
        ],
    }


def _lap(model: Model, picture: Picture, encoded: Encoded, question: str, plan: Plan) -> Lap:
    answer = model.ask(picture, question, plan, max_new_tokens=_TOKENS)
    lengths = [visual + answer.cost.text_tokens for visual in answer.trace.tokens_per_layer]
    return Lap(answer.cost, bare_layers(model, lengths), _again(model, encoded, question, plan))


def _again(model: Model, encoded: Encoded, question: str, plan: Plan) -> float:
    """Return the milliseconds that a question about an encoded picture waits for the first piece of its answer."""
    begin = time.perf_counter()
    for event in model.stream(encoded, question, plan, max_new_tokens=1):
        if not isinstance(event, Trace):
            break
    return 1000.0 * (time.perf_counter() - begin)


@torch.inference_mode()
def bare_layers(model: Model, lengths: Sequence[int]) -> float:
    """Return the milliseconds that the decoder's own layers take over random states of these lengths."""
    backbone = model.backbone

    @cache
    def states(length: int) -> tuple[Tensor, Any]:
        hidden = torch.randn(1, length, backbone.layer_shape.width, device=backbone.device, dtype=backbone.dtype)
        return hidden, backbone.rotary(torch.arange(length, device=backbone.device)[None], hidden)

    for length in set(lengths):
        states(length)

    def run() -> None:
        for layer, length in zip(backbone.layers, lengths, strict=True):
            hidden, rotary = states(length)
            layer(hidden, attention_mask=None, position_embeddings=rotary)

    return _milliseconds(run)


def _figures(plan: Plan, own: Sequence[Lap], first: Sequence[Lap]) -> dict[str, Any]:
    """Return a plan's figures: its times and bytes, and its ratios to the first plan and to the floor."""
    speed: PlanSpeed = summed_up(plan, [lap.cost for lap in own], [lap.cost for lap in first])
    pairs = list(zip(own, first, strict=True))
    spreads = {
        "floor_ms": [lap.floor_ms for lap in own],
        "over_floor": [lap.cost.prefill_ms / lap.floor_ms for lap in own],
        "with_selection_over_floor": [(lap.cost.prefill_ms + lap.cost.select_ms) / lap.floor_ms for lap in own],
        "floor_ratio": [full.floor_ms / lap.floor_ms for lap, full in pairs],
        "selection_share": [lap.cost.select_ms / full.cost.prefill_ms for lap, full in pairs],
        "again_ms": [lap.again_ms for lap in own],
        "again_over_full": [lap.again_ms / full.cost.first_token_ms for lap, full in pairs],
    }
    ratio = first[0].cost.prefill_flops / speed.flops
    figures = {name: Spread.of(values).to_json() for name, values in spreads.items()}
    return {**speed.to_json(), "flops_ratio": round(ratio, 3), **figures}


def against_generate(model: Model, picture: Picture, question: str, repeats: int, batch: int) -> dict[str, Any]:
    """Return our loop's time with nothing dropped over transformers' own `generate`, same inputs, in turns.

    `prefill`: up to the first token, the vision encoder included; `decode`: the further tokens alone. Neither side ends
    at an end token, so that there is something to decode; `same_tokens`: whether both came to the same ones.
    """
    inputs = {name: torch.cat([value] * batch) for name, value in model.inputs(picture, question).items()}
    endless = {
        "do_sample": False,
        "eos_token_id": model.backbone.model.config.text_config.vocab_size,
        "pad_token_id": 0,
    }

    def theirs(tokens: int) -> Any:
        return model.backbone.model.generate(**inputs, max_new_tokens=tokens, **endless)

    with torch.inference_mode():
        made = theirs(_LONGEST)[0, inputs["input_ids"].shape[1] :]  # both warm up
        same = _ours(model, inputs, _LONGEST) == made.tolist()
        rounds = []
        for _ in range(repeats):
            mine = [_milliseconds(partial(_ours, model, inputs, many)) for many in (1, _LONGEST)]
            rounds.append((mine, [_milliseconds(partial(theirs, many)) for many in (1, _LONGEST)]))
    decode = [(mine[1] - mine[0]) / (other[1] - other[0]) for mine, other in rounds]
    return {
        "prefill": Spread.of([mine[0] / other[0] for mine, other in rounds]).to_json(),
        "decode": Spread.of(decode).to_json(),
        "new_tokens": _LONGEST,
        "same_tokens": same,
    }


def _ours(model: Model, inputs: Mapping[str, Any], tokens: int) -> list[int]:
    """Decode so many tokens of every sample, as `running.decode` does; returns those of the first."""
    run = model.prefill(inputs, model.plan("none"))
    chosen = run.logits.argmax(dim=-1)  # (B,)
    heard = [chosen.tolist()]
    for step in range(tokens - 1):
        chosen = running.next_tokens(model.backbone, run, chosen, step)
        heard.append(chosen.tolist())
    return [samples[0] for samples in heard]


def _milliseconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000.0 * (time.perf_counter() - begin)
