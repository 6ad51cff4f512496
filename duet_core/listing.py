"""The shell command `models`: what we suggest, and whether it fits this machine."""

from __future__ import annotations

import argparse

from duet_core.devices import Target, choose_target
from duet_core.memory import free_bytes, in_gb, needed_bytes
from duet_core.registry import Suggested, suggested

_HEAD = ("name", "download", "licence", "good for", "fits here")


def models(argv: list[str]) -> int:
    """List the suggested models with size and licence, and whether each fits into this machine's free memory."""
    parser = argparse.ArgumentParser("duet_core models", description=models.__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args(argv)
    target = choose_target(options.device, options.dtype)
    print(models_table(suggested(), target, free_bytes(target.device)))
    return 0


def models_table(entries: tuple[Suggested, ...], target: Target, free: int) -> str:
    """Return the table as text, in columns, with the free memory below it."""
    rows = [_HEAD, *(_row(entry, target, free) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    dtype = str(target.dtype).removeprefix("torch.")
    notes = [f"{entry.name}: {entry.note}" for entry in entries if entry.note]
    return "\n".join([*lines, "", f"{in_gb(free)} are free on {target.device.type.upper()}, in {dtype}.", *notes])


def _row(entry: Suggested, target: Target, free: int) -> tuple[str, ...]:
    needed = needed_bytes(entry.parameters, target)
    fits = "yes" if needed <= free else f"no, needs {in_gb(needed)}"
    size = f"{entry.download:.1f} GB" if entry.download else "bundled"
    return entry.name, size, entry.licence, entry.good_for, fits
