"""Pictures of single objects: emoji from the atlases, shapes and number cards by drawing."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from duet_core.scenes.things import CARD, COLOURS, SHAPES

ATLASES = Path(__file__).resolve().parents[2] / "assets" / "sprites"
TRAINING_STYLES = ("noto", "twemoji", "fluent-flat")
HELD_OUT_STYLE = "fluent-3d"
STYLES = (*TRAINING_STYLES, HELD_OUT_STYLE)
_FINE = 3  # shapes are drawn larger and scaled down, which smooths their edges


def draw_object(name: str, style: str, size: int, colour: str | None, number: int | None) -> Image.Image:
    """One upright object as an RGBA picture of size x size pixels."""
    if name == CARD.name:
        large = _card(size * _FINE, COLOURS[colour or "white"], str(number))
    elif any(shape.name == name for shape in SHAPES):
        large = _shape(name, size * _FINE, COLOURS[colour or "red"])
    else:
        large = emoji(style, name)
    return large.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)


@cache
def emoji(style: str, name: str) -> Image.Image:
    """The sprite of one emoji thing, as the atlas of the style holds it."""
    atlas, index = _atlas(style)
    left, top, right, bottom = index[name]
    return atlas.crop((left, top, right, bottom))


@cache
def _atlas(style: str) -> tuple[Image.Image, dict[str, list[int]]]:
    folder = ATLASES / style
    index = json.loads((folder / "index.json").read_text())
    return Image.open(folder / "atlas.webp").convert("RGBA"), index


def _darker(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (int(part * 0.78) for part in colour)
    return red, green, blue


@cache
def _shape(name: str, size: int, colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(picture)
    edge, width = _darker(colour), size // 24
    box = (width, width, size - width - 1, size - width - 1)
    if name == "circle":
        draw.ellipse(box, fill=colour, outline=edge, width=width)
    elif name == "square":
        draw.rounded_rectangle(box, size // 14, fill=colour, outline=edge, width=width)
    else:
        outline = [(x * size, y * size) for x, y in _OUTLINES[name]()]
        draw.polygon(outline, fill=colour)
        draw.line([*outline, outline[0]], fill=edge, width=width, joint="curve")
    return picture


def _triangle() -> list[tuple[float, float]]:
    return [(0.5, 0.06), (0.96, 0.92), (0.04, 0.92)]


def _star() -> list[tuple[float, float]]:
    corners = ((0.48 if k % 2 == 0 else 0.21, k * math.pi / 5) for k in range(10))
    return [(0.5 + r * math.sin(a), 0.52 - r * math.cos(a)) for r, a in corners]


def _heart() -> list[tuple[float, float]]:
    angles = (k * math.pi / 30 for k in range(60))
    return [(0.5 + 0.46 * math.sin(a) ** 3, 0.46 - _heart_height(a)) for a in angles]


def _heart_height(angle: float) -> float:
    waves = 13 * math.cos(angle) - 5 * math.cos(2 * angle)
    return (waves - 2 * math.cos(3 * angle) - math.cos(4 * angle)) * 0.029


_OUTLINES = {"triangle": _triangle, "star": _star, "heart": _heart}


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _card(size: int, colour: tuple[int, int, int], text: str) -> Image.Image:
    picture = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(picture)
    box = (1, 1, size - 2, size - 2)
    draw.rounded_rectangle(box, size // 8, fill=colour, outline=_darker(colour), width=size // 24)
    ink = (250, 250, 250) if sum(colour) < 400 else (30, 30, 36)
    middle, font = (size / 2, size / 2), _font(int(size * 0.74))
    draw.text(middle, text, ink, font, anchor="mm", stroke_width=size // 60)
    return picture
