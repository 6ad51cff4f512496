"""Cost -> the table of measured figures, as rows of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.duel import Duel
from duet_core.bench.speed import PlanSpeed
from duet_core.timing import Spread


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in words, and from where to where it went over the runs."""

    value: str = ""
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its name, what it means, both values, and how they compare."""

    name: str
    hint: str
    full: Cell
    reduced: Cell
    ratio: Cell = Cell()


def rows(duel: Duel) -> tuple[Row, ...]:
    """Return the figures of a run, full beside reduced."""
    full, reduced = duel.speeds

    def times(name: str, hint: str, field: str, ratio: Cell) -> Row:
        return Row(name, hint, milliseconds(getattr(full, field)), milliseconds(getattr(reduced, field)), ratio)

    return (
        times("First token", "all up to the first word", "first_token_ms", _times(reduced.first_token_ratio)),
        times("Vision encoder", "the same work for both", "encode_ms", Cell()),
        times("Selection", "both stages of the method", "select_ms", _share(full, reduced)),
        times("Prefill", "language model over the prompt", "prefill_ms", _times(reduced.prefill_ratio)),
        times("Decode per token", "each further word", "decode_ms", _medians(full.decode_ms, reduced.decode_ms)),
        Row("KV cache", "after the prefill", *_both(size, full.kv_bytes, reduced.kv_bytes)),
        Row("Prefill FLOPs", "by formula", *_both(flops, full.flops, reduced.flops)),
    )


def runs_in_words(duel: Duel) -> str:
    """Say how the times were taken."""
    runs = duel.speeds[1].first_token_ratio.runs
    many = f"{runs} interleaved runs of each" if runs > 1 else "one run of each"
    return f"Median of {many}, lowest to highest beside it; a ratio above 1x means that the reduced run was faster."


def _both(words: Callable[[int], str], full: int, reduced: int) -> tuple[Cell, Cell, Cell]:
    return Cell(words(full)), Cell(words(reduced)), _less(full, reduced)


def milliseconds(spread: Spread | None) -> Cell:
    """Return a time as "84.0 ms" with its spread "81.2-90.1"."""
    if spread is None:
        return Cell("–")
    return Cell(f"{_digits(spread.median)} ms", f"{_digits(spread.low)}–{_digits(spread.high)}")


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _times(ratio: Spread) -> Cell:
    return Cell(f"{ratio.median:.2f}x", f"{ratio.low:.2f}–{ratio.high:.2f}")


def _medians(full: Spread | None, reduced: Spread | None) -> Cell:
    if full is None or reduced is None or not reduced.median:
        return Cell("–")
    return Cell(f"{full.median / reduced.median:.2f}x")


def _share(full: PlanSpeed, reduced: PlanSpeed) -> Cell:
    """Say what the selection costs, measured by what it has to win back."""
    return Cell(f"{100 * reduced.select_ms.median / full.prefill_ms.median:.1f} %", "of the full prefill")


def _less(full: int, reduced: int) -> Cell:
    change = 100 * (1 - reduced / full)
    return Cell(f"{abs(change):.0f} % {'less' if change >= 0 else 'more'}")


def size(n_bytes: int) -> str:
    """Return bytes as kB, MB or GB (powers of 1000)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.2f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def flops(count: int) -> str:
    """Return FLOPs with a readable prefix."""
    for unit, factor in (("T", 1e12), ("G", 1e9)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}FLOPs"
    return f"{count / 1e6:.0f} MFLOPs"
