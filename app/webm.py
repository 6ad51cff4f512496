"""Frames out as a film that browsers play: VP8 in WebM, written by OpenCV in a process of its own.

The process keeps OpenCV, and what FFmpeg prints on its own to stderr, out of the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

_PATIENCE = 60  # seconds


def write_webm(frames: Sequence[np.ndarray | Image.Image], fps: float) -> bytes:
    """Return a film of RGB frames [height, width, 3] uint8, all of one size; odd sides gain a line, as VP8 needs."""
    film = _even(np.stack([np.asarray(frame, np.uint8) for frame in frames]))
    if film.ndim != 4 or film.shape[3] != 3 or not 0 < fps <= 120:
        raise ValueError(f"A film needs RGB frames and up to 120 of them a second, not {film.shape} at {fps}.")
    height, width = film.shape[1:3]
    with TemporaryDirectory(prefix="duet-film-") as folder:
        path = Path(folder) / "film.webm"
        subprocess.run(  # noqa: S603  our own file, and nothing of a visitor among its arguments
            [sys.executable, "-P", __file__, str(path), str(width), str(height), str(fps)],
            input=film.tobytes(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENCV_LOG_LEVEL": "SILENT"},
            timeout=_PATIENCE,
            check=True,
        )
        return path.read_bytes()


def _even(film: np.ndarray) -> np.ndarray:
    """Repeat the last row or column of [frames, height, width, 3] where their number is odd."""
    if film.ndim != 4:
        return film
    return np.pad(film, ((0, 0), (0, film.shape[1] % 2), (0, film.shape[2] % 2), (0, 0)), "edge")


def _write(path: str, width: int, height: int, fps: float) -> None:
    """Write the raw frames on stdin into a file; runs in the process of its own."""
    import cv2

    cv2.setNumThreads(1)
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), fps, (width, height))
    if not writer.isOpened():
        sys.exit(1)
    while data := sys.stdin.buffer.read(width * height * 3):
        writer.write(np.frombuffer(data, np.uint8).reshape(height, width, 3)[:, :, ::-1].copy())
    writer.release()


if __name__ == "__main__":
    _write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
