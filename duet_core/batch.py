"""Batches: inputs taken apart into prompts, and prompts dealt out into batches of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from duet_core.errors import PictureError
from duet_core.layout import Request

BATCH_BYTES: Final = 2**30
"""What the KV cache of a batch of questions may take."""


def requests_of(inputs: Mapping[str, Any], query_positions: Sequence | None) -> list[Request]:
    """Return the samples' prompts without padding; query positions move along with the ids."""
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    requests = []
    for number, (row, real) in enumerate(zip(ids, mask.bool(), strict=True)):
        first = int(real.int().argmax())
        own = _own_positions(query_positions, number)
        requests.append(Request(row[real].tolist(), None if own is None else [place - first for place in own]))
    return requests


def holds_clips(inputs: Mapping[str, Any]) -> bool:
    """Whether a batch is about clips, not pictures; a PictureError for both or neither."""
    pictures, clips = (inputs.get(name) is not None for name in ("pixel_values", "pixel_values_videos"))
    if pictures == clips:
        raise PictureError("The inputs need either pixel_values or pixel_values_videos; give exactly one of the two.")
    return clips


def _own_positions(query_positions: Sequence | None, number: int) -> list[int] | None:
    if query_positions is None:
        return None
    nested = len(query_positions) > 0 and not isinstance(query_positions[0], int)
    return list(query_positions[number] if nested else query_positions)


def in_batches(lengths: Sequence[int], most: int) -> Iterator[range]:
    """Yield consecutive ranges that cover all samples of these lengths, each at most `most` tokens when padded.

    A sample longer than that gets a batch of its own.
    """
    first, longest = 0, 0
    for number, length in enumerate(lengths):
        longest = max(longest, length)
        if number > first and (number + 1 - first) * longest > most:
            yield range(first, number)
            first, longest = number, length
    if lengths:
        yield range(first, len(lengths))
