"""The shape of duet-mini: LLaVA-1.5's architecture in small, in plain transformers classes."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from duet_core.scenes.layout import SIZE
from duet_core.train.labels import GRID, PATCH


@dataclass(frozen=True, slots=True)
class Sizes:
    """Widths and depths of a model; the defaults are duet-mini's."""

    vision_width: int = 192
    vision_layers: int = 6
    vision_heads: int = 6
    vision_mlp: int = 768
    text_width: int = 256
    text_layers: int = 8
    text_mlp: int = 512
    head_dim: int = 64


def build_config(sizes: Sizes, vocabulary: int, special: dict[str, int]) -> LlavaConfig:
    """A LLaVA configuration; `special` holds the ids of bos, eos, pad and image."""
    vision = CLIPVisionConfig(
        hidden_size=sizes.vision_width,
        intermediate_size=sizes.vision_mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        projection_dim=sizes.vision_width,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    heads = sizes.text_width // sizes.head_dim
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=sizes.text_width,
        intermediate_size=sizes.text_mlp,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=sizes.head_dim,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=special["bos"],
        eos_token_id=special["eos"],
        pad_token_id=special["pad"],
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=special["image"],
        image_seq_length=GRID * GRID,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )


def build_model(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """A model with random weights whose words copy well: lm_head starts as scaled embeddings."""
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    words = model.get_input_embeddings().weight.data
    words.normal_(0.0, 1.0)
    model.lm_head.weight.data.copy_(words / words.shape[1] ** 0.5)
    return model
