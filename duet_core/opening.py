"""From a name to weights in memory: found, checked against this machine, downloaded, loaded; one sentence if not."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedModel

from duet_core.backbones import FAMILIES, wrap
from duet_core.checkpoint import bundled_names, locate
from duet_core.devices import Target
from duet_core.errors import ModelError, ModelTooLarge
from duet_core.files import count_weights, read_config
from duet_core.hub import Report, cached_folder, config_folder, download
from duet_core.memory import check_fits, free_bytes, is_out_of_memory, needed_bytes

_ENCODERS = ["vision_tower", "image_tower", "video_tower", "visual", "vision_model"]
_AS_THEY_ARE = [*_ENCODERS, "multi_modal_projector", "connector", "lm_head"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A checkpoint that was found and can be opened by a backbone.

    `title`: how errors call it. `place`: the folder of its weights, None until they are downloaded. `base`: the hub
    name to download, if any: its own, or that of the model its adapters were made for. `elements`: its weights.
    """

    title: str
    place: str | None
    base: str | None
    elements: int
    target: Target

    def check_memory(self, spare: int = 0) -> None:
        """Raise ModelTooLarge unless it fits into what is free, with `spare` bytes that could be freed for it."""
        free = sum(free_bytes(device) for device in (self.target.device, *self.target.beside))
        check_fits(self.title, self.elements, self.target, free + spare)

    @property
    def spread(self) -> bool:
        """Whether it needs several GPUs, because one has no room for it."""
        target = self.target
        return bool(target.beside) and needed_bytes(self.elements, target) > free_bytes(target.device)

    def fits(self) -> bool:
        """Whether it fits into what is free now."""
        try:
            self.check_memory()
        except ModelTooLarge:
            return False
        return True

    def fetched(self, report: Report | None = None) -> Opening:
        """Return it with all its files on this machine; `report` is told the progress of a download."""
        if self.base is None:
            return self
        folder = download(self.base, report)
        elements = count_weights(folder, self.base)
        return replace(self, place=self.place or str(folder), base=None, elements=elements)


def prepare(name: str, target: Target) -> Opening:
    """Find a checkpoint and check all that its configuration and file headers tell; nothing large is read or sent."""
    place = locate(name)
    title = name if name in bundled_names() else Path(name).name if Path(place).is_dir() else name
    own = place if Path(place).is_dir() else None
    base = _base_of_adapters(Path(place), title) if own else None
    source = locate(base) if base else place
    folder = Path(source) if Path(source).is_dir() else cached_folder(source)
    if folder is None:
        elements = check_structure(config_folder(source), title)
        return Opening(title, own if base else None, source, elements, target)
    check_structure(folder, title)
    return Opening(title, own or str(folder), None, count_weights(folder, title), target)


def _base_of_adapters(folder: Path, title: str) -> str | None:
    """Return the model that a folder of adapters was made for; None where there are none."""
    adapters = folder / "adapter_config.json"
    try:
        base = str(json.loads(adapters.read_text())["base_model_name_or_path"]) if adapters.is_file() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The adapter_config.json of {title} names no base model; copy the adapters again.") from error
    if base and Path(base).is_absolute() and not Path(base).is_dir():
        raise ModelError(f"The base model {Path(base).name} of the adapters {title} is not here; copy it to its place.")
    return base


def check_structure(folder: Path, title: str) -> int:
    """Return how many weights a configuration asks for; a ModelError where no backbone can drive such a model."""
    raw = read_config(folder, title)
    _check_family(raw, title)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):  # the real class without a single number
            model = AutoModelForImageTextToText.from_config(config)
    except Exception as error:  # a wrong value in a file can end anywhere in the library
        raise ModelError(f"The config.json of {title} describes no model that can be built; correct it.") from error
    wrap(model)
    return sum(weights.numel() for weights in model.parameters())


def _check_family(raw: dict[str, Any], title: str) -> None:
    """Refuse what no backbone knows by the configuration alone, before a library class is chosen."""
    kind, known = str(raw.get("model_type")), ", ".join(FAMILIES)
    if "mm_vision_tower" in raw and "vision_config" not in raw:
        raise ModelError(
            f"{title} is in LLaVA's own format, not that of transformers; choose a converted one, such as"
            " llava-hf/llava-1.5-7b-hf."
        )
    if kind in FAMILIES:
        return
    if any(key in raw for key in ("vision_config", "visual", "auto_map")):
        raise ModelError(f"{title} is of type {kind!r}, which is not supported; choose a model of type {known}.")
    raise ModelError(f"{title} is of type {kind!r}, which sees no pictures; choose a model of type {known}.")


def load_weights(opening: Opening) -> PreTrainedModel:
    """Read the weights of a fetched checkpoint, in evaluation mode; a ModelError says what is wrong with them."""
    title = opening.title
    try:
        opened: Any = AutoModelForImageTextToText.from_pretrained(
            str(opening.place), output_loading_info=True, **_options(opening.target, opening.spread)
        )
    except ImportError as error:
        raise ModelError(f"{title} holds adapters, which need peft; install it with pip.") from error
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise ModelTooLarge(f"The memory got full while {title} was opened; choose a smaller model.") from error
        raise ModelError(f"The weights of {title} do not fit its config.json; copy the checkpoint again.") from error
    model, found = opened
    _check_found(found, title)
    return model.eval() if opening.target.device.type == "cuda" else model.to(opening.target.device).eval()


def _check_found(found: dict[str, Any], title: str) -> None:
    """Refuse a checkpoint with gaps: transformers fills them with random numbers and only warns."""
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise ModelError(f"{title} lacks {len(missing)} of its weights, such as {missing[0]}; use a complete copy.")


def _options(target: Target, spread: bool = False) -> dict[str, Any]:
    """Return what `from_pretrained` is told."""
    options: dict[str, Any] = {"dtype": target.dtype, "attn_implementation": target.attention}
    options |= {"use_safetensors": True, "trust_remote_code": False}
    if target.device.type == "cuda":
        # straight to the GPU, never a copy of all weights in RAM
        options["device_map"] = "auto" if spread else {"": target.device}
    if target.quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=target.quantize == "4bit",
            load_in_8bit=target.quantize == "8bit",
            bnb_4bit_compute_dtype=target.dtype,
            bnb_4bit_quant_type="nf4",
            llm_int8_skip_modules=_AS_THEY_ARE,
        )
    return options
