"""The scenes and clips the demo opens with."""

from __future__ import annotations

from typing import Final

EXAMPLE_SEEDS: Final = (78, 34, 109, 12, 1, 50)
"""Six different things, a card, counting, fruit with a card, a full table, and places, in that order."""

CLIP_SEEDS: Final = (65, 52, 53)
"""Clips: something moves, something flashes, and a parade."""
