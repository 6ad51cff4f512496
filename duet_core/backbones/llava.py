"""The LLaVA family: `LlavaForConditionalGeneration`, a CLIP or SigLIP encoder and a decoder of any depth and grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from duet_core.backbones.base import Backbone, Pixels
from duet_core.backbones.eye import Eye, Medium
from duet_core.errors import ModelError
from duet_core.plan import Size
from duet_core.vision import Evidence, Seen, cls_evidence, received_evidence, run_encoder

_ENCODERS = {"clip_vision_model": True, "siglip_vision_model": False}  # and whether they have a CLS
_DECODERS = ("llama", "qwen2", "mistral")


@dataclass(frozen=True, slots=True)
class Llava(Backbone):
    """One opened checkpoint of the family; every picture is resized to one grid of patches."""

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

    @property
    def has_cls(self) -> bool:
        """Whether the encoder puts a CLS token before the patches."""
        return _ENCODERS[self.model.config.vision_config.model_type]

    def eye(self, clip: bool) -> Eye:
        """How the model takes in a picture or a clip; here a clip is as many pictures as it has frames."""
        return self._eye(self.model.model.vision_tower, "image", self.model.config.image_token_id)

    def _eye(self, tower: Any, medium: Medium, token: int, keeps_cls: bool | None = None) -> Eye:
        feeds_cls = self.model.config.vision_feature_select_strategy == "full" if keeps_cls is None else keeps_cls
        return Eye(tower, medium, token, feeds_cls and self.has_cls)

    @property
    def rows_cols(self) -> tuple[int, int]:
        """Patches of every picture, (rows, columns)."""
        side = self.model.config.vision_config.image_size // self.model.config.vision_config.patch_size
        return side, side

    def rows_cols_of(self, pixels: Pixels) -> tuple[int, int]:
        """Return the same for all pictures."""
        return self.rows_cols

    def size(self, frames: int | None = None, rows_cols: tuple[int, int] | None = None) -> Size:
        """What a plan depends on: visual tokens of a picture, or of a clip of so many frames, and layers."""
        tokens = self.eye(clip=frames is not None).tokens(self.rows_cols)
        return Size(tokens, len(self.layers), 1 if frames is None else frames)

    def see(self, eye: Eye, pixels: Pixels) -> Seen:
        """Run an eye's encoder on `pixel_values` [I, 3, h, w] or `pixel_values_videos` [B, F, 3, h, w]."""
        given = pixels["pixel_values"] if "pixel_values" in pixels else pixels["pixel_values_videos"].flatten(0, 1)
        given = given.to(self.device, self.dtype)
        return run_encoder(eye.tower, given, self._depth, self.rows_cols, self.has_cls)

    def see_again(self, eye: Eye, seen: Seen, rows_cols: tuple[int, int]) -> Tensor:
        """Run the encoder on smaller pictures, with the learnt positions interpolated; [I, rows * cols, D]."""
        patch = self.model.config.vision_config.patch_size
        size = rows_cols[0] * patch, rows_cols[1] * patch
        smaller = F.interpolate(seen.pixels.float(), size, mode="bilinear", antialias=True).to(self.dtype)
        again = run_encoder(eye.tower, smaller, self._depth, rows_cols, self.has_cls)
        return again.features[:, again.extra :]

    @property
    def _depth(self) -> int:
        """How many of the encoder's layers run."""
        config = self.model.config
        return config.vision_feature_layer % (config.vision_config.num_hidden_layers + 1)

    def encoder_parts(self, eye: Eye) -> list[nn.Module]:
        """Return the embeddings, and the layers up to the one that is used."""
        before = [eye.tower.pre_layrnorm] if self.has_cls else []
        return [eye.tower.embeddings, *before, *eye.tower.encoder.layers[: self._depth]]

    def evidence(self, seen: Seen) -> Evidence:
        """Gather what stage 1 decides by."""
        return cls_evidence(seen) if self.has_cls else received_evidence(seen)

    def first_evidence(self, eye: Eye, seen: Seen, pictures: Sequence[int]) -> Evidence:
        """Run the first layer again on some of the pictures, and gather the same there."""
        shown = seen.pixels[list(pictures)]
        return self.evidence(run_encoder(eye.tower, shown, 1, seen.rows_cols, self.has_cls))

    def project(self, features: Tensor) -> Tensor:
        """Map encoder features [I, n, D] into the language model's space."""
        return self.model.model.multi_modal_projector(features)
