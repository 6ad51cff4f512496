"""Families that cut a picture of any resolution into crops: LLaVA-NeXT, and LLaVA-OneVision with its clips."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from duet_core.backbones.base import Pixels
from duet_core.backbones.eye import Eye
from duet_core.backbones.llava import Llava
from duet_core.errors import ClipError, ModelError, PictureError, PlanError
from duet_core.plan import Size
from duet_core.tiling import Tiling, best_of, cut_up, film_of, uncut
from duet_core.vision import Seen


@dataclass(frozen=True, slots=True)
class LlavaNext(Llava):
    """One opened checkpoint: the whole picture in one crop, and a grid of crops of the picture in larger."""

    def __post_init__(self) -> None:
        """Refuse a checkpoint of another structure with a ModelError."""
        Llava.__post_init__(self)
        if self.has_cls and self.model.config.vision_feature_select_strategy != "default":
            raise ModelError(
                "This checkpoint keeps CLS among the patches of its crops; set its vision_feature_select_strategy to"
                " default."
            )

    @property
    def most_crops(self) -> int | None:
        """The crops whose tokens the model takes at most before it shrinks them; None where it never does."""
        return None

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture; a ClipError for a clip, which it does not know."""
        if clip:
            raise ClipError(
                "This model looks at one picture in many crops and knows no clips; give one frame, or choose a model"
                " for clips."
            )
        return Llava.eye(self, clip)

    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """Raise a PlanError: pictures of different shapes differ in their tokens."""
        raise PlanError("This model's pictures differ in their tokens; encode one and plan with encoded=... .")

    def prepared(self, eye: Eye, pixels: Pixels) -> dict[str, Tensor]:
        """Return crops `pixel_values` [pictures, C, 3, h, w] and what tells how they are cut, on the model's device."""
        given = {name: value.to(self.device) for name, value in pixels.items()}
        return given | {"pixel_values": given["pixel_values"].to(self.dtype)}

    def tilings_of(self, eye: Eye, pixels: Pixels) -> tuple[Tiling, ...]:
        """Return how each picture is cut, from `image_sizes` [pictures, 2]; a PictureError without them."""
        if pixels.get("image_sizes") is None:
            raise PictureError("The inputs lack image_sizes, which tell how a picture is cut; give them as well.")
        sizes = [(width, height) for height, width in torch.as_tensor(pixels["image_sizes"]).tolist()]
        return tuple(self._tiling(size, alone) for size, alone in zip(sizes, _alone(pixels, len(sizes)), strict=True))

    def _tiling(self, picture: tuple[int, int], alone: bool) -> Tiling:
        edge, side = self.model.config.vision_config.image_size, self.rows_cols[0]
        if not alone:
            return uncut(picture, side)
        return cut_up(picture, best_of(picture, self.model.config.image_grid_pinpoints), edge, side, self.most_crops)

    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run the encoder on all crops of `pixel_values` [pictures, C, 3, h, w], padded where a picture has fewer.

        The crops of all pictures may also come one after the other, [I, 3, h, w].
        """
        tilings, given = self.tilings_of(eye, pixels), pixels["pixel_values"]
        if given.dim() == 5:
            given = torch.cat([own[: tiling.crops] for own, tiling in zip(given, tilings, strict=True)])  # (I, 3, h, w)
        return replace(Llava.see(self, eye, {"pixel_values": given}), tilings=tilings)


@dataclass(frozen=True, slots=True)
class LlavaOnevision(LlavaNext):
    """One opened checkpoint: too large a grid is shrunk, several pictures of one prompt are not cut, clips are pooled.

    A clip is one block of frames, each of them pooled to half its side in the untouched model. Stage 1 looks at the
    patches themselves, before anything is shrunk or pooled.
    """

    @property
    def most_crops(self) -> int:
        """The crops whose tokens the model takes at most before it shrinks them."""
        return int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip: each has its own token."""
        if clip:
            return self._eye(self.model.model.vision_tower, "video", self.model.config.video_token_id)
        return Llava.eye(self, clip)

    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """What a plan for a clip depends on; a PlanError for a picture, because they differ in their tokens."""
        if frames is None:
            return LlavaNext.size(self, frames, rows_cols)
        return film_of(frames, self.rows_cols[0]).size(len(self.layers), int(self.has_cls))

    def prepared(self, eye: Eye, pixels: Pixels) -> dict[str, Tensor]:
        """Return a picture's crops or a clip's frames as the transformers model itself takes them, on its device."""
        if eye.medium == "video" and "pixel_values" in pixels:
            return Llava.prepared(self, eye, pixels)
        return LlavaNext.prepared(self, eye, pixels)

    def tilings_of(self, eye: Eye, pixels: Pixels) -> tuple[Tiling, ...]:
        """Return how each picture is cut, or how the frames of each clip lie."""
        if eye.medium == "video":
            clips, frames = pixels["pixel_values_videos"].shape[:2]
            return (film_of(frames, self.rows_cols[0]),) * clips
        return LlavaNext.tilings_of(self, eye, pixels)

    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run the encoder on the crops of pictures, or on the frames of `pixel_values_videos` [B, F, 3, h, w]."""
        if eye.medium == "video":
            return replace(Llava.see(self, eye, pixels), tilings=self.tilings_of(eye, pixels))
        return LlavaNext.see(self, eye, pixels)


def _alone(pixels: Pixels, pictures: int) -> list[bool]:
    """Return which pictures are the only one of their prompt, by `batch_num_images`; without it, all are."""
    counts = pixels.get("batch_num_images")
    if counts is None:
        return [True] * pictures
    return [count == 1 for count in torch.as_tensor(counts).tolist() for _ in range(count)]
