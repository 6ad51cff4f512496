"""What lies in a checkpoint's folder: its configuration, its weight files, and whether they are whole."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from duet_core.errors import ModelError

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_DAMAGED = "The weight file {} of {} is cut off or damaged; copy it again."
_LENGTH = 8  # bytes of a safetensors file that say how long its header is


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return the checkpoint's configuration as it stands; a ModelError where there is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{name} holds no config.json; give a checkpoint in the format of transformers.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"The config.json of {name} cannot be read; copy the checkpoint again.") from error
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of {name} holds no settings; copy the checkpoint again.")
    return config


def count_weights(folder: Path, name: str) -> int:
    """Return how many numbers the weight files hold, from their headers; a ModelError where one lacks or is cut off."""
    files = weight_files(folder, name)
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise ModelError(
            f"{name} lacks {len(missing)} of its {len(files)} weight files, such as {missing[0]}; copy it completely."
        )
    return sum(_count(folder / file, name) for file in files)


def weight_files(folder: Path, name: str) -> list[str]:
    """Return the names of the weight files, those of the index if there is one."""
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        if not (folder / WEIGHTS).is_file():
            raise ModelError(f"{name} holds no safetensors weights; add {WEIGHTS}, or choose another checkpoint.")
        return [WEIGHTS]
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted({Path(file).name for file in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"The weight index of {name} cannot be read; copy the checkpoint again.") from error


def _count(path: Path, name: str) -> int:
    """Return how many numbers one weight file holds."""
    header, start = _header(path, name)
    try:
        tensors = [entry for key, entry in header.items() if key != "__metadata__"]
        whole = start + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
        count = sum(math.prod(entry["shape"]) for entry in tensors)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(_DAMAGED.format(path.name, name)) from error
    if path.stat().st_size < whole:
        size, full = (f"{number:,}" for number in (path.stat().st_size, whole))
        raise ModelError(f"The weight file {path.name} of {name} has {size} of {full} bytes; copy it again.")
    return count


def _header(path: Path, name: str) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's header, and where its data begins in bytes."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if not 2 <= length <= path.stat().st_size - _LENGTH:
                raise ValueError(length)
            return json.loads(file.read(length)), _LENGTH + length
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(_DAMAGED.format(path.name, name)) from error
