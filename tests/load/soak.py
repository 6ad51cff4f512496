"""Many requests in a row: `python -m tests.load.soak --requests 500`; memory, latency, and what is left of files."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.load.measures import Load, percentile, tell
from tests.load.visitor import Visitor
from tests.served import Server, serving

MOST, SETTLED = 2000, 0.2  # of the requests: what is loaded by then stays
KEEP = {"DUET_KEEP_MINUTES": "1"}


def soak(server: Server, requests: int) -> dict[str, Any]:
    """Ask so many times in a row, each a visitor of its own; returns the report."""
    times, loads, ends = [], [], []
    for _ in range(requests):
        with httpx.Client(timeout=120) as http:
            one = Visitor(server.address, http)
            begin = time.monotonic()
            one.ask(one.upload())
            last = one.followed()
            times.append(time.monotonic() - begin)
        ends.append(last["msg"] == "process_completed" and last["success"])
        loads.append(Load.of(server.process.pid))
    settled = loads[int(SETTLED * requests) :]
    early, late = settled[: max(1, len(settled) // 5)], settled[-max(1, len(settled) // 5) :]
    mean = [sum(load.rss for load in part) / len(part) for part in (early, late)]
    return {
        "requests": requests,
        "answered": sum(ends),
        "seconds": {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95), "longest": max(times)},
        "rss_mb": {"first": loads[0].rss / 1e6, "settled": mean[0] / 1e6, "end": mean[1] / 1e6},
        "growth_percent": 100 * (mean[1] / mean[0] - 1),
        "threads": [settled[0].threads, loads[-1].threads],
        "open_files": [settled[0].files, loads[-1].files],
    }


def left_behind(server: Server, longest_s: float = 200.0) -> dict[str, Any]:
    """Wait until the uploads are deleted, and return how many files there were, how many are left, and after what."""
    begin, at_first = time.monotonic(), _files(server)
    while (left := _files(server)) and time.monotonic() - begin < longest_s:
        time.sleep(2)
        if len(left) <= _OWN:
            break
    return {"files": len(at_first), "left": [path.name for path in left], "after_s": time.monotonic() - begin}


_OWN = 1  # the page's own first example, which stays


def _files(server: Server) -> list[Path]:
    return [path for path in server.uploads.rglob("*") if path.is_file()]


def main() -> None:
    """Run it on a page of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **KEEP) as server:
        report = soak(server, min(options.requests, MOST))
        tell(report | {"deleted": left_behind(server)}, options.out)


if __name__ == "__main__":
    main()
