"""Two replicas behind nginx, one killed under load: `python -m tests.load.replicas`. Needs nginx."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.load.measures import tell
from tests.load.visitor import Refused, Visitor
from tests.served import ROOT, Server, free_port, serving

CONFIGURATION = ROOT / "deploy" / "nginx.conf"


@contextmanager
def balanced(folder: Path, replicas: list[Server]) -> Iterator[str]:
    """Put nginx, as we describe it, before the replicas; yields its address."""
    port, text = free_port(), CONFIGURATION.read_text()
    for own, replica in zip(("7861", "7862"), replicas, strict=True):
        text = text.replace(f"127.0.0.1:{own}", f"127.0.0.1:{httpx.URL(replica.address).port}")
    (folder / "nginx.conf").write_text(re.sub(r"listen 127\.0\.0\.1:\d+", f"listen 127.0.0.1:{port}", text))
    command = [str(shutil.which("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stderr=(folder / "nginx.log").open("w"))
    try:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(50):
            try:
                httpx.get(address)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def stay(address: str, over: threading.Event) -> dict[str, Any]:
    """Be one visitor with one upload, who asks again and again until it is over, and again where an answer was lost."""
    counts, lost_in_a_row, worst = Counter(), 0, 0
    with httpx.Client(timeout=60) as http:
        one = Visitor(address, http)
        assert http.get(address).status_code == 200
        picture, peers = one.upload(), {http.cookies.get("duet_replica")}
        while not over.is_set():
            good = _asked(one, picture, counts)
            lost_in_a_row = 0 if good else lost_in_a_row + 1
            worst = max(worst, lost_in_a_row)
            peers.add(http.cookies.get("duet_replica"))
    return {"counts": dict(counts), "lost_in_a_row": worst, "cookies": len(peers)}


def _asked(one: Visitor, picture: dict[str, Any], counts: Counter) -> bool:
    """Ask once; whether that was answered, or refused in words."""
    try:
        one.ask(picture)
        last = one.followed()
    except Refused as refused:
        counts[f"refused {refused.status}" if refused.status == 429 else f"lost {refused.status}"] += 1
        time.sleep(0.3)
        return refused.status == 429
    except (httpx.HTTPError, ValueError):
        counts["lost"] += 1
        time.sleep(0.3)
        return False
    good = last["msg"] == "process_completed" and last["success"]
    counts["answered" if good else "lost"] += 1
    return good


def prove(folder: Path, visitors: int, seconds: float) -> dict[str, Any]:
    """Let visitors stay, kill a replica halfway, and return what each of them met."""
    shared = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "DUET_REPEATS": "1"}  # uploads of both in one folder
    with ExitStack() as stack:
        for name in ("one", "two"):
            (folder / name).mkdir()
        replicas = [stack.enter_context(serving(folder / name, **shared)) for name in ("one", "two")]
        address = stack.enter_context(balanced(folder, replicas))
        over, pool = threading.Event(), stack.enter_context(ThreadPoolExecutor(visitors))
        met = [pool.submit(stay, address, over) for _ in range(visitors)]
        time.sleep(seconds / 2)
        replicas[0].process.kill()
        time.sleep(seconds / 2)
        over.set()
        each = [one.result() for one in met]
    together = sum((Counter(one["counts"]) for one in each), Counter())
    return {
        "visitors": visitors,
        "answers": dict(together),
        "most_lost_in_a_row": max(one["lost_in_a_row"] for one in each),
        "most_lost_by_one": max(sum(n for end, n in one["counts"].items() if end.startswith("lost")) for one in each),
        "cookies_per_visitor": max(one["cookies"] for one in each),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tell(prove(Path(folder), min(options.visitors, 50), min(options.seconds, 600)), options.out)


if __name__ == "__main__":
    main()
