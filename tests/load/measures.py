"""What the drivers measure: times, memory, threads; and how they tell it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class Load:
    """A process at one moment: memory in bytes, threads, open files and sockets, children."""

    rss: int
    threads: int
    files: int
    children: int

    @classmethod
    def of(cls, pid: int) -> Load:
        process = psutil.Process(pid)
        return cls(
            process.memory_info().rss, process.num_threads(), process.num_fds(), len(process.children(recursive=True))
        )


def tell(report: dict[str, Any], out: Path | None) -> None:
    """Print a report, and write it where it is wanted."""
    text = json.dumps(report, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")
