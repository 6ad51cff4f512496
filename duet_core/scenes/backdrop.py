"""Backgrounds: a named pastel with a gentle gradient, soft clouds of light and a quiet pattern."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from duet_core.scenes.things import BACKGROUNDS

_COARSE = 7  # cells a side of the noise that becomes soft light


@cache
def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    return np.meshgrid(axis, axis)


def backdrop(name: str, size: int, rng: np.random.Generator) -> Image.Image:
    """An RGB picture of size x size pixels in the named background colour."""
    x, y = _axes(size)
    angle = rng.uniform(0, 2 * np.pi)
    light = 10.0 * (np.cos(angle) * x + np.sin(angle) * y)  # (S, S)
    light += _clouds(size, rng) + _pattern(x, y, rng)
    base = np.asarray(BACKGROUNDS[name], dtype=np.float32)
    pixels = base + light[..., None]  # (S, S, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.normal(0.0, 5.0, (_COARSE, _COARSE)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _pattern(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dots, stripes, hills or nothing, a few grey levels strong."""
    kind, phase, pace = rng.integers(4), rng.uniform(0, 6.0), rng.uniform(14.0, 26.0)
    if kind == 0:
        return 5.0 * (np.sin(pace * x + phase) * np.sin(pace * y) > 0.8)
    if kind == 1:
        return 4.0 * (np.sin(pace * (x + y) + phase) > 0.5)
    if kind == 2:
        return -7.0 * (y > 0.45 + 0.2 * np.sin(3.0 * x + phase))
    return np.zeros_like(x)
