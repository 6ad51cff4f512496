"""Uploads made safe: a posted path in, an upright RGB picture out, every limit enforced."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.exceptions import InvalidPathError
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps, UnidentifiedImageError

from app import messages
from app.fairness import FairQueue
from app.faults import told
from app.settings import Settings
from duet_core.errors import PictureError
from duet_core.pictures import to_rgb

FORMATS = ("PNG", "JPEG", "WEBP")
_WORKING_SIDE = 2048  # larger than any encoder here looks at; keeps the drawing and the page light


class SafePicture(gr.Image):
    """A picture input that hands over the path of an uploaded file, confined to the upload folder and undecoded.

    gr.Image itself opens whatever path a hand-made request names and decodes it before any check of ours could run.
    """

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:  # type: ignore[override]
        """Return the path, or refuse with our sentence what is not in the upload folder."""
        return None if payload is None else confined(payload.path, messages.NOT_UPLOADED)


def confined(given: str | None, refusal: str) -> str:
    """Return a posted path in full, or raise a gr.Error with this sentence where it leaves the upload folder."""
    path = Path(given or "").resolve()
    if not given or not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error(refusal, print_exception=False)
    return str(path)


class SafePage(gr.Blocks):
    """A page whose every refusal and fault is one of our sentences: Gradio's own reach a caller without any text."""

    def queue_fairly(self, settings: Settings) -> None:
        """Take our queue in place of Gradio's own."""
        self.queue(api_open=False, default_concurrency_limit=1)  # nobody runs what waits in it past it
        self._queue = FairQueue(
            settings, live_updates=True, concurrency_count=self.max_threads, update_intervals=1, blocks=self,
            default_concurrency_limit=1,
        )  # fmt: skip

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one event, or raise an error with one of our sentences; no other error leaves a handler."""
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False  # its text may quote what was sent, which no log may hold
            raise
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Turn posted values into arguments, or raise an error with one of our sentences."""
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise gr.Error(messages.NOT_UPLOADED, print_exception=False) from error
        except Exception as error:
            raise gr.Error(messages.UNREADABLE, print_exception=False) from error


def open_picture(path: str | None, settings: Settings) -> Image.Image:
    """Return the picture at a path as upright RGB; a PictureError says in one sentence why it cannot be used."""
    if not path:
        raise PictureError(messages.NO_PICTURE)
    if not Path(path).is_file():
        raise PictureError(messages.PICTURE_GONE)
    _check_weight(path, settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise PictureError(_why_not_opened(error, settings)) from error
    with picture:
        _check_size(*picture.size, settings)
        return _decode(picture)


def _check_weight(path: str, settings: Settings) -> None:
    megabytes = Path(path).stat().st_size / 1_000_000
    if megabytes > settings.picture_mb:
        raise PictureError(messages.picture_file_too_large(megabytes, settings.picture_mb))


def _why_not_opened(error: Exception, settings: Settings) -> str:
    if isinstance(error, Image.DecompressionBombError):  # raised before Pillow tells the size
        return messages.picture_far_too_large(settings.picture_mp)
    return messages.NOT_A_PICTURE


def _check_size(width: int, height: int, settings: Settings) -> None:
    """Refuse by the header alone, before a single pixel is decoded."""
    if width * height > settings.picture_mp * 1_000_000 or max(width, height) > settings.picture_longest:
        raise PictureError(messages.picture_too_large(width, height, settings.picture_mp, settings.picture_longest))
    if min(width, height) < settings.picture_shortest:
        raise PictureError(messages.picture_too_small(width, height, settings.picture_shortest))


def _decode(picture: Image.Image) -> Image.Image:
    picture.draft("RGB", (_WORKING_SIDE, _WORKING_SIDE))
    try:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(messages.BROKEN_PICTURE) from error
    rgb = to_rgb(upright)
    rgb.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.LANCZOS)
    return rgb
