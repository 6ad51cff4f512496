"""The example pictures and clips: their questions, their truth, and one recorded run each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from app.duel import Duel
from app.film import Film, Subject, key_of
from duet_core.plan import Size
from duet_core.scenes import Question, judge
from duet_core.scenes.files import FRAME_MS

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
_ANY_CLIP = ("What happens in the clip?", "What moves?", "What appears?")
_ANY_PICTURE = ("What is in the picture?", "What colour is the background?", "What is in the middle?")


@dataclass(frozen=True, slots=True)
class Example:
    """A scene or clip whose truth is known. `suggested`: three questions to begin with; `reduction`: percent."""

    name: str
    file: Path
    key: str
    questions: tuple[Question, ...]
    suggested: tuple[str, ...]
    reduction: float
    method: str
    duel: Duel

    @property
    def subject(self) -> Subject:
        """The picture as RGB, or the clip with all its frames."""
        return read_subject(self.file)


def read_subject(file: Path) -> Subject:
    """Read a stored example: a picture, or a clip where the file has several frames."""
    with Image.open(file) as stored:
        if not getattr(stored, "is_animated", False):
            return stored.convert("RGB")
        frames = tuple(frame for shown in ImageSequence.Iterator(stored) for frame in _held(shown))
    return Film(frames, tuple(k * FRAME_MS / 1000 for k in range(len(frames))))


def _held(shown: Image.Image) -> list[Image.Image]:
    """Repeat a frame for as long as it is shown: the encoder has joined frames that are the same."""
    shown.load()  # the duration is known only now
    return [shown.convert("RGB")] * round(shown.info["duration"] / FRAME_MS)


@dataclass(frozen=True, slots=True)
class Gallery:
    """All examples: pictures and `clips`. `model`, `size`, `machine`, `day`: what recorded them, where and when."""

    examples: tuple[Example, ...]
    clips: tuple[Example, ...]
    model: str
    size: Size
    machine: str
    day: str

    @property
    def origin(self) -> str:
        """Say where the recorded figures come from."""
        return f"Recorded with {self.model} on {self.machine}, {self.day}. Press Ask to measure on this machine."

    def find(self, subject: Subject) -> Example | None:
        """Return the example with exactly these pixels, however they came here."""
        key = key_of(subject)
        return next((example for example in (*self.examples, *self.clips) if example.key == key), None)

    def label(self, example: Example) -> str:
        """Return the name by which links and bundles call an example: `picture-1`, `clip-1`, and so on."""
        kind, own = ("clip", self.clips) if self.is_clip(example) else ("picture", self.examples)
        return f"{kind}-{next(number for number, one in enumerate(own, 1) if one is example)}"

    def labelled(self, label: str) -> Example | None:
        """Return the example of such a name."""
        return next((one for one in (*self.examples, *self.clips) if self.label(one) == label), None)

    def is_clip(self, example: Example) -> bool:
        """Whether an example is one of the clips."""
        return any(example is one for one in self.clips)

    def suggestions(self, subject: Subject | None, is_clip: bool) -> tuple[str, ...]:
        """Return three questions that fit a picture or clip."""
        example = self.find(subject) if subject is not None else None
        return example.suggested if example else _ANY_CLIP if is_clip else _ANY_PICTURE

    def truth(self, subject: Subject, question: str) -> Question | None:
        """Return the question with its true answer if it is one whose truth the example knows."""
        example = self.find(subject)
        known = example.questions if example else ()
        return next((entry for entry in known if _bare(entry.text) == _bare(question)), None)


def _bare(question: str) -> str:
    """A question without what people leave out when they type: capitals, spaces, the mark at its end."""
    return " ".join(question.lower().split()).rstrip("?.! ")


def is_right(question: Question | None, answer: str) -> bool | None:
    """Whether an answer is right; None where the truth is not known."""
    return None if question is None else judge(question, answer)


def load_gallery(folder: Path = FOLDER) -> Gallery:
    """Read the examples that scripts/make_examples.py wrote."""
    data = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    pictures, clips = (tuple(_example(folder, entry) for entry in data[name]) for name in ("examples", "clips"))
    return Gallery(pictures, clips, data["model"], Size(**data["size"]), data["machine"], data["day"])


def _example(folder: Path, entry: dict[str, Any]) -> Example:
    file = folder / entry["file"]
    return Example(
        name=entry["name"],
        file=file,
        key=key_of(read_subject(file)),
        questions=tuple(Question(**question) for question in entry["questions"]),
        suggested=tuple(entry["suggested"]),
        reduction=entry["reduction"],
        method=entry["method"],
        duel=Duel.from_json(entry["duel"]),
    )
