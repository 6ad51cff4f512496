"""The scenes the demo opens with."""

from __future__ import annotations

from typing import Final

EXAMPLE_SEEDS: Final = (50, 34, 19, 12, 1, 78)
"""Relations, a card, counting, fruit with a card, a full table, and places, in that order."""
