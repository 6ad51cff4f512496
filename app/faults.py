"""What becomes of an error: a sentence for the visitor, and a line in the log where it was not foreseen."""

from __future__ import annotations

import errno
import logging
import traceback

from app import messages
from duet_core.errors import DuetError
from duet_core.memory import is_out_of_memory, release


def told(error: Exception) -> str:
    """Return the visitor's sentence about an error.

    What was not foreseen is logged, without picture, question or address; the visitor's own mistakes are not.
    """
    if isinstance(error, DuetError):
        return str(error)
    logging.getLogger(__name__).error("A request failed: %s", traced(error))
    if is_out_of_memory(error):
        release()
        return messages.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return messages.DISK_FULL
    return messages.FAILED


def traced(error: BaseException) -> str:
    """Return the kind of an error and where it arose, never its text, which may quote what a visitor sent."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
