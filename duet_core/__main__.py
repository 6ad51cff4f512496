"""The shell door: python -m duet_core ask | models | methods | scenes | bench | train | scaling."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from transformers.utils import logging

from duet_core.bench import cli as bench
from duet_core.errors import DuetError
from duet_core.listing import methods, models
from duet_core.scaling import main as scaling
from duet_core.shell import ask, scenes


def _train(argv: list[str]) -> int:
    from duet_core.train import main  # here, because training's imports slow every other command down

    return main(argv)


COMMANDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "ask": ("ask a question about a picture, with all tokens and with fewer", ask),
    "models": ("list the models we suggest, and whether they fit this machine", models),
    "methods": ("list the methods, what they look at and what they rest on", methods),
    "scenes": ("write generated pictures with questions and true answers", scenes),
    "bench": ("measure accuracy, speed or a training step, or calibrate a method", bench.main),
    "train": ("train the bundled model or fine-tune another", _train),
    "scaling": ("a larger model or more visual tokens, by QueCC's scaling law", scaling),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error of the engine becomes one sentence on stderr and exit status 2."""
    width = max(len(name) for name in COMMANDS)
    listing = "\n".join(f"  {name:{width}}  {help_text}" for name, (help_text, _) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "duet_core", description=f"commands:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(words[:1]).command
    logging.disable_progress_bar()  # weights load in a second; stderr is for errors here
    try:
        return COMMANDS[chosen][1](words[1:])
    except DuetError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
