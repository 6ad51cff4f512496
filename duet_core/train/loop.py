"""The loop that every training shares: phases, a learning rate, a JSON log, and checkpoints to resume from.

It stands on accelerate, whose configuration alone decides whether one CPU, one GPU, many GPUs or FSDP do the work.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

LOG_EVERY = 20  # steps
CHECKPOINT = "checkpoint"
LOG = "log.jsonl"
_CLIP = 1.0  # the longest gradient


@dataclass(frozen=True)
class Phase:
    """So many steps of so many samples each; the learning rate changes linearly from `lr` to `lr_end`.

    With `seconds`, the phase ends when the run has trained for that long, if its steps do not end sooner.
    """

    name: str
    steps: int
    batch: int
    lr: float
    lr_end: float
    seconds: float | None = None

    def share(self, step: int, seconds: float) -> float:
        """How much of the phase is over, 0 to 1, after so many of its steps and so many seconds of the run."""
        return max(step / self.steps, seconds / self.seconds if self.seconds else 0.0)

    def lr_at(self, share: float) -> float:
        """The learning rate when this share of the phase is over."""
        return self.lr + (self.lr_end - self.lr) * share


@dataclass
class Progress:
    """How many steps are done, and how many seconds of training they took; kept in the checkpoint."""

    done: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, float]:
        """What accelerate writes."""
        return {"done": self.done, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up what accelerate read."""
        self.done, self.seconds = int(state["done"]), float(state["seconds"])


@dataclass
class Trainer:
    """A module whose forward returns its loss and the parts of it, its optimisers, and where the run stands.

    `optimisers` holds each optimiser with its share of the learning rate. `module` and optimisers are those that
    accelerate prepared. `marks` are those of the last check of this process, if there was one.
    """

    accelerator: Accelerator
    module: nn.Module
    optimisers: Sequence[tuple[Any, float]]
    folder: Path
    warm_up: int = 40
    progress: Progress = field(default_factory=Progress)
    marks: dict[str, float] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        accelerator: Accelerator,
        module: nn.Module,
        optimisers: Sequence[tuple[torch.optim.Optimizer, float]],
        folder: Path,
        warm_up: int = 40,
    ) -> Trainer:
        """Hand module and optimisers to accelerate, and go on where a run in `folder` stopped."""
        bare, shares = zip(*optimisers, strict=True)
        module, *bare = accelerator.prepare(module, *bare)
        trainer = cls(accelerator, module, list(zip(bare, shares, strict=True)), folder, warm_up)
        accelerator.register_for_checkpointing(trainer.progress)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).is_dir():
            accelerator.load_state(str(folder / CHECKPOINT))
        return trainer

    def train(
        self,
        phases: Sequence[Phase],
        batch_of: Callable[[Any, int], tuple[Any, ...]],
        check: Callable[[], dict[str, float]] | None = None,
        check_every: int = 0,
    ) -> None:
        """Run the phases from where the run stands.

        `batch_of(phase, step)` makes what the module's forward takes; `check()` is logged every `check_every` steps
        and at the end of each phase, when a checkpoint is written too.
        """
        total, start = sum(phase.steps for phase in phases), 0
        with tqdm(total=total, initial=self.progress.done, unit=" steps", disable=None) as bar:
            for phase in phases:
                for step in range(max(0, self.progress.done - start), phase.steps):
                    if phase.share(step, self.progress.seconds) >= 1.0:
                        break
                    self._step(phase, step, batch_of)
                    bar.update()
                    over = phase.share(step + 1, self.progress.seconds) >= 1.0
                    if over or (check_every and self.progress.done % check_every == 0):
                        self._checkpoint(check)
                start += phase.steps

    def _step(self, phase: Phase, step: int, batch_of: Callable[[Any, int], tuple[Any, ...]]) -> None:
        began = time.perf_counter()
        loss, parts = self.module(*batch_of(phase, self.progress.done))
        self.accelerator.backward(loss)
        share = phase.share(step, self.progress.seconds)
        lr = phase.lr_at(share) * min(1.0, (self.progress.done + 1) / self.warm_up)
        self._update(lr)
        took = time.perf_counter() - began
        self.progress.done, self.progress.seconds = self.progress.done + 1, self.progress.seconds + took
        if self.progress.done % LOG_EVERY == 0 or step + 1 == phase.steps:
            figures = {name: float(part) for name, part in {"loss": loss.detach(), **parts}.items()}
            self.log({"phase": phase.name, "lr": lr, "per_s": phase.batch / took, "losses": figures})

    def _update(self, lr: float) -> None:
        self.accelerator.clip_grad_norm_(self.module.parameters(), _CLIP)
        for optimiser, share in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def _checkpoint(self, check: Callable[[], dict[str, float]] | None) -> None:
        """Write everything beside the last checkpoint, then put it in its place."""
        fresh, place = self.folder / "writing", self.folder / CHECKPOINT
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()  # every process writes its own part
        if self.accelerator.is_main_process:
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
        self.accelerator.wait_for_everyone()
        if check is not None:
            self.marks = check()
            self.log({"check": self.marks})

    def log(self, row: dict[str, Any]) -> None:
        """Append one JSON line to log.jsonl, with the step and the seconds of training."""
        if self.accelerator.is_main_process:
            head = {"step": self.progress.done, "seconds": self.progress.seconds}
            with (self.folder / LOG).open("a") as file:
                file.write(json.dumps(_rounded({**head, **row})) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, oldest first."""
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with six significant digits, inner rows too."""
    return {
        key: _rounded(value)
        if isinstance(value, dict)
        else float(f"{value:.6g}")
        if isinstance(value, float)
        else value
        for key, value in row.items()
    }


Losses = tuple[Tensor, dict[str, Tensor]]
"""A loss, and its parts by name."""
