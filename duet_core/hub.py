"""The model hub: what lies in its cache here, what a repository holds, and downloads that tell how far they are."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from tqdm import tqdm

from duet_core.checkpoint import told
from duet_core.errors import ModelError, ModelTooLarge
from duet_core.files import count_weights
from duet_core.memory import in_gb

Report = Callable[[int, int], None]
"""Is told how many bytes of how many are here; an error that it raises ends the download."""

_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
# Folders hold the same weights once more in other formats; adapters would name a base model, perhaps a folder here.
_NOT_WANTED = ("*/*", "consolidated*", "adapter_*")


def cached_folder(name: str) -> Path | None:
    """Return the folder of a repository's snapshot in the cache, if it is there with all its weights."""
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **_patterns()))
        count_weights(folder, name)
    except (OSError, ValueError, ModelError):
        return None
    return folder if (folder / "config.json").is_file() else None


def config_folder(name: str) -> Path:
    """Return a folder that holds a repository's config.json, downloaded if need be."""
    with told(name):
        return Path(hf_hub_download(name, "config.json")).parent


def sizes_of(name: str) -> dict[str, int]:
    """Return the bytes of each of a repository's files that is needed to open it."""
    with told(name):
        files = HfApi().model_info(name, timeout=10, files_metadata=True).siblings or []
    return {file.rfilename: file.size or 0 for file in files if _is_wanted(file.rfilename)}


def download(name: str, report: Report | None = None) -> Path:
    """Bring a repository's files here and return their folder; a ModelError says why that cannot be."""
    sizes = sizes_of(name)
    if not any(file.endswith(".safetensors") for file in sizes):
        raise ModelError(f"{name} holds no safetensors weights; choose another checkpoint.")
    _check_disk(name, sum(sizes.values()))
    bars = bars_that(report or (lambda done, total: None), sum(sizes.values()))
    with told(name):
        return Path(snapshot_download(name, tqdm_class=bars, **_patterns()))


def bars_that(report: Report, total: int) -> type[tqdm]:
    """Return a class of progress bars that draw nothing and report bytes.

    The hub library makes several: one counts what is received, one what is written, one files; the bytes that are
    furthest count.
    """
    lock, counts = threading.Lock(), {"done": 0}

    class Bars(tqdm):
        def __init__(self, *given: Any, **options: Any) -> None:
            self._bytes, self._here = options.get("unit") == "B", options.get("initial") or 0
            super().__init__(*given, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> bool | None:
            with lock:
                self._here += int(n or 0)
                if self._bytes:
                    counts["done"] = min(total, max(counts["done"], self._here))
                done = counts["done"]
            if self._bytes:
                report(done, total)
            return None

    return Bars


def _check_disk(name: str, size: int) -> None:
    """Raise ModelTooLarge when the cache's disk has no room for so many bytes."""
    place = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        figures = f"needs {in_gb(size)} of disk and {in_gb(free)} are free"
        raise ModelTooLarge(f"{name} {figures}; make room, or choose a smaller model.")


def _is_wanted(file: str) -> bool:
    wanted = any(fnmatch(file, pattern) for pattern in _WANTED)
    return wanted and not any(fnmatch(file, pattern) for pattern in _NOT_WANTED)


def _patterns() -> dict[str, Any]:
    return {"allow_patterns": list(_WANTED), "ignore_patterns": list(_NOT_WANTED)}
