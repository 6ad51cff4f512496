"""The shell commands `models`, what we suggest and whether it fits this machine, and `methods`, what each rests on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from duet_core.devices import Target, choose_target
from duet_core.memory import free_bytes, in_gb, needed_bytes
from duet_core.methods import METHODS, TRAINED
from duet_core.methods.base import About
from duet_core.registry import Suggested, suggested

_HEAD = ("name", "download", "licence", "good for", "fits here")
_METHOD_HEAD = ("name", "where", "looks at", "training", "rests on", "own reading", "paper")


def models(argv: list[str]) -> int:
    """List the suggested models with size and licence, and whether each fits into this machine's free memory."""
    parser = argparse.ArgumentParser("duet_core models", description=models.__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args(argv)
    target = choose_target(options.device, options.dtype)
    print(models_table(suggested(), target, sum(free_bytes(device) for device in (target.device, *target.beside))))
    return 0


def models_table(entries: tuple[Suggested, ...], target: Target, free: int) -> str:
    """Return the table as text, in columns, with the free memory below it."""
    rows = [_HEAD, *(_row(entry, target, free) for entry in entries)]
    dtype = str(target.dtype).removeprefix("torch.")
    notes = [f"{entry.name}: {entry.note}" for entry in entries if entry.note]
    room = f"{in_gb(free)} are free on {target.device.type.upper()}, in {dtype}."
    return "\n".join([_columns(rows), "", room, *notes])


def _row(entry: Suggested, target: Target, free: int) -> tuple[str, ...]:
    needed = needed_bytes(entry.parameters, target)
    fits = "yes" if needed <= free else f"no, needs {in_gb(needed)}"
    size = f"{entry.download:.1f} GB" if entry.download else "bundled"
    return entry.name, size, entry.licence, entry.good_for, fits


def methods(argv: list[str]) -> int:
    """List every method with what it looks at, what it needs first, and what our version of it rests on."""
    argparse.ArgumentParser("duet_core methods", description=methods.__doc__).parse_args(argv)
    print(methods_table())
    return 0


def methods_table() -> str:
    """Return the table as text, in columns; `own reading`: parts are our reading of a text that leaves them open."""
    return _columns([_METHOD_HEAD, *(_method_row(name, method.about) for name, method in (METHODS | TRAINED).items())])


def _method_row(name: str, about: About) -> tuple[str, ...]:
    reading = "yes" if about.interpretation else "no"
    needs = ", ".join(about.needs) or "nothing"
    return name, about.stage, needs, about.training, about.confidence, reading, about.paper


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines of text whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
