"""The rack of model families: which model. A checkpoint's config decides its family, never its name."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PretrainedConfig, PreTrainedModel

from duet_core.backbones.anyres import LlavaNext, LlavaOnevision
from duet_core.backbones.base import Backbone
from duet_core.backbones.eye import Eye
from duet_core.backbones.llava import Llava
from duet_core.backbones.qwen import Qwen
from duet_core.backbones.smolvlm import SmolVLM
from duet_core.backbones.video_llava import VideoLlava
from duet_core.errors import ModelError

FAMILIES: dict[str, Callable[[PreTrainedModel], Backbone]] = {
    "llava": Llava,
    "llava_next": LlavaNext,
    "llava_onevision": LlavaOnevision,
    "video_llava": VideoLlava,
    "qwen2_5_vl": Qwen,
    "idefics3": SmolVLM,
    "smolvlm": SmolVLM,
}

__all__ = [
    "FAMILIES",
    "Backbone",
    "Eye",
    "Llava",
    "LlavaNext",
    "LlavaOnevision",
    "Qwen",
    "SmolVLM",
    "VideoLlava",
    "wrap",
]


def check_family(config: PretrainedConfig) -> None:
    """Raise a ModelError when no backbone knows this kind of checkpoint."""
    if config.model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelError(f"Checkpoints of type {config.model_type!r} are not supported; choose one of type {known}.")


def wrap(model: PreTrainedModel) -> Backbone:
    """Return the backbone around an opened transformers model."""
    check_family(model.config)
    return FAMILIES[model.config.model_type](model)
