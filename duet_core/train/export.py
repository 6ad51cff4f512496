"""A trained model as a plain Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from transformers import LlavaForConditionalGeneration, LlavaProcessor

SHARD = "9MB"  # every committed file stays below 10 MB
_READABLE = 0o644


def export(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write weights (bf16, sharded), configuration and processor; the given model is unchanged."""
    copy = LlavaForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    tokenizer = processor.tokenizer
    copy.generation_config.bos_token_id = tokenizer.bos_token_id
    copy.generation_config.eos_token_id = tokenizer.eos_token_id
    copy.generation_config.pad_token_id = tokenizer.pad_token_id
    for old in folder.glob("*.safetensors"):
        old.unlink()
    copy.bfloat16().save_pretrained(folder, max_shard_size=SHARD)
    processor.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(_READABLE)
