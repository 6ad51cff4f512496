"""The options of `bench`, and one sentence for each value that cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn, get_args

from duet_core.bench.exams import FEWEST, GROUP_SEEDS, SUBJECTS, WORDINGS, Exam, photographs_in
from duet_core.checkpoint import bundled_folders
from duet_core.errors import DuetError
from duet_core.methods import find_method, offered
from duet_core.plan import Stages
from duet_core.scenes import FIRST_TRAINING_SEED, STYLES

BENCHES = ("accuracy", "speed", "growth", "training", "state", "calibrate")
_DEFAULT_N = {"accuracy": 200, "speed": 15, "growth": 3, "training": 5, "state": 200, "calibrate": 200}
_DEFAULT_MODEL = {"state": "duet-hybrid"}
_DEFAULT_BUDGETS = {"state": "full,50%,75%,85%", "growth": "full,93.4%"}
_DEFAULT_METHODS = {"accuracy": "duet,random,uniform"}
_MOST = FEWEST * GROUP_SEEDS


class _Parser(argparse.ArgumentParser):
    """Tells an error in one sentence, as every command here does."""

    def error(self, message: str) -> NoReturn:
        raise DuetError(f"{message[:1].upper()}{message[1:].rstrip('.')}; see python -m duet_core bench --help.")


def read_options(argv: list[str], description: str | None) -> argparse.Namespace:
    """Return the options; a DuetError says in one sentence what is wrong with them."""
    parser = _Parser("duet_core bench", description=description)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument(
        "--model",
        action="append",
        help="bundled name, folder or hub repository; several times to compare their accuracy",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument(
        "--n",
        type=int,
        help="questions in each group of scenes (accuracy), clips (state), pictures (calibrate), or runs",
    )
    parser.add_argument(
        "--budgets",
        help="full, visual tokens per frame, or reductions as 53%% (default: full,192,128,64; state: half to 85%%)",
    )
    parser.add_argument("--methods", help="some methods, or all (default: duet,random,uniform; speed: duet)")
    parser.add_argument("--stages", default="both", help="accuracy: some of both,1,2: what each stage costs by itself")
    parser.add_argument("--exam", default="pictures", help=f"accuracy: some of {','.join(SUBJECTS)}")
    parser.add_argument("--wording", default=WORDINGS[0], help=f"accuracy: some of {','.join(WORDINGS)}")
    parser.add_argument("--groups", type=int, default=1, help="accuracy: independent groups of scenes")
    parser.add_argument("--style", help="accuracy: sprite style of the scenes (default: the training styles)")
    parser.add_argument("--photos", type=Path, help="accuracy: folder of photographs for the exam photos")
    parser.add_argument("--frames", help="growth: of the clips, such as 4,8,16,32,64 (the default)")
    parser.add_argument("--sides", help="growth: pictures of so many pixels a side instead of clips, such as 336,672")
    parser.add_argument("--batch", type=int, default=4, help="training: samples in a step")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--table", type=Path, help="write the tables (Markdown) here")
    parser.add_argument("--out", type=Path, help="calibrate: write the prior for D2Pruner (JSON) here")
    parser.add_argument("--plot", type=Path, help="accuracy, speed, growth: write a plot here (.png or .svg)")
    return _checked(parser.parse_args(argv))


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    """Complete the options and check what needs no model, so that no long run ends in a wrong path."""
    options.model = list(dict.fromkeys(options.model or [_DEFAULT_MODEL.get(options.what, "duet-mini")]))
    options.n = _DEFAULT_N[options.what] if options.n is None else options.n
    options.methods, options.budgets = _methods(options), _split(_budgets(options))
    options.stages = _known(options.stages, get_args(Stages), "stage")
    options.frames, options.sides = _counts("frames", options.frames), _counts("sides", options.sides)
    _check_numbers(options)
    _check_files(options)
    _check_methods(options)
    if options.what != "accuracy" and len(options.model) > 1:
        raise DuetError(
            f"The {options.what} bench takes one model, but {len(options.model)} were given; run it for each."
        )
    return options


def _methods(options: argparse.Namespace) -> list[str]:
    """Return the methods asked for, or those that a bench looks at by itself."""
    if options.methods == "all":
        return [name for name in offered(bundled_folders()) if name != "none"]
    return _split(options.methods or _DEFAULT_METHODS.get(options.what, "duet"))


def _budgets(options: argparse.Namespace) -> str:
    if options.budgets is None:
        return _DEFAULT_BUDGETS.get(options.what, "full,192,128,64")
    return options.budgets


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _counts(name: str, text: str | None) -> list[int]:
    """Return some whole numbers from 1 on, none where nothing was given."""
    parts = _split(text or "")
    wrong = next(
        (part for part in parts if not part.isdecimal() or int(part) < 1), None if parts or text is None else text
    )
    if wrong is not None:
        raise DuetError(f"--{name} is {wrong!r}; give whole numbers from 1 on with commas between them.")
    return [int(part) for part in parts]


def _check_numbers(options: argparse.Namespace) -> None:
    for name, most in (("n", _MOST), ("groups", FIRST_TRAINING_SEED // GROUP_SEEDS), ("batch", _MOST)):
        if not 1 <= getattr(options, name) <= most:
            raise DuetError(f"--{name} is {getattr(options, name)}; it must be between 1 and {most}.")
    last = FIRST_TRAINING_SEED - options.groups * GROUP_SEEDS
    if not 0 <= options.seed <= last:
        raise DuetError(
            f"--seed is {options.seed}; with {options.groups} groups it must be between 0 and {last},"
            " since training uses the scenes beyond."
        )


def _check_files(options: argparse.Namespace) -> None:
    if options.what == "calibrate" and options.out is None:
        raise DuetError("No file is given for the prior; name one with --out.")
    for path in (options.json, options.table, options.plot, options.out):
        if path is not None and (not path.absolute().parent.is_dir() or path.is_dir()):
            raise DuetError(f"The file {path} cannot be written; name a file in a folder that exists.")
    if options.plot and options.plot.suffix not in (".png", ".svg"):
        raise DuetError(f"A plot is written as .png or .svg, not as {options.plot.name}; choose one of them.")


def _check_methods(options: argparse.Namespace) -> None:
    if not options.budgets:
        raise DuetError("No budget is given; name some with --budgets, such as full,192,64.")
    for method in options.methods:
        find_method(method)
    if "none" in options.methods:
        raise DuetError("The method none drops nothing and has no budget; ask for it with --budgets full.")


def read_exams(options: argparse.Namespace) -> list[Exam]:
    """Return every chosen subject in every chosen wording; a DuetError says what cannot be asked."""
    subjects = _known(options.exam, SUBJECTS, "exam")
    wordings = _known(options.wording, WORDINGS, "wording")
    if options.style is not None:
        _known(options.style, STYLES, "style")
    if "photos" in subjects:
        photographs_in(options.photos)
    return [Exam(subject, wording, options.style, options.photos) for subject in subjects for wording in wordings]


def _known(text: str, known: Collection[str], what: str) -> list[str]:
    names = list(dict.fromkeys(_split(text)))
    wrong = next((name for name in names if name not in known), None if names else text)
    if wrong is not None:
        raise DuetError(f"There is no {what} {wrong!r}; choose among {', '.join(known)}.")
    return names
