"""How a checkpoint is opened: device, dtype, quantisation and attention, chosen by what this machine has."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from duet_core.errors import ModelError

Quantize = Literal["4bit", "8bit"]
Attention = Literal["auto", "sdpa", "flash_attention_2", "eager"]
DTYPES = ("float32", "bfloat16", "float16")
_DEVICES = "auto, cpu, cuda, cuda:N or mps"


@dataclass(frozen=True, slots=True)
class Target:
    """Where and in which form weights are to be opened. `attention`: transformers' name of its implementation.

    `beside`: the other GPUs, over which a model too large for one may be spread.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: str | None = None
    attention: str = "sdpa"
    beside: tuple[torch.device, ...] = ()


def choose_target(
    device: str = "auto", dtype: str = "auto", quantize: str | None = None, attention: str = "auto"
) -> Target:
    """Return what was asked for, checked against this machine; a ModelError says what it lacks."""
    chosen = choose_device(device)
    _check_quantize(quantize, chosen)
    beside = _gpus_beside(chosen) if device == "auto" else ()
    return Target(chosen, choose_dtype(dtype, chosen), quantize, _choose_attention(attention, chosen), beside)


def choose_device(device: str) -> torch.device:
    """Return the device of this name; `auto` takes the GPU with most free memory, then MPS, then the CPU."""
    if device == "auto":
        return _best_device()
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"There is no device {device!r}; choose {_DEVICES}.") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ModelError(f"The device {device!r} is not supported; choose {_DEVICES}.")
    _check_present(chosen)
    return chosen


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        free = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
        return torch.device("cuda", free.index(max(free)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _gpus_beside(device: torch.device) -> tuple[torch.device, ...]:
    """Return the other GPUs of this machine."""
    if device.type != "cuda":
        return ()
    return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()) if number != device.index)


def _check_present(device: torch.device) -> None:
    """Raise a ModelError for a device that this machine does not have."""
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("The device 'mps' is not on this machine; choose auto or cpu.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= gpus:
        has = f"only {gpus} CUDA device{'s' * (gpus > 1)}, counted from 0" if gpus else "no CUDA device"
        raise ModelError(f"The device '{device}' is not on this machine, which has {has}; choose auto or another.")
    if device.type == "cpu" and device.index:
        raise ModelError(f"The device '{device}' is not on this machine; choose cpu.")


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; `auto`: bf16 on CUDA (fp16 where it lacks bf16), fp16 on MPS, fp32 on a CPU."""
    if dtype in DTYPES:
        return getattr(torch, dtype)
    if dtype != "auto":
        raise ModelError(f"There is no dtype {dtype!r}; choose auto, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def _check_quantize(quantize: str | None, device: torch.device) -> None:
    if quantize is None:
        return
    if quantize not in get_args(Quantize):
        raise ModelError(f"There is no quantisation {quantize!r}; choose 4bit, 8bit or none.")
    if device.type != "cuda":
        raise ModelError(f"Quantising to {quantize} needs a CUDA device and this is {device.type!r}; leave it out.")
    if not has_package("bitsandbytes"):
        raise ModelError(
            f"Quantising to {quantize} needs the package bitsandbytes; install it with `pip install bitsandbytes`."
        )


def _choose_attention(attention: str, device: torch.device) -> str:
    if attention not in get_args(Attention):
        known = ", ".join(get_args(Attention))
        raise ModelError(f"There is no attention {attention!r}; choose one of {known}.")
    if attention != "flash_attention_2":
        return "sdpa" if attention == "auto" else attention
    if device.type != "cuda":
        raise ModelError(f"Flash attention needs a CUDA device and this is {device.type!r}; choose sdpa.")
    if not has_package("flash_attn"):
        raise ModelError("Flash attention needs the package flash_attn, which is not installed; choose sdpa.")
    return attention


def device_of(module: nn.Module) -> torch.device:
    """Return where a module computes; its weights may lie elsewhere between calls, where accelerate has spread them."""
    weights = next(module.parameters()).device
    if weights.type != "meta" and not hasattr(module, "_hf_hook"):
        return weights
    hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
    places = (getattr(one, "execution_device", None) for hook in hooks for one in getattr(hook, "hooks", (hook,)))
    return next((torch.device(place) for place in places if place is not None), weights)


def has_package(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(name) is not None
