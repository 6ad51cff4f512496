"""Train duet-mini from nothing: its tower, then its language model on written scenes, then both on pictures, then DUET.

Every stage keeps its checkpoints and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import CLIPVisionModel, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from duet_core.plan import Plan, Size, duet_schedule, target_budget
from duet_core.scenes.actors import FRAMES
from duet_core.train.exam import Exam
from duet_core.train.export import export
from duet_core.train.lessons import ALL, LanguagePhase, Library
from duet_core.train.lexicon import Lexicon
from duet_core.train.model import build_config, build_model
from duet_core.train.pictures import PictureSet, paint_pictures
from duet_core.train.recipe import RECIPES, Recipe
from duet_core.train.stages import Pupil, align_projector, train_language, train_tower
from duet_core.train.views import Views, describe, remember
from duet_core.train.words import Speech, build_processor, special_ids, world_tokenizer

_EXAM_BUDGETS = (192, 64)
_EXAM_CLIP_REDUCTIONS = (0.531, 0.934)
_ENDLESS = 10**9  # steps, where the clock ends a stage


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or go on where a training stopped, and write the model."""
    parser = argparse.ArgumentParser("duet_core train mini", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--runs", type=Path, default=Path("runs/mini"), help="pictures, views, checkpoints and logs")
    parser.add_argument("--workers", type=int, default=2, help="processes that paint pictures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads that train")
    parser.add_argument("--seed", type=int, default=0, help="of the lessons; give a training that goes on another one")
    parser.add_argument(
        "--precision", default="bf16", choices=("bf16", "no"), help="of the arithmetic; weights are fp32"
    )
    parser.add_argument(
        "--no-duet", action="store_true", help="stop before DUET joins the loop: weights for comparison"
    )
    parser.add_argument("--start", type=Path, help="a duet-mini to go on from, with the last stage alone")
    parser.add_argument("--phase", help="of the last stage this phase alone, by its name in the recipe")
    parser.add_argument("--minutes", type=float, help="end the last stage after so long, whatever steps came of it")
    parser.add_argument(
        "--all-tokens", action="store_true", help="the last stage without DUET, for comparison at equal time"
    )
    parser.add_argument(
        "--recipe", default="whole", choices=RECIPES, help="short: minutes; tiny: a rehearsal of seconds"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    set_seed(options.seed)
    recipe = RECIPES[options.recipe]
    phases = recipe.finishing(options.phase)
    work = Workshop(recipe, options.runs, options.workers, options.precision, options.start, options.seed)
    if options.start is None:
        work.raise_base()
    marks = {} if options.no_duet else work.finish(phases, options.all_tokens, options.minutes)
    export(work.model, build_processor(work.speech.tokenizer), options.out)
    print(json.dumps({name: round(mark, 3) for name, mark in marks.items()}))
    return 0


class Workshop:
    """One training: its recipe, its folder, and the stages in order."""

    def __init__(
        self, recipe: Recipe, runs: Path, workers: int, precision: str, start: Path | None = None, seed: int = 0
    ) -> None:
        self.recipe, self.runs, self.workers, self.precision, self.seed = recipe, runs, workers, precision, seed
        if start is None:
            self.speech = Speech(world_tokenizer())
            tokenizer = self.speech.tokenizer
            self.model = build_model(build_config(recipe.sizes, len(tokenizer), special_ids(tokenizer)))
        else:
            self.speech = Speech(PreTrainedTokenizerFast.from_pretrained(start))
            self.model = LlavaForConditionalGeneration.from_pretrained(start, dtype=torch.float32)

    def raise_base(self) -> None:
        """The stages before DUET: a model that never saw a reduced picture."""
        self.train_tower()
        recipe, pupil = self.recipe, self.pupil
        self.train("speak", replace(pupil, exams=()), self.written, recipe.speak)
        align_projector(pupil, self.library, recipe.align, self.runs / "align", self.accelerator())
        self.train("answer", pupil, self.library, recipe.answer)

    def finish(
        self, phases: Sequence[LanguagePhase], all_tokens: bool = False, minutes: float | None = None
    ) -> dict[str, float]:
        """The phases of the last stage, DUET in the loop unless `all_tokens`; returns the marks of the last exam."""
        if minutes is not None:
            phases = [*phases[:-1], replace(phases[-1], steps=_ENDLESS, seconds=60 * minutes)]
        if all_tokens:
            phases = [replace(phase, reduced=0.0, reduced_clips=0.0, thinned=0.0, blind=0.0) for phase in phases]
        return self.train("all-tokens" if all_tokens else "duet", self.pupil, self.library, phases)

    def train(self, stage: str, pupil: Pupil, library: Library, phases: Sequence[LanguagePhase]) -> dict[str, float]:
        """One stage of the language model; returns the marks of its last exam."""
        folder = self.runs / stage
        return train_language(pupil, library, phases, folder, self.accelerator(), self.recipe.check_every)

    def accelerator(self) -> Accelerator:
        """A fresh one per stage, so that a checkpoint holds that stage alone."""
        return Accelerator(mixed_precision=self.precision)

    @property
    def tower(self) -> CLIPVisionModel:
        """The vision tower."""
        return self.model.model.vision_tower

    def train_tower(self) -> None:
        """The first stage."""
        recipe = self.recipe
        sets = {name: paint_pictures(own, self.runs / name, self.workers) for name, own in recipe.tower_sets.items()}
        check = paint_pictures(recipe.check_scenes, self.runs / "check", self.workers)
        train_tower(self.tower, sets, check, recipe.tower, self.runs / "tower", self.accelerator(), recipe.check_every)

    def views(self, wanted: PictureSet) -> Views:
        """What the trained tower makes of a set."""
        return remember(self.tower, wanted, self.runs / wanted.name, self.workers)

    @cached_property
    def library(self) -> Library:
        """What the language model learns from; read once, when the tower is trained."""
        recipe = self.recipe
        scenes, foreign, clips = (self.views(own) for own in (recipe.scenes, recipe.foreign, recipe.clips))
        return Library(scenes, foreign, clips, recipe.sizes.text_layers, self.written)

    @cached_property
    def written(self) -> Library:
        """What the language model reads about before it sees anything."""
        scenes, foreign, clips = map(describe, self.recipe.written)
        return Library(scenes, foreign, clips, self.recipe.sizes.text_layers)

    @cached_property
    def pupil(self) -> Pupil:
        """The language model with its exams: all tokens and two budgets for pictures, two reductions for clips."""
        scenes, clips = self.views(self.recipe.check_scenes), self.views(self.recipe.check_clips)
        size = Size(ALL, self.recipe.sizes.text_layers)
        exams = [Exam("full", scenes, Plan(method="none"), len(scenes))]
        exams += [Exam(str(b), scenes, duet_schedule("duet", b, size), len(scenes)) for b in _EXAM_BUDGETS]
        long = Size(ALL, self.recipe.sizes.text_layers, FRAMES)
        exams += [Exam("clips full", clips, Plan(method="none"), len(clips))]
        exams += [Exam(f"clips {r:.0%}", clips, _reduced(r, long), len(clips)) for r in _EXAM_CLIP_REDUCTIONS]
        return Pupil(self.model, self.speech, Lexicon(self.speech), exams, self.seed)


def _reduced(reduction: float, size: Size) -> Plan:
    return duet_schedule("duet", target_budget(size, reduction=reduction), size)
