"""Finds a checkpoint: a bundled name, a folder, or a hub repository; what the hub says in one sentence."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from duet_core.errors import DuetError, ModelError, ModelNotFound, ModelTooLarge, ModelUnreachable

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "models"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def bundled_names() -> list[str]:
    """Return the names of the models that ship with the project."""
    return sorted(folder.name for folder in BUNDLED.glob("*") if (folder / "config.json").is_file())


def bundled_folders() -> list[Path]:
    """Return the folders of the models that ship with the project."""
    return [BUNDLED / name for name in bundled_names()]


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
    with told(name):
        HfApi().model_info(name, timeout=10)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with the hub into one of our sentences."""
    try:
        yield
    except DuetError:
        raise
    except Exception as error:  # the transport's own classes differ between versions of the hub library
        raise _sentence(name, error) from error


def _sentence(name: str, error: Exception) -> ModelError:
    """Return the sentence for an error of the hub library; of two that fit, the narrower."""
    if isinstance(error, GatedRepoError):
        return ModelUnreachable(f"The repository {name} is gated; accept its terms on the hub and log in.")
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return ModelNotFound(f"The hub has no model {name}; check the spelling.")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return ModelError(f"{name} holds no config.json; give a checkpoint in the format of transformers.")
    if _is_full(error):
        return ModelTooLarge(f"The disk got full while {name} was downloaded; make room, or choose a smaller model.")
    return _unreachable(name)


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk is full."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return full or (error is not None and _is_full(error.__cause__ or error.__context__))


def _unreachable(name: str) -> ModelUnreachable:
    """Return the error for a hub name that is not here and cannot be asked for."""
    offline = f"{name} is not on this machine and the model hub cannot be reached"
    return ModelUnreachable(f"{offline}; connect to the network, or choose {' or '.join(bundled_names())}.")
