"""Clocks: spans of device time without stopping the device, and the median with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


class Stopwatch:
    """Adds up named spans of one run on one device.

    On CUDA a span is a pair of events in the stream, so that nothing waits inside the run; `totals` waits once, at
    the end. Elsewhere the wall clock is read (MPS is synchronised around each span).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[str, object, object]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time the enclosed lines under `name`; spans of one name add up."""
        begin = self._mark()
        yield
        self._spans.append((name, begin, self._mark()))

    def totals(self) -> dict[str, float]:
        """Return milliseconds per span name; a name never entered is missing."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        sums: dict[str, float] = {}
        for name, begin, end in self._spans:
            sums[name] = sums.get(name, 0.0) + _between(begin, end)
        return sums

    def median(self, name: str) -> float | None:
        """Return the median milliseconds of the spans called `name`, None if there were none."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spans = [_between(begin, end) for span, begin, end in self._spans if span == name]
        return statistics.median(spans) if spans else None

    def _mark(self) -> object:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            return event
        if self._device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()


def _between(begin: object, end: object) -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return (end - begin) * 1000.0
    return begin.elapsed_time(end)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Spread:
    """A measured figure: median, lowest and highest of `runs` runs, in milliseconds (or a plain ratio)."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def to_json(self) -> dict[str, float | int]:
        """Return the four numbers, rounded to a thousandth."""
        return {
            "median": round(self.median, 3),
            "low": round(self.low, 3),
            "high": round(self.high, 3),
            "runs": self.runs,
        }
