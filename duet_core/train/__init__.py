"""The recipe of the bundled model duet-mini, from painted scenes to a saved folder."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The training of `duet_core.train.cli`, loaded only when asked for."""
    from duet_core.train.cli import main as train

    return train(argv)
