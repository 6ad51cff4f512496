"""The LLaVA family: `LlavaForConditionalGeneration`, a CLIP or SigLIP encoder and a decoder of any depth and grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import rotate_half

from duet_core.backbones.eye import Eye, Medium
from duet_core.cost import LayerShape
from duet_core.decoder import Rotary
from duet_core.errors import ModelError
from duet_core.plan import Size
from duet_core.vision import Evidence, Seen, cls_evidence, received_evidence, run_encoder

_ENCODERS = {"clip_vision_model": True, "siglip_vision_model": False}  # and whether they have a CLS
_DECODERS = ("llama", "qwen2", "mistral")


@dataclass(frozen=True, slots=True)
class Llava:
    """One opened checkpoint of the family; wraps the transformers model without touching it."""

    model: Any  # a LlavaForConditionalGeneration; Any, because torch types every submodule as Tensor | Module

    def __post_init__(self) -> None:
        """Refuse a checkpoint of another structure with a ModelError."""
        vision, text = self.model.config.vision_config, self.model.config.text_config
        if vision.model_type not in _ENCODERS or text.model_type not in _DECODERS:
            raise ModelError(
                f"This checkpoint joins {vision.model_type} and {text.model_type}, but only a CLIP or SigLIP encoder"
                " with a Llama, Qwen2 or Mistral decoder is supported; choose such a checkpoint."
            )
        if not self.has_cls and self.model.config.vision_feature_select_strategy != "full":
            raise ModelError(
                "This checkpoint drops the first patch of an encoder without CLS; set its"
                " vision_feature_select_strategy to full."
            )
        if getattr(text, "sliding_window", None) is not None:
            raise ModelError(
                f"This checkpoint's decoder looks back {text.sliding_window} tokens only, which is not supported;"
                " choose one without a sliding window."
            )
        if not isinstance(self.model.config.vision_feature_layer, int):
            raise ModelError(
                f"This checkpoint joins the features of the vision layers {self.model.config.vision_feature_layer},"
                " but only one feature layer is supported; choose another checkpoint."
            )

    # Sizes

    @property
    def device(self) -> torch.device:
        """The device of the language model's first weights."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.model.dtype

    @property
    def has_cls(self) -> bool:
        """Whether the encoder puts a CLS token before the patches."""
        return _ENCODERS[self.model.config.vision_config.model_type]

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip; here a clip is as many pictures as it has frames."""
        return self._eye(self.model.model.vision_tower, "image", self.model.config.image_token_id)

    def _eye(self, tower: Any, medium: Medium, token: int, keeps_cls: bool | None = None) -> Eye:
        config = self.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        feeds_cls = config.vision_feature_select_strategy == "full" if keeps_cls is None else keeps_cls
        return Eye(tower, medium, token, (side, side), feeds_cls and self.has_cls)

    def size(self, frames: int | None = None) -> Size:
        """What a plan depends on: visual tokens of a picture, or of a clip of so many frames, and layers."""
        tokens = self.eye(clip=frames is not None).tokens
        return Size(tokens, len(self.layers), 1 if frames is None else frames)

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

    def see(self, eye: Eye, pixels: Tensor) -> Seen:
        """Run an eye's encoder on `pixels` [I, 3, h, w] up to the layer whose output is used."""
        chosen = self.model.config.vision_feature_layer
        total = self.model.config.vision_config.num_hidden_layers
        return run_encoder(eye.tower, pixels.to(self.device, self.dtype), chosen % (total + 1), self.has_cls)

    def evidence(self, seen: Seen) -> Evidence:
        """Gather what stage 1 decides by."""
        return cls_evidence(seen) if self.has_cls else received_evidence(seen)

    def project(self, features: Tensor) -> Tensor:
        """Map encoder features [I, n, D] into the language model's space."""
        return self.model.model.multi_modal_projector(features)

    # Language model, as the layer loop needs it

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The decoder layers in order."""
        return self.model.model.language_model.layers

    @property
    def needs_causal_mask(self) -> bool:
        """Whether attention gets no causal mask unless we pass one."""
        return self.model.config.text_config._attn_implementation == "eager"

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings [..., D] of token ids."""
        return self.model.get_input_embeddings()(ids)

    def rotary(self, positions: Tensor, like: Tensor) -> Rotary:
        """Return (cos, sin), each [B, T, dh], for positions [B, T]."""
        return self.model.model.language_model.rotary_emb(like, position_ids=positions)

    def query_key(self, layer: Any, hidden: Tensor, rows: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Return (q [H, R, dh] of the rows, scaled, and k [Hkv, T, dh]) after norm, projections and RoPE."""
        attention, (cos, sin) = layer.self_attn, rotary
        normed = layer.input_layernorm(hidden)  # (T, D)
        q = attention.q_proj(normed[rows]).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)  # (H, R, dh)
        k = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)  # (Hkv, T, dh)
        return _rotated(q, cos[rows], sin[rows]) * attention.scaling, _rotated(k, cos, sin)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [..., vocabulary] for final hidden states [..., D]."""
        return self.model.lm_head(self.model.model.language_model.norm(hidden))


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE (cos, sin [T, dh]) to [H, T, dh]."""
    return heads * cos + rotate_half(heads) * sin
