"""The shell command `train`: the bundled model's recipe, fine-tuning of any supported model, a tiny hybrid, plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

_WHAT = {
    "mini": ("duet_core.train.mini", "train the bundled model from nothing"),
    "finetune": ("duet_core.train.finetune", "fine-tune any supported model on LLaVA-format JSON, DUET in the loop"),
    "field": (
        "duet_core.train.field",
        "train the module of QueCC or VQ-Attn before a frozen duet-mini",
    ),
    "hybrid": ("duet_core.train.hybrid", "train the tiny hybrid and its attention-only twin for bench state"),
    "plot": ("duet_core.train.plots", "draw loss and accuracy from the log of a training"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one kind of training; `--help` behind its name tells its options."""
    words = list(sys.argv[1:] if argv is None else argv)
    listing = "\n".join(f"  {name:9} {said}" for name, (_, said) in _WHAT.items())
    parser = argparse.ArgumentParser(
        "duet_core train",
        description=f"what to train:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=_WHAT)
    chosen = parser.parse_args(words[:1]).what
    # Imported when chosen: each brings libraries that the others do without.
    run: Callable[[list[str]], int] = import_module(_WHAT[chosen][0]).main
    return run(words[1:])
