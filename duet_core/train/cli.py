"""Train duet-mini from nothing: `python -m duet_core train --out FOLDER`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlavaProcessor

from duet_core.train.export import export
from duet_core.train.language import Alignment
from duet_core.train.memory import remember
from duet_core.train.model import build_config, build_model
from duet_core.train.pictures import Pictures, paint_pictures
from duet_core.train.recipe import DUET_MINI, TINY, PictureSet, Recipe
from duet_core.train.stages import Pupil, train_language, train_tower
from duet_core.train.words import Speech, build_processor, corpus, special_ids, train_tokenizer


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m duet_core train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="pictures and checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="processes that paint pictures")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal of seconds")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or go on where a training stopped, and write the model."""
    options = _parse(argv)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    recipe = TINY if options.tiny else DUET_MINI
    marks = run(recipe, options.runs, options.out, options.workers)
    print(json.dumps({name: round(mark, 3) for name, mark in marks.items()}))
    return 0


def run(recipe: Recipe, runs: Path, out: Path, workers: int) -> dict[str, float]:
    """The whole recipe; returns the last marks per family."""

    def pictures(wanted: PictureSet) -> Pictures:
        return paint_pictures(runs / wanted.name, wanted.seeds, wanted.least, workers)

    tokenizer = train_tokenizer(corpus())
    model = build_model(build_config(recipe.sizes, len(tokenizer), special_ids(tokenizer)))
    tower = model.model.vision_tower
    normal, check = pictures(recipe.normal), pictures(recipe.check)
    train_tower(tower, (pictures(recipe.dense), normal), check, recipe, runs / "tower")
    views = remember(tower, normal.first(recipe.remembered), runs / "normal-views", recipe.normal.least)
    check_views = remember(tower, check, runs / "check-views", recipe.check.least)
    speech = Speech(tokenizer)
    pupil = Pupil(model, Alignment(recipe.sizes.text_width, speech), speech)
    marks = train_language(pupil, views, check_views, recipe, runs / "language")
    processor: LlavaProcessor = build_processor(tokenizer)
    export(model, processor, out)
    return marks


if __name__ == "__main__":
    raise SystemExit(main())
