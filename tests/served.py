"""The page as a visitor meets it: `python app.py`, running, for the tests that need it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Server:
    """A running page: its address, its process, its log, and the folder of its uploads."""

    address: str
    process: subprocess.Popen
    log: Path
    uploads: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(folder: Path, command: Sequence[str] = (str(ROOT / "app.py"),), **environment: str) -> Iterator[Server]:
    """Serve the page, its uploads and its log in a folder."""
    port = free_port()
    own = {
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "DUET_DEVICE": "cpu", "DUET_REPEATS": "2", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    log = folder / "log"
    with log.open("w") as stream:
        run = [sys.executable, *command]
        process = subprocess.Popen(run, cwd=ROOT, env=os.environ | own | environment, stdout=stream, stderr=stream)
        try:
            address = f"http://127.0.0.1:{port}/"
            _wait(address, process, log)
            yield Server(address, process, log, Path((own | environment)["GRADIO_TEMP_DIR"]))
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the page, its uploads in a folder of their own."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page and return its address."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running.address


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    """Return once the page answers."""
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            httpx.get(address)
            return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(f"The page did not come up:\n{log.read_text()}")
