"""Pictures on their way into the encoder: the processor's pixels, and where they lie in the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from duet_core.errors import PictureError
from duet_core.film import Film, video_of
from duet_core.grid import Box
from duet_core.tiles import TILES

LONGEST_ASPECT = 50  # a longer strip would be blown up to gigabytes by a processor that crops

_NAMES = {"pixel_values_images": "pixel_values"}  # what Video-LLaVA's processor calls them


def pixels_of(processor: Any, pictures: Sequence[Image.Image] | Film, clip: bool = False) -> dict[str, Tensor]:
    """Return what the checkpoint's image processor makes of pictures (padded where it can): `pixel_values` and more.

    `clip`: they are frames, which are never cut into crops or tiles, and joined by a processor that knows of time.
    """
    film = Film.of(pictures)
    pictures = film.frames
    for picture in pictures:
        check_picture(picture)
    sizes = {picture.size for picture in pictures}
    if len(sizes) != 1:
        raise PictureError(f"The frames have {len(sizes)} different sizes; give at least one, all of one size.")
    rgb = [to_rgb(picture) for picture in pictures]
    if hasattr(processor, "do_image_splitting"):
        return _in_tiles(processor, rgb, processor.do_image_splitting and not clip)
    if clip and cuts(processor):
        uncut = processor(images=rgb, return_tensors="pt", image_grid_pinpoints=[[crop_edge(processor)] * 2])
        return {"pixel_values": uncut["pixel_values"][:, 0]}  # (F, 3, h, w): of each frame the crop with all of it
    padding = {"do_pad": True} if pads(processor) else {}
    made = processor(images=rgb, return_tensors="pt", **padding)
    pixels: dict[str, Tensor] = {_NAMES.get(str(name), str(name)): value for name, value in made.items()}
    return video_of(pixels, processor.temporal_patch_size, film.step) if clip and joins(processor) else pixels


def joins(processor: Any) -> bool:
    """Whether the processor makes patches of several frames of a clip."""
    return hasattr(processor, "temporal_patch_size")


def _in_tiles(processor: Any, pictures: list[Image.Image], cut: bool) -> dict[str, Tensor]:
    """Return the tiles [1, I, 3, h, w] of pictures of one size, and under `TILES` how each of them is cut."""
    made = processor(images=pictures, return_tensors="pt", do_image_splitting=cut, return_row_col_info=True)
    tiles = torch.tensor([made[name][0][0] for name in ("rows", "cols")])
    return {name: made[name] for name in processor.model_input_names if name in made} | {TILES: tiles}


def cuts(processor: Any) -> bool:
    """Whether the processor cuts a picture into crops; the first shows all of it, pressed into a square."""
    return hasattr(processor, "image_grid_pinpoints")


def crop_edge(processor: Any) -> int:
    """Return the pixels of a crop's side."""
    size = dict(processor.size)
    return int(size.get("height") or size["shortest_edge"])


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB: 16 bits are scaled to 8, transparency is laid onto white."""
    if picture.mode in {"I", "I;16", "I;16B", "I;16L"}:
        grey = np.clip(np.asarray(picture, np.int64) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def check_picture(picture: object) -> None:
    """Raise a PictureError for anything that is not a picture the encoder could use."""
    if not isinstance(picture, Image.Image):
        raise PictureError(f"A picture must be a PIL image, not {type(picture).__name__}; open it with Image.open.")
    long, short = max(picture.size), min(picture.size)
    if short < 1 or long / short > LONGEST_ASPECT:
        width, height = picture.size
        raise PictureError(
            f"The picture is {width} x {height} pixels; its longer side may be at most {LONGEST_ASPECT} times the"
            " shorter one: crop it."
        )


def pads(processor: Any) -> bool:
    """Whether the processor can pad to a square (LLaVA-1.5's own training) instead of cropping the sides."""
    return hasattr(processor, "pad_to_square")


def seen_box(processor: Any, size: tuple[int, int]) -> Box:
    """Return the box (left, top, right, bottom), in pixels of a (width, height) picture, that the encoder covers."""
    width, height = size
    if cuts(processor):
        return (0, 0, width, height)
    if pads(processor):
        side = max(size)
        before = -((side - width) // 2), -((side - height) // 2)
        return (before[0], before[1], before[0] + side, before[1] + side)
    if hasattr(processor, "merge_size"):  # keeps the whole picture in its shape, give or take a patch
        return (0, 0, width, height)
    edge = processor.size.get("shortest_edge") if processor.do_resize else None
    if edge is None:
        return (0, 0, width, height)
    resized = int(width * edge / min(size)), int(height * edge / min(size))
    crop = (processor.crop_size["width"], processor.crop_size["height"]) if processor.do_center_crop else resized
    left, right = _middle(resized[0], crop[0], width)
    top, bottom = _middle(resized[1], crop[1], height)
    return (left, top, right, bottom)


def _middle(resized: int, crop: int, original: int) -> tuple[float, float]:
    """Return where the middle `crop` of `resized` pixels begins and ends, in original pixels."""
    begin = (resized - crop) // 2
    return begin * original / resized, (begin + crop) * original / resized
