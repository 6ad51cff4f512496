"""Pictures made in code: good ones in awkward formats, and bad ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def half_and_half(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture that is red on the left and blue on the right, in any mode."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels).convert(mode)


def rotated_by_exif(path: Path) -> Path:
    """Write a JPEG whose pixels lie on their side and whose EXIF says so: upright it is red left, blue right."""
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees clockwise to see it upright
    half_and_half().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    return path


def sixteen_bits(path: Path) -> Path:
    """Write a 16-bit grey PNG, black on the left and white on the right."""
    pixels = np.zeros((48, 64), np.uint16)
    pixels[:, 32:] = 65535
    Image.fromarray(pixels).save(path)
    return path


def see_through(path: Path) -> Path:
    """Write an RGBA PNG, opaque red on the left and fully transparent black on the right."""
    picture = half_and_half("RGBA")
    picture.paste((0, 0, 0, 0), (32, 0, 64, 48))
    picture.save(path)
    return path


def palette_see_through(path: Path) -> Path:
    """Write a palette PNG whose blue half is transparent."""
    picture = half_and_half("P")
    blue = picture.getpixel((60, 10))
    picture.save(path, transparency=blue)
    return path


def cmyk(path: Path) -> Path:
    """Write a CMYK JPEG."""
    half_and_half("CMYK").save(path, quality=95)
    return path


def text_named_png(path: Path) -> Path:
    """Write a text file under a picture's name."""
    path.write_text("this is no picture\n" * 20)
    return path


def truncated_jpeg(path: Path) -> Path:
    """Write the first half of a JPEG."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def bomb(path: Path, side: int = 13_000) -> Path:
    """Write a tiny file that is a black PNG of side x side pixels, without ever holding these."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
