"""Cost -> the table of measured figures, as rows of text."""

from __future__ import annotations

from dataclasses import dataclass

from app.duel import Duel
from duet_core.bench.speed import PlanSpeed
from duet_core.timing import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its name, what it means, both values, and their ratio in words."""

    name: str
    hint: str
    full: str
    reduced: str
    ratio: str


def rows(duel: Duel) -> tuple[Row, ...]:
    """Return the figures of a run, full beside reduced."""
    full, reduced = duel.speeds
    return (
        Row("First token", "all of the below, up to the first word", *_pair(full, reduced, "first_token_ms"), _times(reduced.first_token_ratio)),
        Row("Vision encoder", "the same work for both", *_pair(full, reduced, "encode_ms"), ""),
        Row("Selection", "both stages of the method", *_pair(full, reduced, "select_ms"), _share(full, reduced)),
        Row("Prefill", "language model over the prompt", *_pair(full, reduced, "prefill_ms"), _times(reduced.prefill_ratio)),
        Row("Decode per token", "each further word", *_pair(full, reduced, "decode_ms"), _medians(full.decode_ms, reduced.decode_ms)),
        Row("KV cache", "after the prefill", size(full.kv_bytes), size(reduced.kv_bytes), _less(full.kv_bytes, reduced.kv_bytes)),
        Row("Prefill FLOPs", "by formula", flops(full.flops), flops(reduced.flops), _less(full.flops, reduced.flops)),
    )


def runs_in_words(duel: Duel) -> str:
    """Say how the times were taken."""
    runs = duel.speeds[1].first_token_ratio.runs
    many = f"{runs} interleaved runs of each" if runs > 1 else "one run of each"
    return f"Median of {many}, lowest to highest in brackets; a ratio above 1x means faster."


def _pair(full: PlanSpeed, reduced: PlanSpeed, name: str) -> tuple[str, str]:
    return milliseconds(getattr(full, name)), milliseconds(getattr(reduced, name))


def milliseconds(spread: Spread | None) -> str:
    """Return a time with its spread, as "84 ms (81-90)"."""
    if spread is None:
        return "–"
    return f"{_digits(spread.median)} ms ({_digits(spread.low)}–{_digits(spread.high)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f}x ({ratio.low:.2f}–{ratio.high:.2f})"


def _medians(full: Spread | None, reduced: Spread | None) -> str:
    if full is None or reduced is None or not reduced.median:
        return "–"
    return f"{full.median / reduced.median:.2f}x"


def _share(full: PlanSpeed, reduced: PlanSpeed) -> str:
    """Say what the selection costs, measured by what it has to win back."""
    return f"{100 * reduced.select_ms.median / full.prefill_ms.median:.1f} % of the full prefill"


def _less(full: int, reduced: int) -> str:
    change = 100 * (1 - reduced / full)
    return f"{abs(change):.0f} % {'less' if change >= 0 else 'more'}"


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
