"""What a file is by its first bytes, and whether it is all there, told before any decoder sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from duet_core.clips import refusals
from duet_core.errors import ClipError

_STILL_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"}
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
_PLAYLISTS = (b"ffconcat", b"#EXTM3U", b"[playlist]", b"#EXTINF")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
NAMES = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ogv"}
_MOST_BOXES = 10_000
_LAST_PAGE = 65_307  # the largest page of an Ogg file, in bytes


def is_clip(path: Path) -> bool:
    """Whether a file is to be read as a clip, by its first bytes or its name; reading tells what else is wrong."""
    head = _head(path) if path.is_file() else b""
    return bool(_suffix(head)) or path.suffix.lower() in NAMES


def suffix_of(path: Path) -> str:
    """Return the extension that a clip's first bytes earn it; a ClipError refuses every other file."""
    head = _head(path)
    suffix = _suffix(head)
    if suffix:
        return suffix
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        raise ClipError(refusals.A_PLAYLIST)
    if head.startswith(_PICTURES) or _is_webp(head) or head[4:8] == b"ftyp":
        raise ClipError(refusals.A_PICTURE)
    raise ClipError(refusals.NOT_A_CLIP)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def check_whole(path: Path, suffix: str) -> None:
    """Raise a ClipError when a clip's own sizes say that its end is missing."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            whole = _WHOLE[suffix](file, size)
    except (OSError, OverflowError, struct.error):  # a size that leads beyond what a file can have
        whole = False
    if not whole:
        raise ClipError(refusals.BROKEN)


def _suffix(head: bytes) -> str:
    if head[4:8] == b"ftyp" and head[8:12] not in _STILL_BRANDS:
        return ".mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    if _is_webp(head) and head[12:16] == b"VP8X" and head[20] & 2:
        return ".webp"
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return ".gif"
    return {_EBML: ".webm", b"OggS": ".ogv"}.get(head[:4], "")


def _is_webp(head: bytes) -> bool:
    return len(head) > 20 and head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _mp4_whole(file: BinaryIO, size: int) -> bool:
    """Whether there is an index (`moov`) and no box with content reaches beyond the end."""
    boxes = list(_boxes(file, size))
    return any(name == b"moov" for name, _ in boxes) and all(
        end <= size for name, end in boxes if name in {b"moov", b"mdat", b"moof"}
    )


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield (name, end in bytes) of the boxes at the top of an mp4 file, until they stop making sense."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        length = length or size - place
        if length < 8:
            return
        place += length
        yield name, place


def _webm_whole(file: BinaryIO, size: int) -> bool:
    """Whether the segment ends within the file; a live recording does not tell its length and counts as whole."""
    file.seek(4)
    file.seek(_number(file) or 0, 1)
    if file.read(4) != _SEGMENT:
        return True
    length = _number(file)
    return length is None or file.tell() + length <= size


def _number(file: BinaryIO) -> int | None:
    """Read a number of variable length as EBML writes it; None where it says "unknown"."""
    first = (file.read(1) or b"\xff")[0]
    more = 8 - first.bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(bytes([first]) + file.read(more)) & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _riff_whole(file: BinaryIO, size: int) -> bool:
    """Whether the file is as long as its first chunk says."""
    file.seek(4)
    (length,) = struct.unpack("<I", file.read(4))
    return length + 8 <= size + 1  # an odd length may lack its padding


def _ogg_whole(file: BinaryIO, size: int) -> bool:
    """Whether the last page says that it is the last."""
    file.seek(max(0, size - _LAST_PAGE))
    page = file.read().rpartition(b"OggS")[2]
    return len(page) > 1 and bool(page[1] & 4)


def _gif_whole(file: BinaryIO, size: int) -> bool:
    """Whether the end mark is there, with or without padding."""
    file.seek(max(0, size - 64))
    return file.read().rstrip(b"\0").endswith(b";")


_WHOLE: dict[str, Callable[[BinaryIO, int], bool]] = {
    ".mp4": _mp4_whole,
    ".webm": _webm_whole,
    ".avi": _riff_whole,
    ".webp": _riff_whole,
    ".ogv": _ogg_whole,
    ".gif": _gif_whole,
}
