"""The Idefics3 family, SmolVLM and SmolVLM2 among it: tiles of a picture, patches shuffled into fewer tokens, Llama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core.backbones.base import Backbone, Pixels
from duet_core.backbones.eye import Eye
from duet_core.errors import ModelError, PictureError, PlanError
from duet_core.plan import Size
from duet_core.vision import Evidence, Seen, merged_evidence, run_layers


@dataclass(frozen=True, slots=True)
class SmolVLM(Backbone):
    """One opened checkpoint of the family; tiles and frames of a clip are pictures to it, each a block of its own.

    Stage 1 looks at what comes out of the pixel shuffle: every token stands for a block of patches, and there is no
    CLS. The linear connector comes behind it, as the projector of LLaVA does.
    """

    def __post_init__(self) -> None:
        """Refuse a checkpoint of another structure with a ModelError."""
        kind = self.model.config.text_config.model_type
        if kind != "llama":
            raise ModelError(f"This checkpoint's decoder is of type {kind}; choose one with a Llama decoder.")

    @property
    def decoder(self) -> Any:
        """The language model without its head."""
        return self.model.model.text_model

    @property
    def shuffle(self) -> int:
        """Patches along a side that become one visual token."""
        return self.model.config.scale_factor

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip: as many pictures as it has tiles or frames."""
        return Eye(self.model.model.vision_model, "image", self.model.config.image_token_id, keeps_cls=False)

    def rows_cols_of(self, pixels: Pixels) -> tuple[int, int]:
        """Return the visual tokens of every tile; a PictureError where its patches make up no whole ones."""
        height, width = pixels["pixel_values"].shape[-2:]
        return self._rows_cols(height, width)

    def _rows_cols(self, height: int, width: int) -> tuple[int, int]:
        rows, cols = (side // self.model.config.vision_config.patch_size for side in (height, width))
        if rows % self.shuffle or cols % self.shuffle or not rows * cols:
            raise PictureError(
                f"A tile has {rows} x {cols} patches, which must be multiples of {self.shuffle}; give tiles as the"
                " model's own processor makes them."
            )
        return rows // self.shuffle, cols // self.shuffle

    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """What a plan for a clip depends on; a PlanError for a picture, because they differ in their tiles."""
        if frames is None:
            raise PlanError("This model's pictures differ in their tokens; encode one and plan with encoded=... .")
        edge = self.model.config.vision_config.image_size
        return Size(prod(rows_cols or self._rows_cols(edge, edge)), len(self.layers), frames)

    def prepared(self, eye: Eye, pixels: Pixels) -> dict[str, Tensor]:
        """Return tiles `pixel_values` [B, tiles, 3, h, w] and what of them is no padding, on the model's device."""
        names = ("pixel_values", "pixel_attention_mask")
        given = {name: pixels[name].to(self.device) for name in names if pixels.get(name) is not None}
        return given | {"pixel_values": given["pixel_values"].to(self.dtype)}

    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run the encoder on the tiles of `pixel_values` [B, tiles, 3, h, w] but for those that are padding, all 0.

        `pixel_attention_mask` [B, tiles, h, w] tells which pixels of a tile are no padding; without it, all are.
        """
        given = self.prepared(eye, pixels)
        tiles = given["pixel_values"].flatten(0, -4)  # (I, 3, h, w)
        mask = given.get("pixel_attention_mask", torch.ones_like(given["pixel_values"][..., 0, :, :]))
        real = tiles.flatten(1).any(dim=1)  # (I,)
        if not real.any():
            raise PictureError(f"All {len(real)} tiles of the inputs are padding; give at least one picture.")
        return self._seen(eye, tiles[real], mask.flatten(0, -3)[real])

    def see_again(self, eye: Eye, seen: Seen, rows_cols: tuple[int, int]) -> Tensor:
        """Run the encoder on smaller tiles, whose places among its learnt positions it works out anew."""
        patch = self.model.config.vision_config.patch_size * self.shuffle
        size = rows_cols[0] * patch, rows_cols[1] * patch
        smaller = F.interpolate(seen.pixels.float(), size, mode="bilinear", antialias=True).to(self.dtype)
        return self._seen(eye, smaller, torch.ones_like(smaller[:, 0])).features

    def _seen(self, eye: Eye, tiles: Tensor, mask: Tensor, depth: int | None = None) -> Seen:
        """Run the encoder, or its first layers, on tiles [I, 3, h, w] with a mask [I, h, w] of their pixels."""
        rows_cols = self._rows_cols(*tiles.shape[-2:])
        shown = F.max_pool2d(mask[:, None].float(), self.model.config.vision_config.patch_size)[:, 0] > 0
        hidden = eye.tower.embeddings(pixel_values=tiles, patch_attention_mask=shown)  # (I, patches, D)
        real = None if shown.all() else shown.flatten(1)
        hidden, query, keys, scale = run_layers(eye.tower.encoder.layers[:depth], hidden, real)
        order = _by_block(rows_cols, self.shuffle).to(hidden.device)
        hidden = eye.tower.post_layernorm(hidden)[:, order]
        features = hidden.unflatten(1, (-1, self.shuffle**2)).flatten(2)  # (I, N, shuffle^2 * D)
        real = None if real is None else real[:, order]
        return Seen(features, query[:, :, order], keys[:, :, order], scale, rows_cols, tiles, real=real)

    def evidence(self, seen: Seen) -> Evidence:
        """Score every token: how much attention its patches receive, and their keys, both in the mean."""
        return merged_evidence(seen, self.shuffle**2)

    def first_evidence(self, eye: Eye, seen: Seen, pictures: Sequence[int]) -> Evidence:
        """Run the first layer again on some of the tiles, and gather the same there."""
        tiles = seen.pixels[list(pictures)]
        return self.evidence(self._seen(eye, tiles, torch.ones_like(tiles[:, 0]), depth=1))

    @property
    def projector(self) -> nn.Module:
        """The connector."""
        return self.model.model.connector

    def encoder_parts(self, eye: Eye) -> list[nn.Module]:
        """Return the embeddings, all layers and the norm behind them."""
        return [eye.tower.embeddings, *eye.tower.encoder.layers, eye.tower.post_layernorm]

    def project(self, features: Tensor) -> Tensor:
        """Map shuffled features [I, n, D] into the language model's space."""
        return self.model.model.connector.modality_projection(features)


def _by_block(rows_cols: tuple[int, int], side: int) -> Tensor:
    """Return the numbers [patches] of a tile's patches, token after token; side x side patches make up one."""
    rows, cols = rows_cols
    numbers = torch.arange(rows * cols * side**2).view(rows, side, cols, side)
    return numbers.transpose(1, 2).flatten()
