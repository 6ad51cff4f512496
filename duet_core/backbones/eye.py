"""How a model takes in one kind of input: single pictures, or the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Medium = Literal["image", "video"]
"""What the processor calls the input; a clip for a model that knows pictures only is several images."""


@dataclass(frozen=True, slots=True)
class Eye:
    """One encoder with its place in the prompt.

    `tower`: the vision model. `medium`: what stands for the input in the chat template, one mark for each picture or
    one for a whole video. `token`: the id in `input_ids` that stands for one visual token. `keeps_cls`: whether the
    untouched model itself feeds CLS to the language model. `in_place`: whether kept tokens stay where they were in the
    prompt, a merged one at its anchor's place, instead of lining up as stage 1 made them. `span`: how many frames of a
    clip the encoder sees as one picture.
    """

    tower: Any
    medium: Medium
    token: int
    keeps_cls: bool
    in_place: bool = False
    span: int = 1

    def pictures(self, frames: int) -> int:
        """How many of the encoder's pictures so many frames make."""
        return -(-frames // self.span)

    def homes(self, frames: int) -> tuple[int, ...]:
        """Return which of the encoder's pictures each of so many frames is in; empty where each is one of its own."""
        return tuple(frame // self.span for frame in range(frames)) if self.span > 1 else ()

    def tokens(self, rows_cols: tuple[int, int]) -> int:
        """Visual tokens of one picture of so many patches in the untouched model."""
        return rows_cols[0] * rows_cols[1] + self.keeps_cls

    def marks(self, pictures: int) -> int:
        """How many marks so many pictures have in the prompt: one each, or one for all frames of a video."""
        return 1 if self.medium == "video" else pictures
