"""Clips made safe: a path in, a few frames out, every limit enforced and no decoder in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from duet_core.clips import refusals
from duet_core.clips.clip import Clip, ClipLimits
from duet_core.clips.container import check_whole, suffix_of
from duet_core.clips.process import decode
from duet_core.errors import ClipError

SCRATCH = "duet-clip-"
"""How the names of the folders begin in which clips are decoded."""
_LIMITS = ClipLimits()


def read_clip(
    path: str | Path, limits: ClipLimits = _LIMITS, on_progress: Callable[[float], None] | None = None
) -> Clip:
    """Return frames spread over the clip at a path; a ClipError says in one sentence why it cannot be used.

    `on_progress` is told the share read so far, ascending to 1; an error that it raises stops the reading.
    """
    source = Path(path)
    _check_file(source, limits)
    with TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as folder:
        copy = shutil.copyfile(source, Path(folder) / "clip")
        suffix = suffix_of(copy)
        check_whole(copy, suffix)
        return decode(copy.rename(copy.with_suffix(suffix)), limits, on_progress or (lambda share: None))


def _check_file(path: Path, limits: ClipLimits) -> None:
    if not path.is_file():
        raise ClipError(refusals.NO_FILE)
    megabytes = path.stat().st_size / 1_000_000
    if megabytes > limits.megabytes:
        raise ClipError(refusals.file_too_large(megabytes, limits.megabytes))
