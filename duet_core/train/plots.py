"""Draws what a training logged: its losses and its marks, against steps and against wall time."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from duet_core.train.loop import LOG, read_log

Series = dict[str, list[tuple[float, float]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Draw loss and accuracy from the logs of one or more trainings into one picture."""
    parser = argparse.ArgumentParser("duet_core train plot", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help=f"folder of a training, with its {LOG}")
    parser.add_argument("--out", type=Path, required=True, help="PNG or SVG, by its ending")
    parser.add_argument("--against", choices=("step", "seconds"), default="step")
    options = parser.parse_args(argv)
    draw({folder.name: read_log(folder) for folder in options.folder}, options.against).savefig(options.out)
    return 0


def curves(rows: Sequence[Mapping[str, Any]], against: str) -> tuple[Series, Series]:
    """Losses and marks by name, each a list of (step or seconds, value), oldest first; not the families' marks."""
    losses: Series = defaultdict(list)
    marks: Series = defaultdict(list)
    for row in rows:
        for name, value in row.get("losses", {}).items():
            losses[name].append((row[against], value))
        for name, value in row.get("check", {}).items():
            if "/" not in name:
                marks[name].append((row[against], value))
    return dict(losses), dict(marks)


def draw(runs: Mapping[str, Sequence[Mapping[str, Any]]], against: str = "step") -> Figure:
    """Return a figure with the total loss of every run on the left and its marks in percent on the right."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run, rows in runs.items():
        losses, marks = curves(rows, against)
        _lines(left, {run: losses.get("loss", [])}, 1.0)
        _lines(right, {f"{run}: {name}" if len(runs) > 1 else name: own for name, own in marks.items()}, 100.0)
    for axes, title in ((left, "loss"), (right, "right, %")):
        axes.set(title=title, xlabel=against)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    return figure


def _lines(axes: Axes, series: Series, scale: float) -> None:
    for name, points in series.items():
        axes.plot([x for x, _ in points], [scale * y for _, y in points], label=name)
