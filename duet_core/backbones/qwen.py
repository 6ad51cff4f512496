"""The Qwen2.5-VL family: an encoder that keeps a picture's shape, and a decoder whose tokens keep their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision
from transformers.vision_utils import (
    get_vision_attention_seqlens,
    get_vision_position_ids,
    get_vision_window_index,
)

from duet_core.backbones.base import Backbone, Pixels
from duet_core.backbones.eye import Eye
from duet_core.devices import device_of
from duet_core.errors import ClipError, PictureError, PlanError
from duet_core.plan import Size
from duet_core.vision import Evidence, Reel, Seen, merged_evidence

_NAMES = {"image": ("pixel_values", "image_grid_thw"), "video": ("pixel_values_videos", "video_grid_thw")}
_SECONDS = "second_per_grid_ts"


@dataclass(frozen=True, slots=True)
class Qwen(Backbone):
    """One opened checkpoint of the family; of a clip, it sees two frames in one.

    Stage 1 looks at what comes out of the 2 x 2 merger, so I pictures of one size have N merged tokens each and there
    is no CLS. The I pictures of clips are their steps in time, a pair of frames each: the encoder keeps them apart.
    """

    @property
    def merge_size(self) -> int:
        """Patches along a side that become one visual token."""
        return self.model.config.vision_config.spatial_merge_size

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip: each has its own token."""
        config, tower = self.model.config, self.model.model.visual
        if clip:
            span = config.vision_config.temporal_patch_size
            return Eye(tower, "video", config.video_token_id, keeps_cls=False, in_place=True, span=span)
        return Eye(tower, "image", config.image_token_id, keeps_cls=False, in_place=True)

    def rows_cols_of(self, pixels: Pixels) -> tuple[int, int]:
        """Return the visual tokens of every picture as (rows, columns); a PictureError where their sizes differ."""
        what, grid = ("clips", "video_grid_thw") if "video_grid_thw" in pixels else ("pictures", "image_grid_thw")
        grids = {tuple(row[1:]) for row in pixels[grid].tolist()}
        if len(grids) != 1:
            raise PictureError(f"The {what} of a batch have {len(grids)} different sizes; give {what} of one size.")
        rows, cols = grids.pop()
        return rows // self.merge_size, cols // self.merge_size

    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """What a plan depends on; a PlanError without `rows_cols`, because pictures differ in them."""
        if rows_cols is None:
            raise PlanError("This model's pictures differ in their tokens; encode one and plan with encoded=... .")
        pictures = 1 if frames is None else self.eye(clip=True).pictures(frames)
        return Size(rows_cols[0] * rows_cols[1], len(self.layers), pictures)

    def prepared(self, eye: Eye, pixels: Pixels) -> dict[str, Tensor]:
        """Return pixels and grids, and the seconds between a clip's steps in time, on the model's device."""
        values, grid = _NAMES[eye.medium]
        if pixels.get(grid) is None or int(pixels[grid].prod(1).sum()) != len(pixels[values]):
            raise PictureError(
                f"The inputs' {grid} does not tell how their {len(pixels[values])} patches lie; give both as the"
                " processor returns them."
            )
        given = {values: pixels[values].to(self.device, self.dtype), grid: pixels[grid].to(self.device)}
        seconds = pixels.get(_SECONDS) if eye.medium == "video" else None
        return given if seconds is None else given | {_SECONDS: torch.as_tensor(seconds).to(self.device)}

    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run the encoder on the `pixel_values` [patches, values] of the pictures in `image_grid_thw` [I, 3].

        Or on the `pixel_values_videos` of the clips in `video_grid_thw` [B, 3], whose steps in time count as pictures;
        `second_per_grid_ts` [B] lie between those, a second if nothing tells.
        """
        given = self.prepared(eye, pixels)
        values, grid = (given[name] for name in _NAMES[eye.medium])
        rows_cols, reels = self.rows_cols_of(given), _reels(given) if eye.medium == "video" else ()
        grid = grid.repeat_interleave(grid[:, 0], dim=0).index_fill(1, grid.new_tensor([0]), 1)  # (I, 3)
        hidden, order, passes = _laid_out(eye.tower, values, grid)
        last = len(eye.tower.blocks) - 1
        for number, block in enumerate(eye.tower.blocks[:last]):
            hidden = block(hidden, **passes(number))
        hidden, query, keys = _watched(eye.tower.blocks[last], hidden, **passes(last))
        merged = eye.tower.merger(hidden)[order.argsort()]  # (I * N, D)
        pictures, tokens = len(grid), rows_cols[0] * rows_cols[1]
        query, keys = (
            _unshuffled(part, order, self.merge_size**2).unflatten(0, (pictures, -1)) for part in (query, keys)
        )
        features = merged.view(pictures, tokens, -1)  # (I, N, D)
        scale = eye.tower.blocks[last].attn.scaling
        return Seen(features, query.transpose(1, 2), keys.transpose(1, 2), scale, rows_cols, reels=reels)

    def evidence(self, seen: Seen) -> Evidence:
        """Score every merged token: how much attention its patches receive, and their keys, both in the mean."""
        return merged_evidence(seen, self.merge_size**2)

    @property
    def projector(self) -> nn.Module:
        """The merger, which maps into the language model's space."""
        return self.model.model.visual.merger

    def encoder_parts(self, eye: Eye) -> list[nn.Module]:
        """Return the embedding of patches, and all blocks."""
        return [eye.tower.patch_embed, *eye.tower.blocks]

    def project(self, features: Tensor) -> Tensor:
        """Return the features as they are: the merger has mapped them."""
        return features

    def positions(self, ids: Tensor, rows_cols: tuple[int, int], reels: Sequence[Reel] = ()) -> Tensor:
        """Return the positions [3, T] (time, height, width) of a whole prompt [T], as transformers numbers them."""
        eye = self.eye(clip=bool(reels))
        shown = (ids == eye.token).int()
        steps = [reel.pictures for reel in reels] or [1] * (int(shown.sum()) // (rows_cols[0] * rows_cols[1]))
        sides = [side * self.merge_size for side in rows_cols]
        given = {_NAMES[eye.medium][1]: torch.tensor([[own, *sides] for own in steps])}
        kinds, seconds = shown * (2 if reels else 1), [reel.seconds for reel in reels]
        return self.model.model.get_rope_index(ids[None], kinds[None], **given, second_per_grid_ts=seconds)[0][:, 0]


def _reels(given: Pixels) -> tuple[Reel, ...]:
    """Return how long each clip is; a ClipError where the seconds are not one for each."""
    steps = given["video_grid_thw"][:, 0].tolist()
    seconds = given[_SECONDS].flatten().tolist() if _SECONDS in given else [1.0] * len(steps)
    if len(seconds) != len(steps):
        raise ClipError(f"The inputs have {len(seconds)} second_per_grid_ts for {len(steps)} clips; give one for each.")
    return tuple(Reel(*own) for own in zip(steps, seconds, strict=True))


def _laid_out(tower: Any, pixels: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Return embedded patches in the order of the windows, that order, and what each block takes beside them."""
    merge, unit = tower.spatial_merge_size, tower.spatial_merge_unit
    order, windows = get_vision_window_index(
        grid, spatial_merge_size=merge, window_size=tower.window_size, patch_size=tower.patch_size
    )
    hidden = tower.patch_embed(pixels)
    whole, _ = get_vision_attention_seqlens(grid, tower.config)
    rotary = tower.rotary_pos_emb(hidden, get_vision_position_ids(grid, merge))

    def shuffled(values: Tensor) -> Tensor:
        return values.unflatten(0, (-1, unit))[order].flatten(0, 1)

    rotary = tuple(shuffled(part) for part in rotary)

    def passes(number: int) -> dict[str, Any]:
        bounds = whole if number in tower.fullatt_block_indexes else windows
        return {"cu_seqlens": bounds, "max_seqlen": None, "position_embeddings": rotary}

    return shuffled(hidden), order, passes


def _watched(block: Any, hidden: Tensor, cu_seqlens: Tensor, position_embeddings: Any, **_: Any) -> tuple[Tensor, ...]:
    """Run the last block step by step; returns its output and the queries and keys [patches, H, Dh] it made anyway."""
    hidden, *position_embeddings = (part.to(device_of(block)) for part in (hidden, *position_embeddings))
    attention, normed = block.attn, block.norm1(hidden)
    query, keys, values = attention.qkv(normed).unflatten(-1, (3, attention.num_heads, -1)).unbind(1)
    query, keys = apply_rotary_pos_emb_vision(query, keys, *position_embeddings)
    lengths = cu_seqlens.diff().tolist()
    parts = [part.split(lengths) for part in (query, keys, values)]
    mixed = [_attended(q, k, v, attention.scaling) for q, k, v in zip(*parts, strict=True)]
    hidden = hidden + attention.proj(torch.cat(mixed).flatten(1))
    return hidden + block.mlp(block.norm2(hidden)), query, keys


def _attended(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Return the attention [n, H, Dh] of the n patches of a window."""
    q, k, v = (part.transpose(0, 1) for part in (query, keys, values))  # (H, n, Dh)
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(0, 1)


def _unshuffled(values: Tensor, order: Tensor, unit: int) -> Tensor:
    """Bring [patches, H, Dh] back from the order of the windows to that of the merged tokens."""
    return values.unflatten(0, (-1, unit))[order.argsort()].flatten(0, 1)
