"""The decoder as a process of its own: started without rights it does not need, watched, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any

from PIL import Image

from duet_core.clips import refusals
from duet_core.clips.clip import Clip, ClipLimits
from duet_core.errors import ClipError

_WORKER = Path(__file__).with_name("decode.py")
_LONGEST_LINE = 1000
_PASSED_ON = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT")  # no proxy, no token
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class _Lost(Exception):  # noqa: N818
    """The worker ended, or wrote what it should not."""


def decode(path: Path, limits: ClipLimits, on_progress: Callable[[float], None]) -> Clip:
    """Return the clip at a path that lies alone in its folder; a ClipError says in one sentence why it cannot be."""
    worker = _start(path, limits)
    assert worker.stdout is not None  # noqa: S101  for the type checker
    late = Event()
    timer = Timer(limits.deadline_s, _expire, (worker, late))
    timer.start()
    try:
        return _receive(worker.stdout, limits, on_progress)
    except _Lost as lost:
        raise ClipError(refusals.too_slow(limits.deadline_s) if late.is_set() else refusals.BROKEN) from lost
    finally:
        timer.cancel()
        timer.join()
        _kill(worker)
        worker.stdout.close()
        worker.wait()


def _start(path: Path, limits: ClipLimits) -> subprocess.Popen[bytes]:
    """Start the worker in the clip's folder, in a process group of its own."""
    return subprocess.Popen(  # noqa: S603  our own script, and no word of a visitor among its arguments
        [sys.executable, "-P", str(_WORKER), path.name, json.dumps(asdict(limits))],
        cwd=path.parent,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ONE_THREAD,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _expire(worker: subprocess.Popen[bytes], late: Event) -> None:
    late.set()
    _kill(worker)


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever it may have started."""
    with contextlib.suppress(OSError):  # it may have ended just now
        if worker.returncode is None and hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.kill()


def _receive(pipe: IO[bytes], limits: ClipLimits, on_progress: Callable[[float], None]) -> Clip:
    """Read messages until the clip is complete, believing none of them without a check."""
    frames: list[Image.Image] = []
    times: list[float] = []
    told = 0.0
    while True:
        message = _message(pipe)
        if "refused" in message:
            raise ClipError(_refusal(message, limits))
        if "duration" in message:
            clip = _clip(message, frames, times)
            on_progress(1.0)
            return clip
        if "time" in message:
            frames.append(_frame(pipe, message, limits, len(frames)))
            times.append(_number(message["time"]))
        elif told + 0.01 <= (done := min(_number(message.get("progress")), 0.99)):
            told = done
            on_progress(told)


def _message(pipe: IO[bytes]) -> dict[str, Any]:
    try:
        message = json.loads(pipe.readline(_LONGEST_LINE))
    except ValueError as error:
        raise _Lost from error
    if not isinstance(message, dict):
        raise _Lost
    return message


def _refusal(message: dict[str, Any], limits: ClipLimits) -> str:
    try:
        return refusals.by_worker(str(message["refused"]), message, limits)
    except (KeyError, TypeError, ValueError) as error:
        raise _Lost from error


def _frame(pipe: IO[bytes], message: dict[str, Any], limits: ClipLimits, count: int) -> Image.Image:
    """Read the raw bytes of a frame, which may be neither larger nor one more than was asked for."""
    width, height = _size(message)
    if count >= limits.candidates or max(width, height) > limits.longest_side_px:
        raise _Lost
    data = pipe.read(width * height * 3)
    if len(data) < width * height * 3:
        raise _Lost
    return Image.frombytes("RGB", (width, height), data)


def _clip(message: dict[str, Any], frames: list[Image.Image], times: list[float]) -> Clip:
    """Put a clip together, if its frames are of one size and its times ascend."""
    duration = _number(message["duration"])
    ascending = all(a < b for a, b in pairwise([*times, duration]))
    if not frames or not ascending or len({frame.size for frame in frames}) > 1:
        raise _Lost
    return Clip(tuple(frames), tuple(times), duration, _size(message))


def _size(message: dict[str, Any]) -> tuple[int, int]:
    match message.get("size"):
        case [int(width), int(height)] if min(width, height) > 0:
            return width, height
    raise _Lost


def _number(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < 1e6:
        return float(value)
    raise _Lost
