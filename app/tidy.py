"""Deletes what visitors left behind on time, after a crash and of another process in the same folder, too."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from duet_core.clips.reader import SCRATCH

_EVERY_SECONDS = 60.0


def keep_tidy(page: gr.Blocks, keep_seconds: float) -> None:
    """Sweep now and every minute from now on, in the background; what the page itself shows stays."""

    def work() -> None:
        while True:
            sweep(Path(get_upload_folder()), keep_seconds, shown_by(page))
            sweep_scratch(keep_seconds)
            time.sleep(_EVERY_SECONDS)

    threading.Thread(target=work, daemon=True, name="tidy").start()


def shown_by(page: gr.Blocks) -> set[Path]:
    """Return the files that belong to the page, such as the first example."""
    kept = (getattr(block, "keep_in_cache", ()) for block in page.blocks.values())
    return {Path(file).resolve() for files in kept for file in files}


def sweep(folder: Path, keep_seconds: float, spared: Collection[Path] = ()) -> None:
    """Delete the files of a folder that are older than so many seconds, and folders in it that are empty since."""
    before = time.time() - keep_seconds
    for path in _deepest_first(folder):
        try:
            if path.lstat().st_ctime > before or path.resolve() in spared:
                continue
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:  # another process was faster, or the folder is not empty
            continue


def _deepest_first(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*"), key=lambda path: -len(path.parts))


def sweep_scratch(keep_seconds: float) -> None:
    """Delete the copies of clips that a process which was killed could not delete itself."""
    before = time.time() - keep_seconds
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        try:
            if folder.lstat().st_ctime < before:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def used_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.lstat().st_size if path.is_file() else 0
        except OSError:  # deleted just now
            continue
    return sizes
