"""Many visitors at once against one worker: `python -m tests.load.crowd --visitors 50`."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.load.measures import Load, percentile, tell
from tests.load.visitor import Refused, Visitor
from tests.served import Server, serving

MOST = 200


@dataclass(frozen=True)
class Met:
    """What one visitor met: `end` (answered, refused or how it failed), the statuses seen, the sentence, seconds."""

    end: str
    statuses: tuple[int, ...]
    said: str
    seconds: float


def visit(address: str, start: threading.Barrier) -> Met:
    """Open the page, upload a picture, ask, and listen to the end."""
    with httpx.Client(timeout=120) as http:
        one, statuses = Visitor(address, http), [http.get(address).status_code]
        picture = one.upload()
        start.wait(120)
        begin = time.monotonic()
        try:
            one.ask(picture)
        except Refused as refused:
            return Met("refused", (*statuses, refused.status), str(refused), time.monotonic() - begin)
        last = one.followed()
        good = last["msg"] == "process_completed" and last["success"]
        told = "told its place" if "estimation" in last["seen"] else ""
        return Met("answered" if good else str(last), (*statuses, 200), told, time.monotonic() - begin)


def probe(address: str, over: threading.Event) -> list[float]:
    """Ask the light endpoint again and again until it is over; returns the seconds of each."""
    times = []
    with httpx.Client(timeout=60) as http:
        one = Visitor(address, http)
        one.light()
        while not over.wait(0.1):
            begin = time.monotonic()
            assert one.light().status_code == 200
            times.append(time.monotonic() - begin)
    return times


def crowd(server: Server, visitors: int) -> dict[str, Any]:
    """Let them all come at once; returns the report."""
    with httpx.Client(timeout=120) as http:  # the model is opened before, as on any server that is up
        one = Visitor(server.address, http)
        one.ask(one.upload())
        one.followed()
    before, over, start = Load.of(server.process.pid), threading.Event(), threading.Barrier(visitors + 1)
    with ThreadPoolExecutor(visitors + 1) as pool:
        met = [pool.submit(visit, server.address, start) for _ in range(visitors)]
        start.wait(120)
        probing = pool.submit(probe, server.address, over)
        try:
            done = [one.result() for one in met]
        finally:
            over.set()
        times = probing.result()
    after, answered = Load.of(server.process.pid), [one.seconds for one in done if one.end == "answered"]
    return {
        "visitors": visitors,
        "ends": dict(Counter(one.end for one in done)),
        "statuses": dict(Counter(str(status) for one in done for status in one.statuses)),
        "sentences": sorted({one.said for one in done if one.end == "refused"}),
        "answered_s": {"median": percentile(answered, 0.5), "longest": max(answered, default=0)},
        "light_ms": {
            "requests": len(times),
            "p50": 1000 * percentile(times, 0.5),
            "p95": 1000 * percentile(times, 0.95),
            "longest": 1000 * max(times, default=0),
        },
        "rss_mb": [before.rss / 1e6, after.rss / 1e6],
        "threads": [before.threads, after.threads],
    }


def main() -> None:
    """Run it on a page of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        tell(crowd(server, min(options.visitors, MOST)), options.out)


if __name__ == "__main__":
    main()
