"""Writes a checkpoint of a published geometry with random weights, for benches where no weights can be downloaded.

`python scripts/make_random_model.py llava-1.5-7b FOLDER`: 14 GB in bf16, written shard by shard; llava-next-mini: the
bundled model's widths in a model that cuts large pictures into crops. Tokenizers are the bundled model's; answers are
noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    PretrainedConfig,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from duet_core.checkpoint import BUNDLED
from duet_core.processors import load_processor

LLAVA_7B = LlavaConfig(
    vision_config=CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    ),
    text_config=LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32064,
        max_position_embeddings=4096, bos_token_id=1, eos_token_id=2,
    ),
    vision_feature_layer=-2,
)  # fmt: skip
_EDGE = 336
PINPOINTS = [[_EDGE * rows, _EDGE * cols] for rows, cols in ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (3, 3))]
NEXT_MINI = LlavaNextConfig(
    vision_config=CLIPVisionConfig(
        hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, image_size=_EDGE,
        patch_size=14, projection_dim=192, hidden_act="gelu",
    ),
    text_config=LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=8, num_attention_heads=4, vocab_size=2048,
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2,
    ),
    vision_feature_layer=-2, image_grid_pinpoints=PINPOINTS,
)  # fmt: skip
GEOMETRIES = {
    "llava-1.5-7b": (LLAVA_7B, LlavaForConditionalGeneration),
    "llava-next-mini": (NEXT_MINI, LlavaNextForConditionalGeneration),
}
_SHARD = 2 * 1024**3  # bytes


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("geometry", choices=GEOMETRIES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, help="of the language model (default: all), to fit memory and patience")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    config, build = GEOMETRIES[given.geometry]
    processor = processor_for(config)
    processor.save_pretrained(given.out)
    config.image_token_index = config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<image>")
    config.text_config.vocab_size = max(config.text_config.vocab_size, len(processor.tokenizer))
    config.text_config.num_hidden_layers = given.layers or config.text_config.num_hidden_layers
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = build(config)
    model.config.save_pretrained(given.out)
    model.generation_config.save_pretrained(given.out)
    write(model, given.out)


def processor_for(config: PretrainedConfig) -> Any:
    """Return the bundled model's processor, its pictures cut up where the model takes crops."""
    own = load_processor(str(BUNDLED / "duet-mini"))
    if not hasattr(config, "image_grid_pinpoints"):
        return own
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": _EDGE}, crop_size={"height": _EDGE, "width": _EDGE}, image_grid_pinpoints=PINPOINTS
    )
    return LlavaNextProcessor(
        images, own.tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=own.chat_template,
    )  # fmt: skip


def write(model: PreTrainedModel, out: Path) -> None:
    """Draw every weight anew and write shards with their index."""
    torch.manual_seed(0)
    where: dict[str, str] = {}
    shards = list(in_shards(model))
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: draw(name, model.get_parameter(name)) for name in names}, out / file, {"format": "pt"})
        where |= dict.fromkeys(names, file)
        print(file, len(names), "tensors", flush=True)
    total = sum(2 * weight.numel() for weight in model.parameters())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def in_shards(model: PreTrainedModel) -> Iterator[list[str]]:
    """Yield the names of the weights, at most `_SHARD` bytes together."""
    names: list[str] = []
    held = 0
    for name, weight in model.named_parameters():
        if names and held + 2 * weight.numel() > _SHARD:
            yield names
            names, held = [], 0
        names.append(name)
        held += 2 * weight.numel()
    yield names


def draw(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a random weight: norms are one, all else is normal with the width that keeps states of a size."""
    if weight.ndim == 1:
        return torch.full(weight.shape, 1.0 if name.endswith("weight") else 0.0, dtype=torch.bfloat16)
    return torch.randn(weight.shape, dtype=torch.bfloat16) * 0.02


if __name__ == "__main__":
    main()
