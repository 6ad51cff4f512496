"""The page as a visitor meets it: `python app.py`, running, for the tests that need it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page, its uploads in a folder of their own, and return its address."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "DUET_DEVICE": "cpu", "DUET_REPEATS": "2", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        command = [sys.executable, str(ROOT / "app.py")]
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/"
            _wait(address, server, folder / "log")
            yield address
        finally:
            server.terminate()
            server.wait(20)


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
