"""Checksums of what ships with the project and is no code: models, examples, sprites. Verified before the page starts.

`python -m app.seals` writes them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
NAME = "SHA256SUMS"
_SEALED = ("examples", "methods", "models", "sprites")


def seal(assets: Path = ASSETS) -> None:
    """Write the checksums of all sealed files, as `sha256sum` would."""
    lines = [f"{_digest(path)}  {path.relative_to(assets).as_posix()}\n" for path in _files(assets)]
    (assets / NAME).write_text("".join(lines), encoding="utf-8")


def broken(assets: Path = ASSETS) -> list[str]:
    """Return the names of sealed files that are missing, changed, or not sealed."""
    lines = (assets / NAME).read_text(encoding="utf-8").splitlines()
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {path.relative_to(assets).as_posix(): path for path in _files(assets)}
    changed = (name for name, path in found.items() if known.get(name) != _digest(path))
    return sorted({*changed, *(known.keys() - found.keys())})


def check_seals(assets: Path = ASSETS) -> None:
    """End the program with one sentence where a sealed file is not what was shipped."""
    names = broken(assets)
    if names:
        raise SystemExit(
            f"{len(names)} of the files that ship with DUET Lens are missing or changed, such as assets/{names[0]}:"
            " check them out again, or run `make seal` if you changed them yourself."
        )


def _files(assets: Path) -> Iterator[Path]:
    every = (path for part in _SEALED for path in sorted((assets / part).rglob("*")))
    return (path for path in every if path.is_file() and path.suffix != ".md" and path.name[0] != ".")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    seal()
