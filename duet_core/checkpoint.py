"""Finds and opens a checkpoint: a bundled name, a folder, or a hub repository."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from duet_core.backbones import check_family
from duet_core.errors import ModelError, ModelNotFound, ModelUnreachable

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "models"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def bundled_names() -> list[str]:
    """Return the names of the models that ship with the project."""
    return sorted(folder.name for folder in BUNDLED.glob("*") if (folder / "config.json").is_file())


def locate(name: str) -> str:
    """Return what transformers can open for a bundled name, a folder or a hub name.

    Raises ModelNotFound or ModelUnreachable, each with the next step.
    """
    if name in bundled_names():
        return str(BUNDLED / name)
    if Path(name).is_dir():
        return name
    if not _HUB_NAME.fullmatch(name):
        bundled = " or ".join(bundled_names())
        raise ModelNotFound(f"There is no model {name!r}; choose {bundled}, or give a hub name like owner/model.")
    _ask_hub(name)
    return name


def _ask_hub(name: str) -> None:
    """Return quietly when the repository can be opened: it is cached here, or the hub knows it."""
    if try_to_load_from_cache(name, "config.json"):
        return
    try:
        HfApi().model_info(name, timeout=10)
    except GatedRepoError as error:
        raise ModelUnreachable(f"The repository {name} is gated; accept its terms on the hub and log in.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFound(f"The hub has no model {name}; check the spelling.") from error
    except Exception as error:  # the transport's own classes differ between versions of the hub library
        raise _unreachable(name) from error


def _unreachable(name: str) -> ModelUnreachable:
    offline = f"{name} is not on this machine and the model hub cannot be reached"
    return ModelUnreachable(f"{offline}; connect to the network, or choose {' or '.join(bundled_names())}.")


def choose_device(device: str) -> torch.device:
    """Return the device of this name; `auto` takes CUDA, then MPS, then the CPU."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; `auto`: bf16 on CUDA (fp16 where it lacks bf16), fp16 on MPS, fp32 on a CPU."""
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def load_model(place: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Open the weights at a folder or hub name, in evaluation mode; a ModelError says what is wrong with them."""
    try:
        check_family(AutoConfig.from_pretrained(_base(place)))
        model = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype)
    except ImportError as error:
        raise ModelError(f"{Path(place).name} holds adapters, which need peft; install it with pip.") from error
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The checkpoint {Path(place).name} cannot be opened; check that it is complete.") from error
    return model.to(device).eval()  # type: ignore[arg-type]  # a decorator in transformers hides the signature


def _base(place: str) -> str:
    """Where the configuration is: beside the weights, or with the model that adapters were made for."""
    adapters = Path(place) / "adapter_config.json"
    return json.loads(adapters.read_text())["base_model_name_or_path"] if adapters.is_file() else place
