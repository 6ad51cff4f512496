"""What the accuracy bench asks: pictures and clips with questions whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from duet_core.engine import Picture
from duet_core.errors import PictureError
from duet_core.scenes import make_scene
from duet_core.scenes.actors import FRAMES
from duet_core.scenes.clip import make_clip
from duet_core.scenes.foreign import make_foreign
from duet_core.scenes.question import REFUSALS, UNKNOWN, Question
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.scene import compose
from duet_core.scenes.wordings import held_out, sloppy, trained
from duet_core.shell import open_picture

GROUP_SEEDS: Final = 10_000
"""Seeds of one group of scenes: the next group begins that much further on."""
FEWEST: Final = 5
"""Questions about a scene or clip, at least."""
WORDINGS: Final = ("canonical", "trained", "held-out")
PHOTOGRAPHS: Final = (".jpg", ".jpeg", ".png", ".webp")
_SAYING = 7  # keeps the draw of words apart from that of the scene


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or clip and what is asked about it; items with the same `unit` are not independent."""

    unit: str
    group: int
    picture: Picture
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Exam:
    """A subject in a wording; `style` is the scenes' sprite style, `photos` the folder of photographs."""

    subject: str
    wording: str = WORDINGS[0]
    style: str | None = None
    photos: Path | None = None

    @property
    def in_world(self) -> bool:
        """Whether the model can know the answers; otherwise UNKNOWN is the right one."""
        return self.subject in ("pictures", "clips")

    @property
    def frames(self) -> int | None:
        """Frames of what is asked about, or None where it is pictures."""
        return FRAMES if self.subject == "clips" else None

    def items(self, seed: int, n: int, groups: int = 1) -> Iterator[Item]:
        """Yield groups of scenes from `seed` on, `n` questions in each group (its last scene may be cut short)."""
        for group in range(groups):
            first, asked = seed + group * GROUP_SEEDS, 0
            for own in range(first, first + GROUP_SEEDS):
                unit, picture, questions = SUBJECTS[self.subject](self, own)
                yield Item(unit, group, picture, questions[: n - asked])
                asked += len(questions)
                if asked >= n:
                    break


Drawn = tuple[str, Picture, tuple[Question, ...]]


def _picture(exam: Exam, seed: int) -> Drawn:
    scene = make_scene(seed, exam.style)
    return str(seed), scene.image, _said(scene.questions, exam, seed)


def _clip(exam: Exam, seed: int) -> Drawn:
    clip = make_clip(seed, exam.style)
    return str(seed), clip.frames, _said(clip.questions, exam, seed)


def _outside(exam: Exam, seed: int) -> Drawn:
    """Questions from outside the world about a scene."""
    rng = np.random.default_rng((seed, _SAYING))
    wordings = held_out() if exam.wording == "held-out" else trained()
    questions = [wordings.refusal(rng) for _ in range(FEWEST)]
    if exam.wording == "trained":
        questions = [_sloppily(question, rng) for question in questions]
    return str(seed), make_scene(seed, exam.style).image, tuple(questions)


def _foreign(exam: Exam, seed: int) -> Drawn:
    return str(seed), make_foreign(seed), _misplaced(exam, seed)


def _photo(exam: Exam, seed: int) -> Drawn:
    photographs = photographs_in(exam.photos)
    path = photographs[seed % len(photographs)]
    return path.name, open_picture(path), _misplaced(exam, seed)


SUBJECTS: Final[dict[str, Callable[[Exam, int], Drawn]]] = {
    "pictures": _picture,
    "clips": _clip,
    "outside": _outside,
    "foreign": _foreign,
    "photos": _photo,
}


def _misplaced(exam: Exam, seed: int) -> tuple[Question, ...]:
    """The questions of the seed's scene, asked about something else."""
    _, layout, rng = compose(seed)
    questions = _said(draw_questions(layout, rng, most=1), exam, seed)
    return tuple(replace(question, family=REFUSALS, answer=UNKNOWN) for question in questions)


def _said(questions: tuple[Question, ...], exam: Exam, seed: int) -> tuple[Question, ...]:
    """The questions in the exam's wording."""
    if exam.wording == "canonical":
        return questions
    rng = np.random.default_rng((seed, _SAYING))
    if exam.wording == "held-out":
        return tuple(held_out().reword(question, rng) for question in questions)
    return tuple(_sloppily(trained().reword(question, rng), rng) for question in questions)


def _sloppily(question: Question, rng: np.random.Generator) -> Question:
    return replace(question, text=sloppy(question.text, rng))


@lru_cache(maxsize=8)
def photographs_in(folder: Path | None) -> tuple[Path, ...]:
    """Return the picture files of a folder by name; a PictureError says what is missing."""
    if folder is None:
        raise PictureError("The exam photos needs a folder of photographs; give it with --photos FOLDER.")
    if not folder.is_dir():
        raise PictureError(f"There is no folder {folder}; check the path given with --photos.")
    found = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOGRAPHS))
    if not found:
        raise PictureError(f"The folder {folder} holds no picture; put {', '.join(PHOTOGRAPHS)} files into it.")
    return found
