"""Trace -> pictures: the photo under the fate of its patches, one picture per step (numpy and Pillow only)."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from app.fates import Look, looks
from duet_core.grid import Box, Grid
from duet_core.trace import Trace

Pixels = tuple[int, int, int, int]
PAPER = (250, 249, 246)
_GAP, _LETTER = 4, 0.66  # pixels between frames; size of a letter as a share of its patch
_LINE = (255, 255, 255)  # between patches that nothing has happened to
_UNSEEN = 0.55  # how far the photo fades where the encoder never looked


def view_box(grid: Grid) -> Box:
    """Return the box, in pixels of the original, that holds both the whole picture and all that the encoder saw."""
    lefts, tops, rights, bottoms = zip((0.0, 0.0, *map(float, grid.picture)), grid.seen, *grid.crops, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))


def overlay(photo: Image.Image, trace: Trace, step: int, width: int, frame: int = 0) -> Image.Image:
    """Draw one step of a trace over the photo of a frame, `width` pixels wide; nothing is stretched."""
    if not step:
        view = view_box(trace.grid)
        return _laid_out(photo, trace.grid, view, width / (view[2] - view[0]), frame)
    return painted(photo, trace.grid, marks_of(trace, step), width, frame)


def marks_of(trace: Trace, step: int) -> list[Look]:
    """Return the look of every patch as of a step."""
    labels = trace.labels(step)
    by_fate = {look.fate: look for look in looks(labels)}
    return [by_fate[label] for label in labels]


def painted(photo: Image.Image, grid: Grid, marks: Sequence[Look], width: int, frame: int = 0) -> Image.Image:
    """Draw the looks of all patches (P of them) over the photo of a frame; glyphs of one letter are written out.

    Frames that share their patches show the same looks, each over its own photo.
    """
    view = view_box(grid)
    scale = width / (view[2] - view[0])
    own = grid.frame_patches(grid.home(frame))
    boxes, shown = [_pixels(grid.box(patch), view, scale) for patch in own], [marks[patch] for patch in own]
    tinted = _tinted(_laid_out(photo, grid, view, scale, frame), boxes, shown)
    return _lettered(_framed(tinted, boxes, shown), boxes, shown)


def ruled(photo: Image.Image, grid: Grid, width: int, frame: int = 0) -> Image.Image:
    """Draw the photo of a frame with lines between its patches, `width` pixels wide."""
    view = view_box(grid)
    scale = width / (view[2] - view[0])
    canvas = _laid_out(photo, grid, view, scale, frame)
    pen = ImageDraw.Draw(canvas)
    for patch in grid.frame_patches(grid.home(frame)):
        pen.rectangle(_pixels(grid.box(patch), view, scale), outline=_LINE)
    return canvas


def sheet(photos: Sequence[Image.Image], grid: Grid, marks: Sequence[Look], width: int) -> Image.Image:
    """Draw the looks of all patches over every frame, the frames in rows, `width` pixels wide together."""
    columns = ceil(sqrt(len(photos)))
    each = (width - _GAP * (columns - 1)) // columns
    drawn = [painted(photo, grid, marks, each, frame) for frame, photo in enumerate(photos)]
    across, down = drawn[0].width + _GAP, drawn[0].height + _GAP
    rows = ceil(len(drawn) / columns)
    board = Image.new("RGBA", (across * columns - _GAP, down * rows - _GAP))
    for number, frame_picture in enumerate(drawn):
        board.paste(frame_picture, (number % columns * across, number // columns * down))
    return board if len(drawn) > 1 else drawn[0]


def _pixels(box: Box, view: Box, scale: float) -> Pixels:
    """Return a box of the original in whole pixels of the canvas: (left, top, right, bottom)."""
    left, top, right, bottom = box
    return (
        round((left - view[0]) * scale),
        round((top - view[1]) * scale),
        round((right - view[0]) * scale),
        round((bottom - view[1]) * scale),
    )


def _laid_out(photo: Image.Image, grid: Grid, view: Box, scale: float, frame: int) -> Image.Image:
    """Place the photo on the view and fade what lies outside the frame's (or crop's) square."""
    size = _pixels((view[2], view[3], view[2], view[3]), view, scale)[:2]
    canvas = Image.new("RGB", (max(1, size[0]), max(1, size[1])), PAPER)
    place = _pixels((0, 0, *grid.picture), view, scale)
    fitted = photo.resize((max(1, place[2] - place[0]), max(1, place[3] - place[1])), Image.Resampling.LANCZOS)
    canvas.paste(fitted, place[:2])
    faded = Image.blend(canvas, Image.new("RGB", canvas.size, PAPER), _UNSEEN)
    seen = _pixels(grid.seen_by(frame), view, scale)
    faded.paste(canvas.crop(seen), seen[:2])
    return faded


def _tinted(canvas: Image.Image, boxes: list[Pixels], marks: list[Look]) -> Image.Image:
    """Fade each patch towards paper and lay its colour over it, as its look says."""
    pixels = np.asarray(canvas, float)
    veil, tint = np.array(PAPER, float), np.zeros_like(pixels)
    veils, tints = np.zeros((*pixels.shape[:2], 1)), np.zeros((*pixels.shape[:2], 1))
    for (left, top, right, bottom), look in zip(boxes, marks, strict=True):
        inside = slice(max(0, top), bottom), slice(max(0, left), right)
        veils[inside] = look.veil
        tint[inside] = ImageColor.getrgb(look.colour)
        tints[inside] = look.tint
    faded = pixels * (1 - veils) + veil * veils
    return Image.fromarray((faded * (1 - tints) + tint * tints).round().astype(np.uint8))


def _framed(canvas: Image.Image, boxes: list[Pixels], marks: list[Look]) -> Image.Image:
    """Draw a line around what is still a token of the model, one colour per fate."""
    pixels = np.asarray(canvas).copy()
    for look in dict.fromkeys(mark for mark in marks if mark.framed):
        pixels[_edge(_mask(canvas, boxes, [mark == look for mark in marks]))] = ImageColor.getrgb(look.colour)
    return Image.fromarray(pixels)


def _lettered(canvas: Image.Image, boxes: list[Pixels], marks: list[Look]) -> Image.Image:
    """Write the letter of each look that has one into its patches, dark on light."""
    pen = ImageDraw.Draw(canvas)
    for (left, top, right, bottom), look in zip(boxes, marks, strict=True):
        if look.glyph.isalpha():
            font = ImageFont.load_default(max(6, round((bottom - top) * _LETTER)))
            middle = ((left + right) / 2, (top + bottom) / 2)
            pen.text(middle, look.glyph, "#10141a", font, anchor="mm", stroke_width=2, stroke_fill="#ffffff")
    return canvas


def _mask(canvas: Image.Image, boxes: list[Pixels], chosen: list[bool]) -> np.ndarray:
    """Return [height, width] bool: the pixels of the chosen patches."""
    mask = np.zeros((canvas.height, canvas.width), bool)
    for (left, top, right, bottom), inside in zip(boxes, chosen, strict=True):
        mask[max(0, top) : bottom, max(0, left) : right] = inside
    return mask


def _edge(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that touch one outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def data_url(picture: Image.Image, form: str = "PNG", side: int | None = None) -> str:
    """Return a picture as a data URL, at most `side` pixels on its longer side."""
    shown = picture.copy()
    if side is not None:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    return url_of(file_of(shown, form), form)


def file_of(picture: Image.Image, form: str = "PNG") -> bytes:
    """Return a picture as the content of a file."""
    stream = io.BytesIO()
    picture.save(stream, form, quality=88) if form == "JPEG" else picture.save(stream, form, optimize=True)
    return stream.getvalue()


def url_of(content: bytes, form: str = "PNG") -> str:
    """Return the content of a picture's file as a data URL."""
    return f"data:image/{form.lower()};base64,{base64.b64encode(content).decode()}"
