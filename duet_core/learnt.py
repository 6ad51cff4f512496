"""What a method learnt for one model: a small file of weights, and whether it is for the model at hand.

Each file says in its header which method it is for and on which weights it was learnt: their sha256 and their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from duet_core.errors import ModelError, PlanError
from duet_core.files import weight_files

SHELF = Path(__file__).resolve().parent.parent / "assets" / "methods"
"""Where the files lie that ship with the project."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """One file of weights; `stamp` tells it from what stood there before, so that it may be a key of a cache."""

    path: Path
    stamp: int

    def state(self) -> dict[str, Tensor]:
        """Return its tensors by name, fp32 on the CPU."""
        return {name: weight.float() for name, weight in load_file(self.path).items()}


def find_learnt(method: str, model: Path | None, file: str | None = None) -> Learnt:
    """Return what a method learnt for the model in a folder (None: a model that is no folder's).

    From this `file`, or from whichever on the shelf is for the model; a PlanError where there is none.
    """
    paths = [Path(file)] if file else sorted(SHELF.glob("*.safetensors"))
    of_method = [path for path in paths if _is_of(method, path)]
    for path in of_method:
        if model is not None and _is_for(_header(path), model):
            return Learnt(path, path.stat().st_mtime_ns)
    raise PlanError(_missing(method, file, bool(of_method)))


def open_learnt(method: str, path: Path) -> Learnt:
    """Return what a method learnt for whichever model, to learn on from; a ModelError where the file is none of it."""
    if not _is_of(method, path):
        raise ModelError(f"{path.name} holds no weights of the method {method}; name a file that train field wrote.")
    return Learnt(path, path.stat().st_mtime_ns)


def _missing(method: str, file: str | None, of_method: bool) -> str:
    if file is None:
        return f"The method {method} has no weights trained for this model; choose another method, or train some."
    what = "were trained on another model's weights" if of_method else f"are none of the method {method}"
    return f"The weights in {Path(file).name} {what}; train them anew with python -m duet_core train field."


def has_learnt(method: str, model: Path | None) -> bool:
    """Whether the shelf holds what a method learnt for the model in a folder."""
    try:
        find_learnt(method, model)
    except PlanError:
        return False
    return True


def save_learnt(path: Path, method: str, model: Path, state: Mapping[str, Tensor]) -> None:
    """Write a module's weights in 16 bits, with the method they are for and the weights they were learnt on."""
    tensors = {name: weight.detach().cpu().to(torch.float16).contiguous() for name, weight in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"method": method, "base": fingerprint(model), "bytes": str(_bytes(model))})


def fingerprint(model: Path) -> str:
    """Return the sha256 of a checkpoint's weight files, read one after the other by name."""
    return _digest(tuple((file, file.stat().st_mtime_ns) for file in _files(model)))


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _ in files:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def _is_of(method: str, path: Path) -> bool:
    return path.is_file() and _header(path).get("method") == method


def _is_for(header: Mapping[str, str], model: Path) -> bool:
    """Whether a file was learnt on a model; large ones are told apart by their bytes, without reading them."""
    try:
        return header.get("bytes") == str(_bytes(model)) and header.get("base") == fingerprint(model)
    except (ModelError, OSError):  # its weights are in no file that could be read
        return False


def _files(model: Path) -> list[Path]:
    return [model / name for name in sorted(weight_files(model, model.name))]


def _bytes(model: Path) -> int:
    return sum(path.stat().st_size for path in _files(model))


def _header(path: Path) -> Mapping[str, str]:
    """Return what a file says of itself, nothing where it is no such file."""
    return _read_header(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read_header(path: Path, stamp: int) -> Mapping[str, str]:  # `stamp` tells the file from another there before
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}
