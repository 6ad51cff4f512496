"""Pictures that are no scene: textures, clouds, piles of leaves, pages of lines, in the manner of photographs.

Composed from noise, so that a model can learn to say that it does not know without being shown anybody's photograph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from duet_core.scenes.layout import SIZE

_LEAVES = 160


def make_foreign(seed: int) -> Image.Image:
    """An RGB picture of 336 x 336 pixels that shows nothing of the drawn world."""
    rng = np.random.default_rng((seed, SIZE))
    paint = _PAINTERS[int(rng.integers(len(_PAINTERS)))]
    picture = paint(rng)
    if rng.random() < 0.5:
        picture = Image.blend(picture, _clouds(rng), float(rng.uniform(0.1, 0.6)))
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3.0))))
    return _exposed(picture, rng)


def _exposed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Another light: paler colours, gamma, gain per channel, and grain."""
    values = np.asarray(picture, np.float32) / 255
    grey = values.mean(-1, keepdims=True)
    values = grey + rng.uniform(0.0, 1.0) * (values - grey)
    values = values ** rng.uniform(0.6, 1.7) * rng.uniform(0.7, 1.15, 3)
    values += rng.normal(0, rng.uniform(0, 0.03), values.shape)
    return Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8))


def _field(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise [S, S] in 0..1 whose spectrum falls with frequency as that of natural pictures does."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    stretch = rng.uniform(0.4, 2.5)
    power = (np.hypot(fy * stretch, fx / stretch) + 1 / SIZE) ** -slope
    waves = power * np.exp(2j * np.pi * rng.random(power.shape))
    field = np.fft.irfft2(waves, (SIZE, SIZE))
    return (field - field.min()) / np.ptp(field)


def _clouds(rng: np.random.Generator) -> Image.Image:
    """Two to four colours blended by smooth noise: skies, walls, skin, water."""
    base = _field(rng, rng.uniform(1.2, 2.2))
    colours = rng.integers(0, 256, (int(rng.integers(2, 5)), 3))
    stops = np.linspace(0, 1, len(colours))
    mixed = np.stack([np.interp(base, stops, colours[:, channel]) for channel in range(3)], -1)
    return Image.fromarray(mixed.astype(np.uint8))


def _leaves(rng: np.random.Generator) -> Image.Image:
    """Things of all sizes on top of each other, few of them large: the dead-leaves model of natural scenes."""
    picture = _clouds(rng)
    draw, palette = ImageDraw.Draw(picture), rng.integers(0, 256, (8, 3))
    for _ in range(int(rng.integers(12, _LEAVES))):
        x, y = rng.uniform(-20, SIZE + 20, 2)
        radius = min(120.0, 6.0 * rng.uniform(0.02, 1) ** -0.9)
        colour = tuple(int(part) for part in np.clip(palette[rng.integers(8)] + rng.normal(0, 22, 3), 0, 255))
        _leaf(draw, float(x), float(y), radius, colour, rng)
    return picture


def _leaf(
    draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple, rng: np.random.Generator
) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    reach = radius * rng.uniform(0.5, 1.6, len(angles))
    corners = zip((x + reach * np.cos(angles)).tolist(), (y + reach * np.sin(angles)).tolist(), strict=True)
    if rng.random() < 0.4:
        high = radius * float(rng.uniform(0.3, 1.0))
        draw.ellipse((x - radius, y - high, x + radius, y + high), fill=colour)
    else:
        draw.polygon(list(corners), fill=colour)


def _ground(rng: np.random.Generator) -> Image.Image:
    """A sky over a rougher ground, with upright things in front."""
    sky, ground = _clouds(rng), _clouds(rng)
    horizon = int(rng.uniform(0.3, 0.8) * SIZE)
    sky.paste(ground.crop((0, 0, SIZE, SIZE - horizon)), (0, horizon))
    draw = ImageDraw.Draw(sky)
    for _ in range(int(rng.integers(0, 14))):
        x, width = rng.uniform(0, SIZE), rng.uniform(4, 70)
        top, colour = horizon - rng.uniform(0, 150), tuple(int(part) for part in rng.integers(0, 200, 3))
        draw.rectangle((x, top, x + width, horizon + rng.uniform(0, 60)), fill=colour)
    return sky


def _page(rng: np.random.Generator) -> Image.Image:
    """Lines as of text, or the boxes of a screen."""
    paper = tuple(int(part) for part in rng.integers(150, 256, 3))
    picture = Image.new("RGB", (SIZE, SIZE), paper)
    draw, pace = ImageDraw.Draw(picture), float(rng.uniform(7, 24))
    for line in range(int(SIZE / pace)):
        x = float(rng.uniform(8, 40))
        while x < SIZE - 20:
            width, ink = float(rng.uniform(3, 38)), int(rng.integers(0, 120))
            draw.rectangle((x, line * pace, x + width, line * pace + pace * 0.55), fill=(ink, ink, ink))
            x += width + float(rng.uniform(3, 12))
    return picture


def _noise(rng: np.random.Generator) -> Image.Image:
    """Three channels of rough noise, more or less alike: grass, gravel, fur."""
    slope, shared = rng.uniform(0.5, 1.6), _field(rng, 1.0)
    mix = rng.uniform(0, 1)
    channels = [mix * shared + (1 - mix) * _field(rng, slope) for _ in range(3)]
    return Image.fromarray((255 * np.stack(channels, -1)).astype(np.uint8))


_PAINTERS: tuple[Callable[[np.random.Generator], Image.Image], ...] = (
    _clouds,
    _leaves,
    _leaves,
    _ground,
    _ground,
    _page,
    _noise,
)
