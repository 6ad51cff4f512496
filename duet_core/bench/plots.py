"""Rows -> plots of accuracy, of speed and of growth. The only file of the bench that needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from duet_core.bench.accuracy import FULL
from duet_core.bench.bootstrap import Interval
from duet_core.bench.report import Row

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, for all eyes
_MARKERS: Final = "osD^vP"
_DASHES: Final = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT = 5.4, 4.2  # inches of one panel
_COLUMNS: Final = 3
_APART: Final = 0.01  # methods at the same budget stand so far apart, as a share of the full width


def draw_accuracy(rows: Sequence[Row], path: Path) -> None:
    """Write one panel per exam, methods in colours and models in dashes, with 95 % intervals, by the path's suffix."""
    panels = [list(group) for _, group in groupby(rows, lambda row: (row.exam, row.wording))]
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * lines), layout="constrained")
    for number, own in enumerate(panels, start=1):
        draw_panel(figure.add_subplot(lines, columns, number), own)
    figure.savefig(path, dpi=150, metadata={"Title": "Accuracy against visual tokens"})


def draw_panel(axes: Any, rows: Sequence[Row]) -> None:
    """Draw the rows of one exam."""
    models = list(dict.fromkeys(row.model for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    for model in models:
        dashes, name = _DASHES[models.index(model) % len(_DASHES)], f"{model} " if len(models) > 1 else ""
        for number, method in enumerate(methods):
            own = [row for row in rows if (row.model, row.method) == (model, method)]
            style = {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKERS[number % len(_MARKERS)]}
            label = f"{name}{'all tokens' if own and own[0].budget == FULL else method}"
            _series(axes, own, {**style, "linestyle": dashes, "label": label}, number - (len(methods) - 1) / 2)
    axes.set(xlabel="visual tokens per layer, on average", ylabel="percent right")
    axes.set_title(f"{rows[0].exam}, {rows[0].wording} wording", fontsize="medium")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _series(axes: Any, rows: Sequence[Row], style: dict[str, Any], shift: float) -> None:
    """Draw one method's points with error bars; the accuracy of all tokens is drawn on as a level to compare with."""
    drawn = [(row, row.overall.accuracy) for row in sorted(rows, key=lambda row: row.tokens)]
    marks = [(row, mark) for row, mark in drawn if mark is not None]
    if not marks:
        return
    x = [row.tokens + (0 if row.budget == FULL else shift * _APART * row.full_tokens) for row, _ in marks]
    y, errors = _bars([mark for _, mark in marks])
    axes.errorbar(x, y, errors, capsize=3, markersize=5, **style)
    if rows[0].budget == FULL:
        axes.axhline(y[0], color=style["color"], linestyle=style["linestyle"], linewidth=0.8, alpha=0.6)


def _bars(marks: Sequence[Interval]) -> tuple[list[float], list[list[float]]]:
    """Return percentages, and how far their intervals reach below and above."""
    below = [100 * (mark.value - mark.low) for mark in marks]
    above = [100 * (mark.high - mark.value) for mark in marks]
    return [100 * mark.value for mark in marks], [below, above]


def draw_speed(report: Mapping[str, Any], path: Path) -> None:
    """Write a plot: per budget how much faster the prefill was, beside the FLOPs and the bare layers."""
    rows = report["budgets"]
    figure = Figure(figsize=(1.6 + 0.9 * len(rows), 4.0), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    ours = [row["prefill_ratio"]["median"] for row in rows]
    axes.bar([at - 0.2 for at in places], ours, 0.4, yerr=_whiskers(rows), capsize=3)
    axes.bar([at + 0.2 for at in places], [row["floor_ratio"]["median"] for row in rows], 0.4, alpha=0.6)
    axes.plot(places, [row["flops_ratio"] for row in rows], "k_", markersize=24)
    axes.legend(["FLOPs fewer", "prefill faster", "bare layers faster"], fontsize="small")
    axes.set_xticks(list(places), [row["budget"] for row in rows], rotation=30 if len(rows) > 6 else 0)
    axes.set(xlabel="budget", ylabel="times all tokens")
    axes.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=150, metadata={"Title": "Prefill against FLOPs and bare layers"})


def _whiskers(rows: list[dict[str, Any]]) -> list[list[float]]:
    spreads = [row["prefill_ratio"] for row in rows]
    return [[s["median"] - s["low"] for s in spreads], [s["high"] - s["median"] for s in spreads]]


def draw_growth(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a plot of time and memory against frames or pixels, by the path's suffix."""
    kind = "frames" if "frames" in rows[0] else "side"
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    figures = {"prefill, seconds": _seconds, "peak memory, MB": _megabytes}
    for number, (title, value) in enumerate(figures.items(), start=1):
        axes = figure.add_subplot(1, 2, number)
        for budget in dict.fromkeys(row["budget"] for row in rows):
            own = [row for row in rows if row["budget"] == budget]
            axes.plot([row[kind] for row in own], [value(row) for row in own], marker="o", label=budget)
        axes.set(xlabel=kind if kind == "frames" else "pixels a side", ylabel=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150, metadata={"Title": "Time and memory as the input grows"})


def _seconds(row: Mapping[str, Any]) -> float:
    return row["prefill_ms"]["median"] / 1000


def _megabytes(row: Mapping[str, Any]) -> float:
    return math.nan if row["peak_bytes"] is None else row["peak_bytes"] / 1e6
