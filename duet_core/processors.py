"""The processor beside a checkpoint's weights, and a plain one of its parts where the real one asks for torchvision."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.utils import cached_file

_OWN = {"trust_remote_code": False}  # never code that comes with a checkpoint
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True, slots=True)
class PlainProcessor:
    """What a prompt needs of a processor: frames go through the image processor one by one, so clips need no more."""

    image_processor: Any
    tokenizer: Any
    chat_template: str | None
    image_token: str
    video_token: str | None

    def apply_chat_template(self, conversation: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        """Return the text of a conversation."""
        return self.tokenizer.apply_chat_template(
            conversation,
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the parts into a folder, from which they open again."""
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.chat_template is not None:
            (Path(folder) / _TEMPLATES[0]).write_text(self.chat_template, encoding="utf-8")


def load_processor(place: str) -> Any | None:
    """Open the processor at a folder or hub name; None where there is none (prefill and generate still work)."""
    try:
        whole = AutoProcessor.from_pretrained(place, backend="pil", **_OWN)
    except ImportError:  # one of its parts, for clips, needs torchvision
        return _from_parts(place)
    except (OSError, ValueError, TypeError):
        return None
    return whole if hasattr(whole, "image_processor") else _from_parts(place)  # a tokenizer alone, beside adapters


def _from_parts(place: str) -> PlainProcessor | None:
    try:
        images = AutoImageProcessor.from_pretrained(place, backend="pil", **_OWN)
        tokenizer = AutoTokenizer.from_pretrained(place, **_OWN)
        config = AutoConfig.from_pretrained(_model_of(place), **_OWN)
    except (OSError, ValueError, TypeError, ImportError):
        return None
    image, video = (_mark(tokenizer, getattr(config, name, None)) for name in ("image_token_id", "video_token_id"))
    return PlainProcessor(images, tokenizer, tokenizer.chat_template or _template(place), str(image), video)


def _mark(tokenizer: Any, token: int | None) -> str | None:
    return None if token is None else str(tokenizer.convert_ids_to_tokens(token))


def _model_of(place: str) -> str:
    """Return where the configuration lies: that of adapters lies with the model that they were made for."""
    adapters = Path(place) / "adapter_config.json"
    return json.loads(adapters.read_text())["base_model_name_or_path"] if adapters.is_file() else place


def _template(place: str) -> str | None:
    """Return the chat template that lies in a file of its own, if one does."""
    for name in _TEMPLATES:
        path = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            text = Path(path).read_text(encoding="utf-8")
            return json.loads(text)["chat_template"] if name.endswith("json") else text
    return None
