"""The worker that decodes one clip, run by its path as a process of its own: `python -P decode.py FILE LIMITS`.

It knows nothing of this package, so that it starts fast and holds no model. LIMITS are the fields of `ClipLimits` as
JSON. Messages on stdout are lines of JSON; the raw RGB bytes of a frame follow its line.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

_FORMATS = {".mp4": "mov", ".webm": "matroska", ".avi": "avi", ".ogv": "ogg"}
_MEMORY = 2_000_000_000  # bytes of address space beyond what numpy and Pillow take; OpenCV itself needs about 250 MB
_LONGEST_CLAIM = 86_400.0  # seconds; a header that says more is not believed
_GRACE = 0.5  # seconds by which a clip may exceed the limit, as exports at exactly the limit do
_MOST_OF = 0.9  # share of frames and of seconds below which a clip counts as damaged
_AV1 = b"av01"


class Refused(Exception):  # noqa: N818  it is an answer, not a fault
    """The clip cannot be used; the parent makes the sentence."""

    def __init__(self, why: str, **facts: float) -> None:
        super().__init__(why)
        self.message = {"refused": why, **facts}


class Source:
    """A file that gives one frame after the other.

    `size`: (width, height), upright. `claimed`: seconds that its header tells, 0 if nothing credible. `step`: seconds
    that the current frame is shown.
    """

    size: tuple[int, int]
    claimed = 0.0
    step = 0.1

    def grab(self) -> float | None:
        """Go to the next frame; return the second at which it is shown, None at the end."""
        raise NotImplementedError

    def retrieve(self) -> np.ndarray:
        """Return the scaled pixels of this frame, [height, width, 3] RGB uint8."""
        raise NotImplementedError

    def check(self, frames: int, end: float) -> None:
        """Refuse the clip if it gave too few frames up to its last second."""
        if not frames:
            raise Refused("empty")


class Video(Source):
    """A clip read by FFmpeg through OpenCV."""

    def __init__(self, path: Path, limits: dict[str, Any]) -> None:
        cv2 = _import_cv2(_FORMATS[path.suffix])
        self._cv2, self._limits = cv2, limits
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise Refused("empty")
        self.size = int(self._read("FRAME_WIDTH")), int(self._read("FRAME_HEIGHT"))
        _check_size(self.size, limits)
        rate, self._count = self._read("FPS"), self._read("FRAME_COUNT")
        self.step = 1 / rate if 0.01 < rate <= 1000 else 1 / 30
        claimed = (_movie_seconds(path) if path.suffix == ".mp4" else 0) or self._count * self.step
        self.claimed = claimed if 0 < claimed < _LONGEST_CLAIM else 0.0
        self._counted = path.suffix in {".mp4", ".avi"}  # others only estimate their number of frames
        self._time, self._begin = -math.inf, 0.0

    def _read(self, name: str) -> float:
        value = self._capture.get(getattr(self._cv2, f"CAP_PROP_{name}"))
        return value if math.isfinite(value) else 0.0

    def grab(self) -> float | None:
        """Decode the next frame; stamps that do not ascend are replaced by the clip's rate."""
        if not self._capture.grab():
            return None
        time = self._read("POS_MSEC") / 1000
        if self._time == -math.inf:
            self._begin, self._time = time, 0.0
        else:
            self._time = time - self._begin if time - self._begin > self._time else self._time + self.step
        return self._time

    def retrieve(self) -> np.ndarray:
        """Return the pixels, whatever size this very frame has, scaled as the first one."""
        good, pixels = self._capture.retrieve()
        if not good or pixels.ndim != 3:
            raise Refused("broken")
        height, width = pixels.shape[:2]
        _check_size((width, height), self._limits)
        size = _scaled(self.size, self._limits)
        if size != (width, height):
            pixels = self._cv2.resize(pixels, size, interpolation=self._cv2.INTER_AREA)
        return np.ascontiguousarray(pixels[:, :, ::-1])

    def check(self, frames: int, end: float) -> None:
        """Tell AV1 apart, which opens and gives nothing, and an index that promises what is not there."""
        if not frames:
            fourcc = int(self._read("FOURCC")).to_bytes(8, "little")[:4]
            raise Refused("av1" if fourcc.lower() == _AV1 else "empty")
        if self._counted and frames < _MOST_OF * self._count and end < _MOST_OF * self.claimed:
            raise Refused("broken")


class Moving(Source):
    """A GIF or animated WebP read by Pillow."""

    def __init__(self, path: Path, limits: dict[str, Any]) -> None:
        self._picture = Image.open(path, formats=("GIF", "WEBP"))
        self._limits = limits
        self.size = self._picture.size
        _check_size(self.size, limits)
        self._index, self._next = 0, 0.0

    def grab(self) -> float | None:
        """Go to the next picture; one without a duration is shown for a tenth of a second, as browsers do."""
        try:
            self._picture.seek(self._index)
        except EOFError:
            return None
        self._picture.load()
        milliseconds = self._picture.info.get("duration", 0)
        self.step = milliseconds / 1000 if milliseconds > 10 else 0.1
        time, self._next = self._next, self._next + self.step
        self._index += 1
        return time

    def retrieve(self) -> np.ndarray:
        """Return the pixels, what is transparent laid onto white."""
        layer = self._picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        return np.asarray(picture.resize(_scaled(self.size, self._limits), Image.Resampling.BOX))


class Keeper:
    """Keeps at most twice `most` frames of a clip of unknown length, at least `gap` seconds apart."""

    def __init__(self, most: int, gap: float) -> None:
        self._most, self._gap, self._due = most, gap, 0.0
        self._kept: list[tuple[float, np.ndarray]] = []

    def offer(self, time: float, source: Source) -> None:
        """Take the frame shown at a second, unless one close to it was taken."""
        if time + source.step / 2 < self._due:
            return
        self._kept.append((time, source.retrieve()))
        if len(self._kept) > 2 * self._most:
            self._kept, self._gap = self._kept[::2], max(2 * self._gap, time / self._most)
        if self._gap:
            self._due = (math.floor((time + source.step / 2) / self._gap) + 1) * self._gap

    def spread(self) -> list[tuple[float, np.ndarray]]:
        """Return at most `most` of the frames, evenly spread over time."""
        if len(self._kept) <= self._most:
            return self._kept
        times = np.array([time for time, _ in self._kept])
        wanted = np.linspace(times[0], times[-1], self._most)
        return [self._kept[i] for i in sorted({int(np.abs(times - second).argmin()) for second in wanted})]


def read(path: Path, limits: dict[str, Any], send: Callable[..., None]) -> None:
    """Read a clip and send its progress, its frames and its duration; Refused says why not."""
    Image.MAX_IMAGE_PIXELS = None  # our own limit is far lower and has its own sentence
    _limit_resources(limits["deadline_s"])
    source: Source = (Video if path.suffix in _FORMATS else Moving)(path, limits)
    _check_seconds(source.claimed, limits)
    keeper = Keeper(limits["candidates"], max(0.0, source.claimed - source.step) / max(1, limits["candidates"] - 1))
    count, end = 0, 0.0
    while (time := source.grab()) is not None:
        count, end = count + 1, time + source.step
        _check_seconds(end, limits)
        keeper.offer(time, source)
        send({"progress": min(1.0, end / (source.claimed or limits["seconds"]))})
    source.check(count, end)
    for time, pixels in keeper.spread():
        send({"time": time, "size": pixels.shape[1::-1]}, pixels.tobytes())
    send({"duration": end, "size": source.size})


def _import_cv2(format_name: str) -> Any:
    """Import OpenCV so that FFmpeg may open one format from a file and nothing else, on one thread."""
    options = f"protocol_whitelist;file|format_whitelist;{format_name}"
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options
    try:
        import cv2
    except ImportError as error:
        raise Refused("no reader") from error
    cv2.setNumThreads(1)
    return cv2


def _limit_resources(seconds: float) -> None:
    """Bound memory, processor time and written files, where the platform can."""
    try:
        import resource
    except ImportError:
        return
    bounds = [(resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CPU, math.ceil(seconds) + 1)]
    with contextlib.suppress(OSError, ValueError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        bounds.append((resource.RLIMIT_AS, held + _MEMORY))
    for what, bound in bounds:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (bound, bound))


def _movie_seconds(path: Path) -> float:
    """Return the duration that an mp4 declares for what it shows, trimmed parts left out; 0 if it declares none."""
    data = path.read_bytes()
    place = data.find(b"mvhd")
    if place < 0 or place + 36 > len(data):
        return 0.0
    long = data[place + 4] == 1
    scale, ticks = struct.unpack_from(">IQ" if long else ">II", data, place + (24 if long else 16))
    return ticks / scale if scale else 0.0


def _check_size(size: tuple[int, int], limits: dict[str, Any]) -> None:
    if min(size) < 1:
        raise Refused("empty")
    if max(size) > limits["longest"] or min(size) > limits["shortest"]:
        raise Refused("large", width=size[0], height=size[1])


def _check_seconds(seconds: float, limits: dict[str, Any]) -> None:
    if seconds > limits["seconds"] + _GRACE:
        raise Refused("long", seconds=seconds)


def _scaled(size: tuple[int, int], limits: dict[str, Any]) -> tuple[int, int]:
    factor = min(1.0, limits["longest_side_px"] / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _sender(out: BinaryIO) -> Callable[..., None]:
    """Return a function that writes a message, with or without raw bytes behind it."""

    def send(message: dict[str, Any], data: bytes = b"") -> None:
        out.write(json.dumps(message).encode() + b"\n" + data)
        out.flush()

    return send


def main() -> None:
    """Read the clip named on the command line; nothing but messages reaches stdout."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    send = _sender(out)
    try:
        read(Path(sys.argv[1]), json.loads(sys.argv[2]), send)
    except Refused as refused:
        send(refused.message)


if __name__ == "__main__":
    main()
