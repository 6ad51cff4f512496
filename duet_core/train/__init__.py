"""Trainings: the bundled model from nothing, and any supported model with DUET in its loop."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The training of `duet_core.train.cli`, loaded only when asked for."""
    from duet_core.train.cli import main as train

    return train(argv)
