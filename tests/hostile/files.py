"""Pictures and clips that are not what they seem, as bytes."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests import pictures

CLIPS = Path(__file__).parent.parent / "clips"


def by(write: Callable[[Path], Path], name: str = "x.png") -> bytes:
    """Return what one of our writers of bad pictures writes."""
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / name).read_bytes()


def saved(picture: Image.Image, kind: str, **more: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


GOOD = saved(pictures.half_and_half(), "PNG")


def png(width: int, height: int, data: bytes = b"", *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG whose header says anything."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pictures._chunk(name, content) for name, content in chunks)


def text_bomb() -> bytes:
    """A PNG with a compressed text of 100 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    return png(64, 64, zlib.compress(bytes(64 * 193)), (b"zTXt", b"Comment\0\0" + packed))


def bad_crc() -> bytes:
    data = bytearray(GOOD)
    data[40] ^= 255
    return bytes(data)


def claimed_jpeg() -> bytes:
    """A small JPEG whose frame header says 65,500 x 65,500."""
    data = bytearray(saved(pictures.half_and_half(), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def bad_exif() -> bytes:
    return saved(pictures.half_and_half(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 400)


def bad_profile() -> bytes:
    return png(64, 64, zlib.compress(bytes(64 * 193)), (b"iCCP", b"x\0\0" + zlib.compress(b"no profile" * 99)))


def moving_png() -> bytes:
    frames = [Image.new("RGB", (32, 32), (k, 0, 0)) for k in range(60)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("picture.png", GOOD)
    return stream.getvalue()


def half_webp() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    data = saved(Image.fromarray(noise), "WEBP")
    return data[: len(data) // 2]


def clip(name: str) -> bytes:
    return (CLIPS / name).read_bytes()


def noisy(start: bytes, size: int = 4000) -> bytes:
    return start + np.random.default_rng(1).bytes(size)


def gif_bomb() -> bytes:
    """A GIF of 65,535 x 65,535 in a few bytes."""
    screen = struct.pack("<HHBBB", 65535, 65535, 0xF0, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"


def endless_mp4() -> bytes:
    """A good clip whose index says that it lasts for ages."""
    data = bytearray(clip("smallest.mp4"))
    place = data.index(b"mvhd")
    data[place + 20 : place + 24] = b"\xff" * 4
    return bytes(data)
