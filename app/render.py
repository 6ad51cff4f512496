"""Trace -> pictures: the photo under the fate of its patches, one picture per step (numpy and Pillow only)."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from app.fates import Look, looks
from duet_core.grid import Box, Grid
from duet_core.trace import Trace

PAPER = (250, 249, 246)
_UNSEEN = 0.55  # how far the photo fades where the encoder never looked


def view_box(grid: Grid) -> Box:
    """Return the box, in pixels of the original, that holds both the whole picture and all that the encoder saw."""
    width, height = grid.picture
    left, top, right, bottom = grid.seen
    return (min(0.0, left), min(0.0, top), max(float(width), right), max(float(height), bottom))


def overlay(photo: Image.Image, trace: Trace, step: int, width: int) -> Image.Image:
    """Draw one step of a trace over its photo, `width` pixels wide; nothing is stretched."""
    view = view_box(trace.grid)
    scale = width / (view[2] - view[0])
    canvas = _laid_out(photo, trace.grid, view, scale)
    labels = trace.labels(step)
    by_fate = {look.fate: look for look in looks(labels)}
    boxes = [_pixels(trace.grid.box(patch), view, scale) for patch in range(trace.grid.patches)]
    veiled = _veil(canvas, boxes, [by_fate[label].veil for label in labels])
    return _marks(veiled, boxes, [by_fate[label] for label in labels])


def _pixels(box: Box, view: Box, scale: float) -> tuple[int, int, int, int]:
    """Return a box of the original in whole pixels of the canvas: (left, top, right, bottom)."""
    left, top, right, bottom = box
    return (
        round((left - view[0]) * scale),
        round((top - view[1]) * scale),
        round((right - view[0]) * scale),
        round((bottom - view[1]) * scale),
    )


def _laid_out(photo: Image.Image, grid: Grid, view: Box, scale: float) -> Image.Image:
    """Place the photo on the view and fade what lies outside the encoder's square."""
    size = _pixels((view[2], view[3], view[2], view[3]), view, scale)[:2]
    canvas = Image.new("RGB", (max(1, size[0]), max(1, size[1])), PAPER)
    place = _pixels((0, 0, *grid.picture), view, scale)
    fitted = photo.resize((max(1, place[2] - place[0]), max(1, place[3] - place[1])), Image.Resampling.LANCZOS)
    canvas.paste(fitted, place[:2])
    faded = Image.blend(canvas, Image.new("RGB", canvas.size, PAPER), _UNSEEN)
    seen = _pixels(grid.seen, view, scale)
    faded.paste(canvas.crop(seen), seen[:2])
    return faded


def _veil(canvas: Image.Image, boxes: list[tuple[int, int, int, int]], veils: list[float]) -> Image.Image:
    """Fade each patch towards paper by its own share."""
    share = np.zeros((canvas.height, canvas.width, 1))
    for (left, top, right, bottom), veil in zip(boxes, veils, strict=True):
        share[top:bottom, left:right] = veil
    mixed = np.asarray(canvas, float) * (1 - share) + np.array(PAPER, float) * share
    return Image.fromarray(mixed.round().astype(np.uint8))


def _marks(canvas: Image.Image, boxes: list[tuple[int, int, int, int]], marks: list[Look]) -> Image.Image:
    """Outline what is still a token of the model and tint what was dropped inside it."""
    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for (left, top, right, bottom), look in zip(boxes, marks, strict=True):
        colour = ImageColor.getrgb(look.colour)
        inside = (left, top, right - 1, bottom - 1)
        if look.fate in {"dominant", "anchor"}:
            draw.rectangle(inside, outline=(*colour, 255), width=2 if look.fate == "anchor" else 1)
        elif look.fate != "dropped-before":
            draw.rectangle(inside, fill=(*colour, 110))
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")


def data_url(picture: Image.Image, form: str = "PNG", side: int | None = None) -> str:
    """Return a picture as a data URL, at most `side` pixels on its longer side."""
    shown = picture.copy()
    if side is not None:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    shown.save(stream, form, quality=88) if form == "JPEG" else shown.save(stream, form, optimize=True)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
