"""Finds a checkpoint: a bundled name, a folder, or a hub repository."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from duet_core.errors import ModelNotFound, ModelUnreachable

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
        raise unreachable(name) from error


def unreachable(name: str) -> ModelUnreachable:
    """Return the error for a hub name that is not here and cannot be asked for."""
    offline = f"{name} is not on this machine and the model hub cannot be reached"
    return ModelUnreachable(f"{offline}; connect to the network, or choose {' or '.join(bundled_names())}.")
