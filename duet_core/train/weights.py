"""Which weights a fine-tuning changes, what its checkpoints hold, and the folder it leaves."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from duet_core.backbones import Backbone
from duet_core.engine import Model
from duet_core.errors import ModelError

if TYPE_CHECKING:
    from accelerate import Accelerator

_ADAPTED = r"\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"  # of the language model
_SHARD = "5GB"
_SHARED = "module."  # what torch puts before the names of a module that several processes train


def train_all(backbone: Backbone, with_tower: bool = False) -> None:
    """Train projector and language model, and the vision encoder up to the layer that is used if wanted.

    What ends a line of patches stays as it is: of a reduced picture, no lines enter.
    """
    model = backbone.model.requires_grad_(False)
    tower = backbone.encoder_parts(backbone.eye(clip=False)) if with_tower else ()
    for part in (backbone.projector, backbone.decoder, model.lm_head, *tower):
        part.requires_grad_(True)


def train_adapters(backbone: Backbone, rank: int, base: str) -> None:
    """Freeze everything and put LoRA adapters of a rank beside the projections of language model and projector.

    `base`: folder or hub name of the checkpoint, for whoever opens the adapters. A ModelError if peft is missing.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ModelError("Training adapters needs the package peft; install it with `pip install peft`.") from error
    model = backbone.model
    model.requires_grad_(False)
    model.name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
    model.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=_adapted(backbone)))
    for weight in trained(model):
        weight.data = weight.data.float()  # small steps get lost in half precision


def _adapted(backbone: Backbone) -> str:
    """Return the pattern of the names of all projections in the language model, and linear maps in the projector."""
    own = {part for part in backbone.projector.modules() if isinstance(part, nn.Linear)}
    names = {part: re.escape(name) for name, part in backbone.model.named_modules()}
    return "|".join([names[backbone.decoder] + _ADAPTED, *(name for part, name in names.items() if part in own)])


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The weights that learn."""
    return [weight for weight in module.parameters() if weight.requires_grad]


def recompute_layers(backbone: Backbone) -> None:
    """Work activations out again on the way back instead of keeping them: less memory, about a third more time."""
    model = backbone.model
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def keep_checkpoints_small(accelerator: Accelerator) -> None:
    """Let checkpoints hold only what is trained; the rest comes from the model that the run opens anyway.

    Any number of processes may go on from one. FSDP writes its own checkpoints, whole ones. Resuming raises a
    ModelError for another run's checkpoint.
    """

    def leave_out(models: list[nn.Module], states: list[dict[str, Tensor]], _folder: str) -> None:
        for model, state in zip(models, states, strict=False):  # no states under FSDP
            learnt = {name for name, weight in model.named_parameters() if weight.requires_grad}
            kept = {name.removeprefix(_SHARED): weight for name, weight in state.items() if name in learnt}
            state.clear()
            state.update(kept)

    def take_up(models: list[nn.Module], folder: str) -> None:
        for model in models:  # none under FSDP
            _load(accelerator.unwrap_model(model), Path(folder))
        models.clear()

    accelerator.register_save_state_pre_hook(leave_out)
    accelerator.register_load_state_pre_hook(take_up)


def _load(model: nn.Module, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    learnt = {name: weight.shape for name, weight in model.named_parameters() if weight.requires_grad}
    if learnt != {name: weight.shape for name, weight in state.items()}:
        raise ModelError(f"The checkpoint {folder} trains other weights than this run; choose another folder of runs.")
    model.load_state_dict(state, strict=False)


def save(accelerator: Accelerator, lesson: nn.Module, model: Model, folder: Path, dtype: torch.dtype) -> None:
    """Write a plain Hugging Face folder in `dtype`, or the adapters alone if there are any; the processor beside it.

    Every process must call this, since each may hold a part of the weights; the first one writes.
    """
    whole = accelerator.get_state_dict(lesson)
    if not accelerator.is_main_process:
        return
    plain = model.backbone.model
    adapters = getattr(plain, "_hf_peft_config_loaded", False)
    state = {name.removeprefix(_SHARED).removeprefix("model."): weight for name, weight in whole.items()}
    state = {name: weight if adapters else weight.to(dtype) for name, weight in state.items()}
    plain.save_pretrained(folder, state_dict=state, max_shard_size=_SHARD)
    if not adapters:
        config = deepcopy(plain.config)
        config.dtype = dtype
        config.save_pretrained(folder)
    if model.processor is not None:
        model.processor.save_pretrained(folder)
