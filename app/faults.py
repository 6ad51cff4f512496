"""What becomes of an error: a sentence for the visitor, and a line in the log where it was not foreseen."""

from __future__ import annotations

import logging

from app import messages
from duet_core.errors import DuetError


def told(error: Exception) -> str:
    """Return the visitor's sentence about an error.

    What was not foreseen is logged, without picture, question or address; the visitor's own mistakes are not.
    """
    if not isinstance(error, DuetError):
        logging.getLogger(__name__).error("A request failed.", exc_info=error)
    return messages.sentence(error)
