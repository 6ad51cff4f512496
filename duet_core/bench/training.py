"""Times training steps side by side: all tokens and DUET's budgets in turns, on the same samples, in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.optim import AdamW, Optimizer

from duet_core.backbones import wrap
from duet_core.engine import Model
from duet_core.pictures import pixels_of
from duet_core.plan import Plan
from duet_core.scenes import make_scene
from duet_core.timing import Spread
from duet_core.train.batches import Batch, plans_for, sizes_of
from duet_core.train.conversations import encode_turns, processor_of
from duet_core.train.reduced import ReducedLesson
from duet_core.train.weights import train_all, trained

_LR = 1e-6  # the weights hardly move: every step takes the same work


@dataclass(frozen=True, slots=True)
class Timed:
    """One step in milliseconds, its parts as well: forward with the encoder, backward, update of the weights."""

    forward: float
    backward: float
    update: float

    @property
    def step(self) -> float:
        """The whole step."""
        return self.forward + self.backward + self.update


def measure_training(model: Model, budgets: Sequence[float], batch: int, repeats: int, seed: int) -> dict[str, object]:
    """Return one run's report: what share of a training step's time each budget saves, against all tokens.

    Each of `repeats` rounds takes one step per plan on the same `batch` generated scenes, one question each; a round
    more before them warms up. Projector and language model learn, on a copy of the weights. The shares pair steps of
    one round.
    """
    given = _scenes(model, batch, seed)
    reduced = [plans_for("duet", budget, "both", given.sizes) for budget in budgets]
    plans = [[Plan(method="none")] * batch, *reduced]
    backbone = wrap(deepcopy(model.backbone.model))
    train_all(backbone)
    lesson = ReducedLesson(backbone).train()
    optimiser = AdamW(trained(lesson), lr=_LR)
    rounds = [[_step(lesson, optimiser, given, plan) for plan in plans] for _ in range(repeats + 1)][1:]
    full = [row[0] for row in rounds]
    rows = [
        {"budget": name, **_summary(full, [row[number] for row in rounds])}
        for number, name in enumerate(("full", *budgets))
    ]
    return {"batch": batch, "seed": seed, "threads": torch.get_num_threads(), "budgets": rows}


def _scenes(model: Model, batch: int, seed: int) -> Batch:
    """Return the scenes from `seed` on with the first question of each."""
    scenes = [make_scene(number) for number in range(seed, seed + batch)]
    pixels = [pixels_of(processor_of(model).image_processor, [scene.image]) for scene in scenes]
    sizes, shown = sizes_of(model, pixels)
    asked = [[(scene.questions[0].text, scene.questions[0].answer)] for scene in scenes]
    pairs = zip(asked, shown, strict=True)
    return Batch(pixels, sizes, [encode_turns(model, turns, own) for turns, own in pairs])


def _step(lesson: ReducedLesson, optimiser: Optimizer, batch: Batch, plans: Sequence[Plan]) -> Timed:
    """Take one step and time its parts; the gradients are dropped outside the clock."""
    marks = [_now(lesson)]
    loss, _ = lesson(batch.pixels, batch.examples, plans, batch.targets)
    marks.append(_now(lesson))
    loss.backward()
    marks.append(_now(lesson))
    optimiser.step()
    marks.append(_now(lesson))
    optimiser.zero_grad(set_to_none=True)
    return Timed(*((end - begin) * 1000.0 for begin, end in pairwise(marks)))


def _now(lesson: ReducedLesson) -> float:
    """Read the clock once the device has done its work."""
    device = lesson.backbone.device.type
    if device != "cpu":
        getattr(torch, device).synchronize()
    return time.perf_counter()


def _summary(full: Sequence[Timed], own: Sequence[Timed]) -> dict[str, object]:
    saved = [100.0 * (1.0 - ours.step / theirs.step) for ours, theirs in zip(own, full, strict=True)]
    parts = ("step", "forward", "backward", "update")
    times = {f"{part}_ms": Spread.of([getattr(one, part) for one in own]).to_json() for part in parts}
    return {"saved_percent": Spread.of(saved).to_json(), **times}


def training_table(report: dict) -> str:
    """Return the report as Markdown: shares first, since absolute times are this machine's."""
    lines = [
        f"Training steps of {report['batch']} samples, in turns with steps that keep all tokens"
        f" ({report['budgets'][0]['step_ms']['runs']} rounds, {report['threads']} threads).",
        "",
        "| budget | time saved per step | step ms | forward ms | backward ms | update ms |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(row) for row in report["budgets"]])


def _line(row: dict) -> str:
    saved = row["saved_percent"]
    share = f"{saved['median']:.1f} % ({saved['low']:.1f} to {saved['high']:.1f})" if row["budget"] != "full" else "-"
    times = (f"{row[f'{part}_ms']['median']:.1f}" for part in ("step", "forward", "backward", "update"))
    return "| " + " | ".join([str(row["budget"]), share, *times]) + " |"
