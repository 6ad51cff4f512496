"""The frames of a clip with their times, and what a family that sees time makes of them: patches of several frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

_STEP = 0.5  # seconds between frames where nothing tells: the pace at which Qwen2.5-VL was shown clips


@dataclass(frozen=True, slots=True)
class Film:
    """The chosen frames of a clip, all of one size, and their `times` in seconds, ascending (empty: unknown)."""

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...] = ()

    @classmethod
    def of(cls, picture: Image.Image | Sequence[Image.Image] | Film) -> Film:
        """Return a film of one picture, or of frames; a film as it is."""
        if isinstance(picture, Film):
            return picture
        return cls((picture,) if isinstance(picture, Image.Image) else tuple(picture or ()))

    @property
    def step(self) -> float:
        """Seconds from one frame to the next, in the mean; half a second where that is not known."""
        length = self.times[-1] - self.times[0] if self.times else 0.0
        return length / (len(self.times) - 1) if length > 0 else _STEP


def video_of(pixels: Mapping[str, Tensor], span: int, step: float) -> dict[str, Tensor]:
    """Join the patches of every `span` frames to patches of a video, as the family's own video processor makes them.

    `pixels`: what its image processor makes of F frames, `pixel_values` [F * patches, C * span * side * side], each
    frame repeated `span` times, and `image_grid_thw` [F, 3]. Where frames are missing at the end, the last is repeated.
    Returns `pixel_values_videos` [G * patches, C * span * side * side], `video_grid_thw` [1, 3] (G, height, width), and
    `second_per_grid_ts` [1].
    """
    frames, (_, high, wide) = len(pixels["image_grid_thw"]), pixels["image_grid_thw"][0].tolist()
    own = pixels["pixel_values"].unflatten(0, (frames, high * wide)).unflatten(-1, (3, span, -1))[..., 0, :]
    steps = -(-frames // span)
    order = torch.arange(steps * span).clamp(max=frames - 1)
    joined = own[order].unflatten(0, (steps, span)).movedim(1, 3)  # (G, patches, C, span, side * side)
    return {
        "pixel_values_videos": joined.flatten(2).flatten(0, 1),  # (G * patches, C * span * side * side)
        "video_grid_thw": torch.tensor([[steps, high, wide]]),
        "second_per_grid_ts": torch.tensor([span * step]),
    }
