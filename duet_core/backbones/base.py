"""What all model families share: a decoder of Llama's build, driven layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import rotate_half

from duet_core.backbones.eye import Eye
from duet_core.boundary import Rotary
from duet_core.cost import LayerShape
from duet_core.devices import device_of
from duet_core.errors import ModelError, PlanError
from duet_core.plan import Size
from duet_core.tiles import tiles_in
from duet_core.tiling import Tiling
from duet_core.vision import Evidence, Reel, Seen

Pixels = Mapping[str, Tensor]
"""What an image processor returns: `pixel_values` and whatever else says how to read them."""


@dataclass(frozen=True, slots=True)
class Backbone(ABC):
    """One opened checkpoint; wraps the transformers model without touching it."""

    model: Any  # Any, because torch types every submodule as Tensor | Module

    # Sizes

    @property
    def device(self) -> torch.device:
        """The device that the model takes its inputs on."""
        return device_of(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.model.dtype

    @property
    def folder(self) -> Path | None:
        """The folder whose weight files these are; None where they are no file's, or adapters changed them."""
        place, changed = self.model.name_or_path, getattr(self.model, "_hf_peft_config_loaded", False)
        return Path(place) if place and not changed else None

    @property
    def layer_shape(self) -> LayerShape:
        """The widths that the cost formulas need."""
        text = self.model.config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return LayerShape(
            width=text.hidden_size,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=head_dim,
            mlp_width=text.intermediate_size,
            element_bytes=self.dtype.itemsize,
        )

    # Pictures

    @abstractmethod
    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip."""

    @abstractmethod
    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """What a plan depends on: visual tokens of a picture, or of a clip of so many frames, and layers.

        `rows_cols`: patches of one picture; a PlanError where pictures differ in them and none are given.
        """

    @property
    def has_cls(self) -> bool:
        """Whether the encoder puts a CLS token before the patches."""
        return False

    @property
    def one_size(self) -> bool:
        """Whether all pictures have equally many tokens, so that `size` needs no picture."""
        try:
            self.size()
        except PlanError:
            return False
        return True

    def size_of(self, eye: Eye, pixels: Pixels) -> Size:
        """What a plan for one picture depends on; `pixels` as the image processor returns them."""
        tilings = self.tilings_of(eye, pixels)
        if tilings:
            return tilings[0].size(len(self.layers), int(self.has_cls))
        tiles = tiles_in(pixels)
        return self.size(tiles.count if tiles else None, self.rows_cols_of(pixels))

    @abstractmethod
    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run an eye's encoder on I pictures, up to the layer whose output is used."""

    def see_again(self, eye: Eye, seen: Seen, rows_cols: tuple[int, int]) -> Tensor:
        """Run the encoder on the same pictures in a smaller size; returns features [I, rows * cols, D] without CLS."""
        raise PlanError("This model's encoder cannot look at a picture in another size; choose another method.")

    def prepared(self, eye: Eye, pixels: Pixels) -> dict[str, Tensor]:
        """Return a picture's or clip's pixels as the transformers model itself takes them, on its device."""
        given = pixels["pixel_values"].to(self.device, self.dtype)
        return {"pixel_values_videos": given[None]} if eye.medium == "video" else {"pixel_values": given}

    @abstractmethod
    def rows_cols_of(self, pixels: Pixels) -> tuple[int, int]:
        """Return the patches (rows, columns) that each picture has as a grid of visual tokens."""

    def tilings_of(self, eye: Eye, pixels: Pixels) -> tuple[Tiling, ...]:
        """Return how each picture is cut into crops, where the family does so; `pixels` as `prepared` returns them."""
        return ()

    @property
    def line_end(self) -> Tensor:
        """The embedding [D] that ends a line of patches, for families whose tilings have such ends."""
        return self.model.model.image_newline

    @abstractmethod
    def evidence(self, seen: Seen) -> Evidence:
        """Gather what stage 1 decides by."""

    def first_evidence(self, eye: Eye, seen: Seen, pictures: Sequence[int]) -> Evidence:
        """Gather the same of some of the pictures, by the encoder's first layer; a PlanError where it cannot."""
        raise PlanError("This model's encoder cannot tell what its first layer attends to; choose another method.")

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """Map encoder features [I, n, D] into the language model's space."""

    def positions(self, ids: Tensor, rows_cols: tuple[int, int], reels: Sequence[Reel] = ()) -> Tensor | None:
        """Return the positions [3, T] of a whole prompt [T] where they are no mere count, and stay as they are.

        `reels`: the videos in the prompt, where its visual tokens are not of pictures.
        """
        return None

    # Parts, for those who train them

    @property
    def projector(self) -> nn.Module:
        """What maps the encoder's features into the language model's space."""
        return self.model.model.multi_modal_projector

    def encoder_parts(self, eye: Eye) -> Sequence[nn.Module]:
        """Return the modules of an eye's encoder that run before the projector; a ModelError where none are."""
        raise ModelError("This model's vision encoder cannot be trained; train the other parts alone.")

    # Language model, as the layer loop needs it

    @property
    def decoder(self) -> Any:
        """The language model without its head."""
        return self.model.model.language_model

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""
        return self.decoder.layers

    @property
    def needs_causal_mask(self) -> bool:
        """Whether attention gets no causal mask unless we pass one."""
        return self.model.config.text_config._attn_implementation == "eager"

    @property
    def takes_real_keys(self) -> bool:
        """Whether attention takes no mask but one of real keys [B, K], and else lets new rows be the last."""
        return self.model.config.text_config._attn_implementation == "flash_attention_2"

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings [..., D] of token ids."""
        return self.model.get_input_embeddings()(ids)

    def rotary(self, positions: Tensor, like: Tensor) -> Rotary:
        """Return (cos, sin), each [B, T, dh], for positions [B, T], or [3, B, T] where `positions` gives such."""
        return self.decoder.rotary_emb(like, position_ids=positions)

    def query_key(self, layer: Any, hidden: Tensor, rows: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return (q [H, R, dh] of the rows, scaled, and k [Hkv, T, dh]) after norm, projections and RoPE.

        They come back to where the hidden states are, wherever the layer's own weights lie.
        """
        attention, home = layer.self_attn, device_of(layer)
        rows, cos, sin = rows.to(home), rotary[0].to(home), rotary[1].to(home)
        normed = layer.input_layernorm(hidden.to(home))  # (T, D)
        q = attention.q_proj(normed[rows]).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)  # (H, R, dh)
        k = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)  # (Hkv, T, dh)
        q, k = _rotated(q, cos[rows], sin[rows]) * attention.scaling, _rotated(k, cos, sin)
        return q.to(hidden.device), k.to(hidden.device)

    def normed(self, hidden: Tensor) -> Tensor:
        """Return hidden states [..., D] after the norm that follows the last layer."""
        return self.decoder.norm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [..., vocabulary] for final hidden states [..., D]."""
        return self.model.lm_head(self.normed(hidden))


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE (cos, sin [T, dh]) to [H, T, dh]."""
    return heads * cos + rotate_half(heads) * sin
