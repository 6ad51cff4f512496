"""Build one sprite atlas per emoji set: `python scripts/make_sprites.py SOURCES`.

SOURCES is a folder with the unpacked packages: `noto` (Debian fonts-noto-color-emoji, by `dpkg -x`),
`twemoji` (npm @twemoji/svg 15.0.0), `fluent-flat` and `fluent-3d` (npm @lobehub/fluent-emoji-flat
and -3d 1.1.0). SVG files are drawn by `rsvg-convert` (Debian librsvg2-bin). Nothing of this is
needed to run the app: the atlases are committed.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from duet_core.scenes.things import EMOJI_THINGS

CELL = 112
COLUMNS = 8
NOTO_SIZE = 109  # the only strike of the bitmap font
OUT = Path(__file__).resolve().parents[1] / "assets" / "sprites"


def from_font(folder: Path, emoji: str) -> Image.Image:
    """Draw one emoji of the Noto bitmap font."""
    font = ImageFont.truetype(str(next(folder.rglob("NotoColorEmoji.ttf"))), NOTO_SIZE)
    picture = Image.new("RGBA", (160, 160))
    text = chr(int(emoji, 16))
    ImageDraw.Draw(picture).text((10, 10), text, font=font, embedded_color=True)
    return picture


def from_svg(folder: Path, emoji: str) -> Image.Image:
    """Draw one emoji of a folder of SVG files."""
    command = ["rsvg-convert", "-w", "160", "-h", "160", str(find(folder, emoji, "svg"))]
    drawn = subprocess.run(command, check=True, capture_output=True).stdout
    return Image.open(io.BytesIO(drawn)).convert("RGBA")


def from_webp(folder: Path, emoji: str) -> Image.Image:
    """Read one emoji of a folder of WebP files."""
    return Image.open(find(folder, emoji, "webp")).convert("RGBA")


def find(folder: Path, emoji: str, suffix: str) -> Path:
    """The file of an emoji, with or without its variation selector."""
    names = (f"{emoji}.{suffix}", f"{emoji}-fe0f.{suffix}")
    return next(path for name in names for path in folder.rglob(name))


READERS: dict[str, Callable[[Path, str], Image.Image]] = {
    "noto": from_font,
    "twemoji": from_svg,
    "fluent-flat": from_svg,
    "fluent-3d": from_webp,
}


def fit(picture: Image.Image) -> Image.Image:
    """Trim the empty border and centre the rest in a cell."""
    trimmed = picture.crop(picture.getchannel("A").getbbox())
    scale = CELL / max(trimmed.size)
    size = tuple(max(1, round(side * scale)) for side in trimmed.size)
    cell = Image.new("RGBA", (CELL, CELL))
    small = trimmed.resize(size, Image.Resampling.LANCZOS)
    cell.paste(small, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return cell


def build(style: str, folder: Path) -> None:
    """Write the atlas of one style and its index {name: [left, top, right, bottom]}."""
    rows = -(-len(EMOJI_THINGS) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    index = {}
    for number, thing in enumerate(EMOJI_THINGS):
        left, top = number % COLUMNS * CELL, number // COLUMNS * CELL
        atlas.paste(fit(READERS[style](folder, thing.emoji)), (left, top))
        index[thing.name] = [left, top, left + CELL, top + CELL]
    atlas.save(OUT / style / "atlas.webp", quality=92, method=6)
    (OUT / style / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def main() -> None:
    """Build every atlas from the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    sources = parser.parse_args().sources
    for style in READERS:
        (OUT / style).mkdir(parents=True, exist_ok=True)
        build(style, sources / style)


if __name__ == "__main__":
    main()
