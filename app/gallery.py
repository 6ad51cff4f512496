"""The example pictures: their questions, their truth, and one finished run each, recorded when they were made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.duel import Duel
from duet_core.plan import Size
from duet_core.scenes import Question, judge

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
_ANY_PICTURE = ("What is in the picture?", "What colour is the background?", "What is in the middle?")


@dataclass(frozen=True, slots=True)
class Example:
    """A scene whose truth is known. `suggested`: three questions to begin with; `reduction`: percent, as recorded."""

    name: str
    file: Path
    key: str
    questions: tuple[Question, ...]
    suggested: tuple[str, ...]
    reduction: float
    method: str
    duel: Duel

    @property
    def picture(self) -> Image.Image:
        """The picture as RGB."""
        with Image.open(self.file) as stored:
            return stored.convert("RGB")


@dataclass(frozen=True, slots=True)
class Gallery:
    """All examples. `model`, `size`, `machine`, `day`: what recorded their runs, where and when."""

    examples: tuple[Example, ...]
    model: str
    size: Size
    machine: str
    day: str

    @property
    def origin(self) -> str:
        """Say where the recorded figures come from."""
        return f"Recorded with {self.model} on {self.machine}, {self.day}. Press Ask to measure on this machine."

    def find(self, picture: Image.Image) -> Example | None:
        """Return the example with exactly these pixels, however the picture came here."""
        key = picture_key(picture)
        return next((example for example in self.examples if example.key == key), None)

    def suggestions(self, picture: Image.Image | None) -> tuple[str, ...]:
        """Return three questions that fit a picture."""
        example = self.find(picture) if picture is not None else None
        return example.suggested if example else _ANY_PICTURE

    def truth(self, picture: Image.Image, question: str) -> Question | None:
        """Return the question with its true answer if it is one whose truth the example knows."""
        example = self.find(picture)
        known = example.questions if example else ()
        return next((entry for entry in known if _bare(entry.text) == _bare(question)), None)


def _bare(question: str) -> str:
    """A question without what people leave out when they type: capitals, spaces, the mark at its end."""
    return " ".join(question.lower().split()).rstrip("?.! ")


def picture_key(picture: Image.Image) -> str:
    """Return a fingerprint of a picture's size and pixels."""
    rgb = picture.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()


def is_right(question: Question | None, answer: str) -> bool | None:
    """Whether an answer is right; None where the truth is not known."""
    return None if question is None else judge(question, answer)


def load_gallery(folder: Path = FOLDER) -> Gallery:
    """Read the examples that scripts/make_examples.py wrote."""
    data = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    examples = tuple(_example(folder, entry) for entry in data["examples"])
    return Gallery(examples, data["model"], Size(**data["size"]), data["machine"], data["day"])


def _example(folder: Path, entry: dict[str, Any]) -> Example:
    with Image.open(folder / entry["picture"]) as stored:
        key = picture_key(stored)
    return Example(
        name=entry["name"],
        file=folder / entry["picture"],
        key=key,
        questions=tuple(Question(**question) for question in entry["questions"]),
        suggested=tuple(entry["suggested"]),
        reduction=entry["reduction"],
        method=entry["method"],
        duel=Duel.from_json(entry["duel"]),
    )
