"""Train the module of QueCC or VQ-Attn for a duet-mini that stays as it is: `python -m duet_core train field`.

It learns from what the model's own tower made of the recipe's scenes and clips, found in the folder that `train mini`
keeps them in, or painted into it; it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from duet_core.checkpoint import BUNDLED
from duet_core.errors import ModelError
from duet_core.learnt import open_learnt, save_learnt
from duet_core.train.field_lessons import KINDS, FieldLesson, FieldPupil, Kind, Shelf, draw_field, examine
from duet_core.train.loop import Phase, Trainer
from duet_core.train.muon import optimisers
from duet_core.train.pictures import PictureSet, Source
from duet_core.train.recipe import RECIPES, Recipe
from duet_core.train.views import Views, remember
from duet_core.train.weights import keep_checkpoints_small
from duet_core.train.words import Speech

_ENDLESS = 10**9  # steps, where the clock ends the training
_EXAMINED = 25  # scenes, and as many clips, of an exam


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("duet_core train field", description=__doc__)
    add = parser.add_argument
    add("--method", choices=KINDS, required=True)
    add("--start", type=Path, default=BUNDLED / "duet-mini", help="folder of the model that it is for")
    add("--begin", type=Path, help="file of the module's weights to learn on from, whichever model they are for")
    add("--out", type=Path, required=True, help="file of the module's weights (.safetensors)")
    add("--runs", type=Path, default=Path("runs/mini"), help="folder of the recipe's views")
    add("--log", type=Path, help="log and checkpoint (default: runs/field/METHOD)")
    for what in ("scenes", "clips"):
        add(
            f"--{what}",
            action="append",
            metavar="NAME:NUMBER:COUNT",
            help="a set of views to learn from, instead of the recipe's: its folder, its range of seeds, how many",
        )
    add("--minutes", type=float, default=30.0)
    add("--steps", type=int, help="end after so many steps, whatever the clock says")
    add("--batch", type=int, default=64, help="pictures of a step")
    add("--lr", type=float, default=2e-3)
    add("--check-every", type=int, default=200, metavar="STEPS", help="write a checkpoint and sit the exam so often")
    add("--precision", default="bf16", choices=("bf16", "no"), help="of the arithmetic; weights are fp32")
    add("--workers", type=int, default=2, help="processes that paint pictures")
    add("--threads", type=int, default=torch.get_num_threads(), help="threads that train")
    add("--seed", type=int, default=0)
    add("--recipe", default="whole", choices=RECIPES)
    options = parser.parse_args(argv)
    options.log = options.log or Path("runs/field") / options.method
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or go on where a training stopped, and write the module's weights."""
    options = _parse(argv)
    torch.set_num_threads(options.threads)
    set_seed(options.seed)
    kind, recipe = KINDS[options.method], RECIPES[options.recipe]
    begun = open_learnt(kind.method, options.begin) if options.begin else None
    model = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32).eval()
    speech = Speech(PreTrainedTokenizerFast.from_pretrained(options.start))
    shelf, held_out = _shelves(model.model.vision_tower, recipe, options)
    pupil = FieldPupil(model, make_module(kind, model))
    if begun:
        pupil.learner.load_state_dict(begun.state())
    accelerator = Accelerator(mixed_precision=options.precision)
    keep_checkpoints_small(accelerator)
    trainer = Trainer.prepare(accelerator, pupil, optimisers([pupil.learner], ()), options.log)

    def batch_of(_phase: Phase, step: int) -> tuple[FieldLesson]:
        rng = np.random.default_rng((13, step, accelerator.process_index))
        return (draw_field(kind, shelf, speech, options.batch, rng),)

    def check() -> dict[str, float]:
        with accelerator.autocast():
            return examine(pupil, kind, held_out, speech, _EXAMINED)

    phase = Phase(
        kind.method, options.steps or _ENDLESS, options.batch, options.lr, options.lr / 50, 60 * options.minutes
    )
    trainer.train([phase], batch_of, check, options.check_every)
    save_learnt(options.out, kind.method, options.start, pupil.learner.state_dict())
    print(json.dumps({name: round(mark, 3) for name, mark in trainer.marks.items()}))
    return 0


def make_module(kind: Kind, model: LlavaForConditionalGeneration) -> Any:
    """An untrained module of a kind that fits a model."""
    config: Any = model.config
    return kind.make(config.vision_config.hidden_size, config.text_config.hidden_size)


def _shelves(tower: Any, recipe: Recipe, options: argparse.Namespace) -> tuple[Shelf, Shelf]:
    """What is learnt from, and what the exams ask about."""
    needs_scenes = KINDS[options.method].clips < 1

    def opened(sets: Sequence[PictureSet]) -> tuple[Views, ...]:
        return tuple(remember(tower, own, options.runs / own.name, options.workers) for own in sets)

    scenes = [read_set(text, "scene") for text in options.scenes or ()] or [recipe.scenes]
    clips = [read_set(text, "clip") for text in options.clips or ()] or [recipe.clips]
    learnt = Shelf(opened(scenes if needs_scenes else ()), opened(clips))
    return learnt, Shelf(opened([recipe.check_scenes] if needs_scenes else ()), opened([recipe.check_clips]))


def read_set(text: str, source: Source) -> PictureSet:
    """Read `NAME:NUMBER:COUNT`; a ModelError says what is wrong."""
    name, *numbers = text.split(":")
    if not name or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ModelError(f"The set of views {text!r} cannot be read; write its folder, number and count as name:1:500.")
    return PictureSet(name, int(numbers[0]), int(numbers[1]), source)
