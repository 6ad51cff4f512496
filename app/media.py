"""Uploads made safe: a posted path in, an upright RGB picture out, every limit enforced."""

from __future__ import annotations

import warnings
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps, UnidentifiedImageError

from app import messages
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
