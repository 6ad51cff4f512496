"""Scenes and clips as files, with a list of their questions and true answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from PIL import Image

from duet_core.scenes.clip import Clip, make_clip
from duet_core.scenes.scene import Scene, make_scene

FRAME_MS: Final = 500
"""How long a frame of a clip is shown."""


def write_scenes(folder: Path, seeds: Iterable[int], style: str | None = None) -> None:
    """Write each scene as a PNG, all questions to questions.json, and the same as LLaVA's conversations.json."""
    _write(folder, _pictures(folder, seeds, style))
    rows = json.loads((folder / "questions.json").read_text())
    (folder / "conversations.json").write_text(json.dumps([_conversation(row) for row in rows], indent=1) + "\n")


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    """Return a scene's questions and answers as one conversation that `train finetune` reads."""
    said = [
        (role, question[key]) for question in row["questions"] for role, key in (("human", "text"), ("gpt", "answer"))
    ]
    turns = [{"from": role, "value": text} for role, text in said]
    return {"id": str(row["seed"]), "image": row["picture"], "conversations": turns}


def write_clips(folder: Path, seeds: Iterable[int], style: str | None = None) -> None:
    """Write each clip as a lossless animated WebP of two frames a second, and all questions to questions.json."""
    _write(folder, _clips(folder, seeds, style))


def _write(folder: Path, rows: Iterator[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.json").write_text(json.dumps(list(rows), indent=1) + "\n")


def _pictures(folder: Path, seeds: Iterable[int], style: str | None) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        scene = make_scene(seed, style)
        name = f"scene-{seed}.png"
        save(folder / name, [scene.image])
        yield {"picture": name, **_about(scene)}


def _clips(folder: Path, seeds: Iterable[int], style: str | None) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        clip = make_clip(seed, style)
        name = f"clip-{seed}.webp"
        save(folder / name, clip.frames)
        yield {"clip": name, **_about(clip)}


def save(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write a picture as a small PNG, or a clip as a lossless animated WebP."""
    first, *others = frames
    if others:
        first.save(path, save_all=True, append_images=others, duration=FRAME_MS, loop=0, lossless=True)
    else:
        first.save(path, optimize=True)


def _about(subject: Scene | Clip) -> dict[str, Any]:
    questions = [asdict(question) for question in subject.questions]
    return {"seed": subject.seed, "style": subject.style, "questions": questions}
