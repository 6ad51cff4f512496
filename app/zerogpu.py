"""What a ZeroGPU Space wants of the code that uses its device; elsewhere nothing of this does anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from typing import Any

from app.duration import gpu_seconds
from duet_core.errors import DuetError

try:  # there the device belongs to a visitor only inside a decorated function
    import spaces
except ImportError:
    spaces = None

ON_ZERO_GPU = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}
if ON_ZERO_GPU:  # the main process has no device, it only keeps book of one, and in its main thread alone: load there
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"

Run = Callable[..., Iterator[Any]]


def on_device(run: Run) -> Run:
    """Give a generator function of (job, settings) the visitor's share of the device.

    It runs in a process of its own there. What it yields comes back pickled; of what it raises only the name of the
    class would, so our own errors are yielded there and raised here.
    """
    return run if spaces is None else _raise_errors(spaces.GPU(duration=gpu_seconds)(_yield_errors(run)))


def _yield_errors(run: Run) -> Run:
    @wraps(run)
    def yielding(*args: Any, **more: Any) -> Iterator[Any]:
        try:
            yield from run(*args, **more)
        except DuetError as error:
            yield error

    return yielding


def _raise_errors(run: Run) -> Run:
    @wraps(run)
    def raising(*args: Any, **more: Any) -> Iterator[Any]:
        with closing(run(*args, **more)) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, DuetError):
                    raise event
                yield event

    return raising
