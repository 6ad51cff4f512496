"""Train the tiny hybrid and its attention-only twin on clips told in words, both alike, one after the other."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from duet_core.hybrid.layers import repeated
from duet_core.hybrid.model import ATTENTION_ONLY, HYBRID, Shape, TokenModel, save_model
from duet_core.hybrid.words import TEXT, VISUAL, compose, questions, speak, tell
from duet_core.scenes import FIRST_TRAINING_SEED
from duet_core.scenes.actors import ClipLayout
from duet_core.train.loop import Losses, Phase, Trainer
from duet_core.train.muon import optimisers

SHAPES: Final = {"hybrid": HYBRID, "attention-only": ATTENTION_ONLY}
_ASKED = 12  # questions about each clip
_SCRIPTS = ("change", "parade", "flash")  # by turns: each is harder than it is frequent
_CHECKED = 60  # clips of a check
_ENDLESS = 10**9  # steps, where the clock ends the training


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips (B, VISUAL, WORDS), and Q questions about each: words (B * Q, TEXT, WORDS) and answers (B * Q,)."""

    clips: Tensor
    texts: Tensor
    answers: Tensor


def training_clips(first: int) -> Iterator[tuple[ClipLayout, np.random.Generator]]:
    """Clips of training's seeds from the given one on, the sorts of story by turns."""
    seeds = count(FIRST_TRAINING_SEED + first)
    for turn in count():
        while True:
            clip, rng = compose(next(seeds))
            if clip.script == _SCRIPTS[turn % len(_SCRIPTS)]:
                yield clip, rng
                break


def draw_batch(step: int, many: int) -> Batch:
    """The clips of a training step, never seen before, and what is asked about them."""
    told, asked = [], []
    for clip, rng in islice(training_clips(step * 40 * many), many):
        told.append(tell(clip, rng))
        offered = questions(clip, rng)
        asked += [offered[int(k)] for k in rng.choice(len(offered), _ASKED, replace=len(offered) < _ASKED)]
    return Batch(torch.stack(told), *speak(asked))


class ClipLesson(nn.Module):
    """A model; forward is the loss of its answers."""

    def __init__(self, model: TokenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Losses:
        """The loss, and the share of right answers."""
        logits = answers(self.model, batch)
        right = (logits.detach().argmax(-1) == batch.answers).float().mean()
        return F.cross_entropy(logits, batch.answers), {"right": right}


def answers(model: TokenModel, batch: Batch) -> Tensor:
    """Logits (B * Q, V) of the answers with all tokens; each clip is read once for all its questions."""
    clips, texts = model.embed(batch.clips), model.embed(batch.texts)
    _, memory = model(clips, torch.arange(VISUAL).expand(len(clips), -1))
    memory = [repeated(own, len(texts) // len(clips)) for own in memory]
    hidden, _ = model(texts, (VISUAL + torch.arange(TEXT)).expand(len(texts), -1), memory)
    return model.answer(hidden)


@torch.no_grad()
def check(model: TokenModel, many: int = _CHECKED) -> dict[str, float]:
    """The share of right answers about the first clips that training never sees, all and by family."""
    right: dict[str, list[bool]] = defaultdict(list)
    for seed in range(many):
        clip, rng = compose(seed)
        asked = questions(clip, rng)
        batch = Batch(tell(clip, rng)[None], *speak(asked))
        for question, own in zip(asked, (answers(model, batch).argmax(-1) == batch.answers).tolist(), strict=True):
            right["all"].append(own)
            right[question.family].append(own)
    return {name: float(np.mean(own)) for name, own in right.items()}


def train_model(shape: Shape, phases: Sequence[Phase], folder: Path, check_every: int = 0) -> TokenModel:
    """A model of this shape, trained from nothing, or from where a training in `folder` stopped."""
    lesson = ClipLesson(TokenModel(shape))
    model = lesson.model
    trainer = Trainer.prepare(
        Accelerator(cpu=True),
        lesson,
        optimisers([*model.layers, model.head], (model.words, model.norm)),
        folder,
        warm_up=20,
    )
    trainer.train(phases, lambda phase, step: (draw_batch(step, phase.batch),), lambda: check(model), check_every)
    return model


_PHASE: Final = Phase("clips", 4000, 8, 8e-3, 2e-4)
_SHORT: Final = Phase("clips", 30, 6, 8e-3, 1e-3)


def main(argv: Sequence[str] | None = None) -> int:
    """Train both models, or go on where that stopped, and write their weights."""
    parser = argparse.ArgumentParser("duet_core train hybrid", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--runs", type=Path, default=Path("runs/hybrid"), help="checkpoints and logs")
    parser.add_argument(
        "--minutes", type=float, help="end each model's training after so long, whatever steps came of it"
    )
    parser.add_argument("--short", action="store_true", help="a rehearsal of seconds: the same path, little learnt")
    parser.add_argument("--only", choices=SHAPES, help="one of the two models")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads that train")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    phase = _SHORT if options.short else _PHASE
    if options.minutes is not None:
        phase = replace(phase, steps=_ENDLESS, seconds=60 * options.minutes)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else SHAPES:
        set_seed(options.seed)
        model = train_model(SHAPES[name], [phase], options.runs / name)
        save_model(model, options.out / f"{name}.safetensors")
        print(name, json.dumps({family: round(mark, 3) for family, mark in check(model).items()}))
    return 0
