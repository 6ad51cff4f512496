"""How long one request may take: a run is ended when its time is over, so that the others get their turn."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from app import messages
from duet_core.errors import DuetError

T = TypeVar("T")


class OutOfTime(DuetError):  # noqa: N818  the name says it all
    """A run has taken as long as one may."""


def within(events: Generator[T, None, None], seconds: float) -> Generator[T, None, None]:
    """Pass a run's events on; end it and raise OutOfTime at the first event after so many seconds."""
    end = time.monotonic() + seconds
    with closing(events):
        for event in events:
            if time.monotonic() > end:
                raise OutOfTime(messages.run_too_long(seconds))
            yield event
