"""Stop at random moments, and browsers that close: `python -m tests.load.stops --stops 100`."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.load.measures import Load, percentile, tell
from tests.load.visitor import Visitor
from tests.served import Server, serving

MOST, LONGEST_RUN_S = 1000, 4.0


def stopped(server: Server, after: float, close: bool = False) -> float:
    """Ask, press Stop (or close the browser) so many seconds later; returns the seconds until the next one's turn."""
    with httpx.Client(timeout=60) as http, httpx.Client(timeout=60) as beside:
        one, other = Visitor(server.address, http), Visitor(server.address, beside)
        event, picture = one.ask(one.upload()), other.upload()
        with one.listening() as messages:
            next(message for message in messages if message["msg"] == "process_starts")
            waiting = other.ask(picture)
            with other.listening() as turns:
                time.sleep(after)
                if close:
                    http.close()
                begin = time.monotonic()
                if not close:
                    one.stop(event)
                _take_turn(turns)
                seconds = time.monotonic() - begin
                other.stop(waiting)
    return seconds


def _take_turn(turns: Iterator[dict[str, Any]]) -> None:
    """Return when a run has the model: its second news, for the first comes before."""
    news = (message for message in turns if message["msg"] == "process_generating")
    next(news)
    next(news)


def stops(server: Server, many: int, seed: int = 0) -> dict[str, Any]:
    """Do so again and again at random moments of a run; returns the report."""
    draw, waits = random.Random(seed), []
    for number in range(5):
        stopped(server, number / 4)  # whatever is loaded once is loaded now
    before = Load.of(server.process.pid)
    for number in range(many):
        waits.append(stopped(server, draw.uniform(0, LONGEST_RUN_S), close=bool(number % 2)))
    time.sleep(1)
    after = Load.of(server.process.pid)
    return {
        "stops": many,
        "free_after_s": {"p50": percentile(waits, 0.5), "p95": percentile(waits, 0.95), "longest": max(waits)},
        "threads": [before.threads, after.threads],
        "open_files": [before.files, after.files],
        "children": [before.children, after.children],
        "rss_mb": [before.rss / 1e6, after.rss / 1e6],
        "growth_percent": 100 * (after.rss / before.rss - 1),
    }


def main() -> None:
    """Run it on a page of its own with long runs. It remembers few visitors, so that what grows is what stops leave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    own = {"DUET_REPEATS": "200", "DUET_SESSIONS": "4"}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **own) as server:
        tell(stops(server, min(options.stops, MOST)), options.out)


if __name__ == "__main__":
    main()
