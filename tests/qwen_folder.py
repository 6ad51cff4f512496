"""A folder as the published Qwen2.5-VL checkpoints are, without torchvision at hand."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}\
{% if part['type'] == 'text' %}{{ part['text'] }}\
{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}\
{% endfor %}<|im_end|> {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"""
MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
MARK_IDS = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
WORDS = ("<unk>", "</s>", "user", "assistant", "What", "is", "in", "the", "middle", "?")


def write_folder(folder: Path, model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Write a model with a small tokenizer, the family's chat template, and an image processor of up to 100 tokens."""
    bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    tokenizer.chat_template = TEMPLATE
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kinds = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    limits = {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 100, "patch_size": 14, "merge_size": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(kinds | limits))
    config = json.loads((folder / "config.json").read_text())
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in zip(MARK_IDS, MARKS[2:], strict=True)}
    (folder / "config.json").write_text(json.dumps(config | ids))
