"""How much of the speed-up that can be had a plan gets: beside the bare decoder layers, fed the same lengths."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from duet_core import running
from duet_core.batch import requests_of
from duet_core.cost import prefill_flops
from duet_core.engine import Model
from duet_core.plan import Plan
from duet_core.runs import Run
from duet_core.timing import Spread, Stopwatch

TEXT_TOKENS = 60


def bare_inputs(model: Model, seed: int) -> dict[str, Tensor]:
    """Return a random picture amid `TEXT_TOKENS` random words, for any checkpoint of one grid."""
    draw = torch.Generator().manual_seed(seed)
    eye, side = model.backbone.eye(clip=False), model.backbone.model.config.vision_config.image_size
    words = torch.randint(eye.token, (TEXT_TOKENS,), generator=draw).tolist()
    half = TEXT_TOKENS // 2
    ids = [*words[:half], *[eye.token] * model.size.tokens, *words[half:]]
    return {"input_ids": torch.tensor([ids]), "pixel_values": torch.randn(1, 3, side, side, generator=draw)}


def measure_floor(model: Model, plans: Mapping[str, Plan], repeats: int, seed: int) -> dict[str, Any]:
    """Time the prefill of every plan, both selections included, and bare layers of the same lengths, in turns.

    The first plan is the one that the others are compared with. One round warms up.
    """
    inputs = bare_inputs(model, seed)
    lengths: dict[str, list[int]] = {}
    rounds: list[dict[str, tuple[float, float]]] = []
    for _ in range(1 + repeats):
        row = {}
        for name, plan in plans.items():
            run, ours = _prefilled(model, inputs, plan)
            lengths[name] = [counts[0] for counts in run.state.lengths]
            row[name] = ours, _bare_layers(model, lengths[name])
        rounds.append(row)
    first = next(iter(plans))
    flops = {name: _flops(model, own) for name, own in lengths.items()}
    return {
        "text_tokens": TEXT_TOKENS,
        "budgets": [_summary(name, first, rounds[1:], flops[first] / flops[name]) for name in plans],
    }


def _flops(model: Model, lengths: Sequence[int]) -> int:
    return prefill_flops(model.backbone.layer_shape, [length - TEXT_TOKENS for length in lengths], TEXT_TOKENS)


@torch.inference_mode()
def _prefilled(model: Model, inputs: dict[str, Tensor], plan: Plan) -> tuple[Run, float]:
    """Return a prefill and its milliseconds without the vision encoder, which all plans share."""
    requests, eye = requests_of(inputs, None), model.backbone.eye(clip=False)
    seen, watch = model.backbone.see(eye, inputs), Stopwatch(model.backbone.device)
    samples = running.deal_out(eye, seen, requests)
    entered = running.enter(model.backbone, eye, seen, plan, watch, requests, samples)
    run = running.prefill(model.backbone, entered, requests, samples, plan, watch)
    spent = watch.totals()
    return run, spent["prefill"] + spent["select"]


@torch.inference_mode()
def _bare_layers(model: Model, lengths: Sequence[int]) -> float:
    """Return the milliseconds that the decoder's own layers take over random states of these lengths."""
    backbone = model.backbone

    @cache
    def states(length: int) -> tuple[Tensor, Any]:
        hidden = torch.randn(1, length, backbone.layer_shape.width, device=backbone.device, dtype=backbone.dtype)
        return hidden, backbone.rotary(torch.arange(length, device=backbone.device)[None], hidden)

    for length in set(lengths):
        states(length)
    begin = time.perf_counter()
    for layer, length in zip(backbone.layers, lengths, strict=True):
        hidden, rotary = states(length)
        layer(hidden, attention_mask=None, position_embeddings=rotary)
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()
    return 1000.0 * (time.perf_counter() - begin)


def _summary(name: str, first: str, rounds: list[dict[str, tuple[float, float]]], flops_ratio: float) -> dict[str, Any]:
    """Pair the runs of each round: how much faster, how much faster bare layers are, and what share of that we get."""
    ours = [row[first][0] / row[name][0] for row in rounds]
    floor = [row[first][1] / row[name][1] for row in rounds]
    shares = [a / b for a, b in zip(ours, floor, strict=True)]
    spreads = {
        "prefill_ratio": ours,
        "floor_ratio": floor,
        "share": shares,
        "prefill_ms": [row[name][0] for row in rounds],
    }
    figures = {key: Spread.of(values).to_json() for key, values in spreads.items()}
    return {"budget": name, "flops_ratio": round(flops_ratio, 3), **figures}


def floor_table(report: dict[str, Any], threads: int) -> str:
    """Return the report as Markdown."""
    lines = [
        f"Prefill with both selections, and bare decoder layers fed the same lengths, in turns; {report['text_tokens']}"
        f" text tokens, {threads} threads.",
        "",
        "| budget | prefill faster | bare layers faster | share of that | FLOPs fewer | prefill ms |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(row) for row in report["budgets"]])


def _line(row: dict[str, Any]) -> str:
    def spread(key: str, unit: str, factor: float = 1.0, digits: int = 2) -> str:
        low, middle, high = (f"{factor * row[key][name]:.{digits}f}" for name in ("low", "median", "high"))
        return f"{middle}{unit} ({low} to {high})"

    cells = [
        row["budget"],
        spread("prefill_ratio", "x"),
        spread("floor_ratio", "x"),
        spread("share", " %", 100, 0),
        f"{row['flops_ratio']:.2f}x",
        f"{row['prefill_ms']['median']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"
