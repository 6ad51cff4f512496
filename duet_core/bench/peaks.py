"""How much memory a run needs at its peak, beyond the opened model: in a process of its own, where nothing else is."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from duet_core.engine import Model, Picture, open_model
from duet_core.memory import glibc
from duet_core.plan import Plan

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PAGE = 512  # weights: no page of memory holds fewer
_PEAK = "5"  # what makes Linux forget the peak so far
_MMAP_THRESHOLD, _OWN_MAPPING = -3, 1 << 20  # glibc's M_MMAP_THRESHOLD; bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """What a process needs to open the model that another one has: the arguments of `open_model`."""

    name: str
    device: str = "auto"
    dtype: str = "auto"


def can_measure() -> bool:
    """Whether this system tells the peak of a process: Linux does, and a CUDA device tells its own."""
    return torch.cuda.is_available() or _FORGET.exists()


def peak_bytes(opened: Opened, picture: Picture, question: str, plan: Plan) -> int:
    """Return the bytes by which encoding a picture and answering a question about it grow a fresh process.

    What libraries set up at their first use is part of it, some ten megabytes on a CPU. What the allocator keeps of
    freed tensors for later ones is not, as it is not on a CUDA device: with glibc every large tensor goes back at once.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_grown, opened, picture, question, plan).result()


def _grown(opened: Opened, picture: Picture, question: str, plan: Plan) -> int:
    _free_at_once()
    model = open_model(opened.name, opened.device, opened.dtype)
    _touch(model)
    gc.collect()
    if model.backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _run(model, picture, question, plan)
        return torch.cuda.max_memory_allocated() - before
    _FORGET.write_text(_PEAK)
    before = _status("VmRSS")
    _run(model, picture, question, plan)
    return _status("VmHWM") - before


def _free_at_once() -> None:
    """Give tensors of a megabyte and more a mapping of their own, for the rest of this process, where glibc can."""
    if mallopt := glibc("mallopt"):
        mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)


def _touch(model: Model) -> None:
    """Read some of every page of the weights: they may lie in their file until somebody does."""
    for weight in model.backbone.model.parameters():
        weight.detach().flatten()[::_PAGE].sum()


def _run(model: Model, picture: Picture, question: str, plan: Plan) -> None:
    model.ask(picture, question, plan, max_new_tokens=2)


def _status(name: str) -> int:
    """Return a figure of this process in bytes, by its name in Linux's status."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])
