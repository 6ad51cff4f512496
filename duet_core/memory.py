"""How much memory weights need, how much is free, and one sentence where the first is more than the second."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from duet_core.devices import Target
from duet_core.errors import ModelTooLarge

GB = 1e9
_QUANTIZED = {"4bit": 0.65, "8bit": 1.15}  # bytes per weight, with scales and the parts that stay as they are
_ROOM_SHARE, _ROOM = 0.1, 0.3 * GB  # for activations and the KV cache: a share of the weights and something fixed
_NO_MEMORY = ("can't allocate memory", "out of memory")
_CGROUP = Path("/sys/fs/cgroup")


def needed_bytes(elements: int, target: Target) -> int:
    """Return the bytes that so many weights need, with room for activations and the KV cache."""
    each = _QUANTIZED[target.quantize] if target.quantize else target.dtype.itemsize
    return int(elements * each * (1 + _ROOM_SHARE) + _ROOM)


def check_fits(name: str, elements: int, target: Target, free: int) -> None:
    """Raise ModelTooLarge when so many weights do not fit into the free bytes."""
    needed = needed_bytes(elements, target)
    if needed > free:
        figures = f"needs {in_gb(needed)} of memory and {in_gb(free)} are free on {target.device.type.upper()}"
        raise ModelTooLarge(f"{name} {figures}; {' or '.join(remedies(elements, target, free))}.")


def remedies(elements: int, target: Target, free: int) -> list[str]:
    """Return the next steps: the smaller forms that would fit, and a smaller model in any case."""
    smaller = {
        "open it with dtype bfloat16": replace(target, dtype=torch.bfloat16),
        "open it with quantize 8bit": replace(target, quantize="8bit"),
        "open it with quantize 4bit": replace(target, quantize="4bit"),
    }
    useful = [
        step
        for step, other in smaller.items()
        if needed_bytes(elements, other) <= free and not (other.quantize and target.device.type != "cuda")
    ]
    return [*useful, "choose a smaller model"]


def in_gb(size: float) -> str:
    """Return a size in words; what is below a tenth of a GB in MB."""
    return f"{size / GB:.1f} GB" if size >= 0.1 * GB else f"{size / 1e6:.0f} MB"


def free_bytes(device: torch.device) -> int:
    """Return the bytes that are free on a device; for MPS and the CPU, what the system can give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    return min(available, max(0, container_room(_CGROUP) or available))


def container_room(folder: Path) -> int | None:
    """Return the bytes a container's limit still leaves, its page cache counted as free; None without a limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used + int(counts.get("inactive_file", 0))


def footprint(model: Any) -> int:
    """Return the bytes that an opened transformers model's weights and buffers take."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that no memory is left; on CPU and MPS torch tells it in words alone."""
    words = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(known in words for known in _NO_MEMORY)


def release() -> None:
    """Give memory that no object uses any more back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Give what the allocator keeps of freed tensors back to the system, a millisecond; nothing without glibc."""
    if give_back := glibc("malloc_trim"):
        give_back(0)


def glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc, None where another library stands in its place."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
