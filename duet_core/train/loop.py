"""The loop both stages share: phases, a learning rate, a JSON log and checkpoints to resume from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from duet_core.train.muon import Optimisers

WARM_UP = 40  # steps


@dataclass(frozen=True, slots=True)
class Phase:
    """So many steps of so many pictures with so many visual tokens; lr changes linearly.

    `cards` is how much likelier a picture with a number card is shown: digits are learnt last.
    """

    name: str
    steps: int
    batch: int
    tokens: int
    lr: float
    lr_end: float
    cards: float = 1.0

    def lr_at(self, step: int) -> float:
        """The learning rate of a step of this phase."""
        return self.lr + (self.lr_end - self.lr) * step / self.steps


@dataclass(slots=True)
class Run:
    """Where one training stands and where it writes."""

    folder: Path
    modules: nn.ModuleDict
    optimisers: Optimisers
    done: int = 0

    def log(self, row: dict[str, Any]) -> None:
        """Append one JSON line to log.jsonl."""
        line = json.dumps({"time": time.strftime("%H:%M:%S"), **_rounded(row)})
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def save(self) -> None:
        """Write weights, optimiser states and the step count."""
        states = [optimiser.state_dict() for optimiser, _ in self.optimisers.shares]
        state = {"modules": self.modules.state_dict(), "optimisers": states, "done": self.done}
        torch.save(state, self.folder / "part.pt")
        (self.folder / "part.pt").replace(self.folder / "last.pt")

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        if (self.folder / "last.pt").exists():
            state = torch.load(self.folder / "last.pt", weights_only=True)
            self.modules.load_state_dict(state["modules"])
            for (optimiser, _), saved in zip(self.optimisers.shares, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.done = state["done"]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with four decimals, inner rows too."""
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for key, value in row.items()
    }


def train(
    run: Run,
    phases: tuple[Phase, ...],
    loss_of: Callable[[Phase, int], tuple[torch.Tensor, dict[str, float]]],
    check: Callable[[], dict[str, float]],
    check_every: int,
) -> None:
    """Run the phases from where the run stands; `check` is logged now and then, and at the end."""
    start = 0
    for phase in phases:
        for step in range(max(0, run.done - start), phase.steps):
            began = time.perf_counter()
            loss, parts = loss_of(phase, start + step)
            loss.backward()
            run.optimisers.step(phase.lr_at(step) * min(1.0, (start + step + 1) / WARM_UP))
            run.done = start + step + 1
            if run.done % 20 == 0:
                pace = phase.batch / (time.perf_counter() - began)
                run.log({"phase": phase.name, "step": run.done, "per_s": pace, "losses": parts})
            if run.done % check_every == 0 or step + 1 == phase.steps:
                run.save()
                run.log({"step": run.done, "check": check()})
        start += phase.steps
