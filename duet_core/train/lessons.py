"""What the language model is shown in one step of training: which subjects, under which plan, seen or told in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from duet_core.errors import PlanError
from duet_core.plan import Plan, Size, Stages, duet_schedule, scheduled
from duet_core.scenes.actors import ClipLayout
from duet_core.scenes.question import Question
from duet_core.train.asking import OUTSIDE, ask
from duet_core.train.entering import entering, written
from duet_core.train.labels import GRID
from duet_core.train.language import Drops
from duet_core.train.loop import Phase
from duet_core.train.packing import Pack, pack
from duet_core.train.pictures import Subject
from duet_core.train.recall import courses
from duet_core.train.retime import draw_frames, retimed
from duet_core.train.thinning import thinned
from duet_core.train.views import Views
from duet_core.train.words import Speech

ALL = GRID * GRID
_OFTEN = 2.5  # how much more often than others a clip is shown in which something flashes: counting is learnt last
_FOREIGN = 0.06  # share of steps on pictures that are no scene


@dataclass(frozen=True)
class LanguagePhase(Phase):
    """A phase of the language model.

    `written`: share of steps on scenes written down as words, not seen; `written_batch` of them, or of clips.
    `clips`, `written_clips`: share of clips among the seen and the written steps, `clip_batch` at most of seen ones.
    `reduced`, `reduced_clips`: share of seen steps with DUET in the loop, at budgets (average visual tokens per layer
    and picture) drawn evenly on a log scale from `budgets`; its `stages` are drawn from. A batch is so small that at
    most `tokens` visual tokens enter. `questions`: at most, per subject; `apart` where stage 2 parts them; `outside`:
    share of those from outside the world. `readings`: whether visual tokens of clips also tell what came before them.
    `thinned`: share of the seen clip steps that show a part of the entering tokens, at least `least` of a frame.
    `blind`: share of the lessons that prune nothing else whose last quarter of the layers sees no visual token, as in
    DUET's plans; `halved`: share of those in words that lose half of their tokens before, as there, too.
    """

    written: float = 0.0
    written_clips: float = 0.3
    written_batch: tuple[int, int] = (32, 12)
    clips: float = 0.0
    clip_batch: int = 4
    reduced: float = 0.0
    reduced_clips: float = 1.0
    budgets: tuple[float, float] = (40, 300)
    clip_budgets: tuple[float, float] = (16, 300)
    stages: tuple[Stages, ...] = ("both",)
    tokens: int = 7500
    questions: int = 10
    apart: int = 4
    outside: float = OUTSIDE
    readings: bool = True
    thinned: float = 0.0
    least: int = 100
    blind: float = 0.0
    halved: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a budget of more tokens than a picture has with a PlanError: it would reduce nothing, unnoticed."""
        for name in ("budgets", "clip_budgets"):
            if (most := max(getattr(self, name))) > ALL:
                raise PlanError(
                    f"The {name} of phase {self.name} go up to {most:g} visual tokens a picture, of which it has {ALL};"
                    " give those of one picture, not of a whole clip."
                )

    def subjects(self, frames: int, each: int) -> int:
        """How many subjects of so many frames, with `each` tokens a frame, a seen step takes."""
        most = self.batch if frames == 1 else self.clip_batch
        return max(1, min(most, self.tokens // (frames * each)))


@dataclass(frozen=True, slots=True)
class Lesson:
    """B subjects: tower features (B, V, Dv) of the entering tokens, or None where they come as words.

    `labels` (B, V, columns) int64, zero where a token has none; `drops`: the pruning layers; `courses` (B, F,
    1 + kinds) int64: of clips, where every thing is when.
    """

    features: Tensor | None
    labels: Tensor
    pack: Pack
    drops: Drops
    courses: Tensor | None = None

    def to(self, device: torch.device) -> Lesson:
        """The same lesson on another device."""
        features, past = (None if part is None else part.to(device) for part in (self.features, self.courses))
        return Lesson(features, self.labels.to(device), self.pack.to(device), self.drops, past)


@dataclass(frozen=True, slots=True)
class Library:
    """All that lessons are made of; `told` are further subjects that are only told about, if there are any."""

    scenes: Views
    foreign: Views
    clips: Views
    layers: int
    told: Library | None = None

    def size(self, frames: int = 1) -> Size:
        """What plans for subjects of so many frames depend on."""
        return Size(ALL, self.layers, frames)


def draw_lesson(library: Library, speech: Speech, phase: LanguagePhase, rng: np.random.Generator) -> Lesson:
    """Everything one training step needs."""
    is_written = rng.random() < phase.written
    lesson = (_written_lesson if is_written else _seen_lesson)(library, speech, phase, rng)
    if not lesson.drops and rng.random() < phase.blind:
        is_halved = is_written and rng.random() < phase.halved
        lesson = replace(lesson, drops=_drops(scheduled(Plan(), library.layers))[0 if is_halved else -1 :])
    return lesson if phase.readings else replace(lesson, courses=None)


def _seen_lesson(library: Library, speech: Speech, phase: LanguagePhase, rng: np.random.Generator) -> Lesson:
    is_clip = bool(rng.random() < phase.clips)
    views = _shelf(library, is_clip, rng)
    plan = _draw_plan(phase, is_clip, library.size(views.frames), rng)
    entered = plan.entering(library.size())
    kept = _draw_kept(phase, entered, rng) if is_clip else entered
    shown = show(views, _choose(views, phase.subjects(views.frames, kept), rng), rng)
    most = phase.apart if plan.layers else phase.questions
    asked = [ask(subject, rng, most, phase.outside) for subject in shown.subjects]
    seen = entering(views, shown.rows, plan)
    if kept < entered:
        seen = thinned(*seen, views.frames, kept, rng)
    return _lesson(views.frames, shown, asked, plan, speech, *seen)


@dataclass(frozen=True, slots=True)
class Shown:
    """Some subjects and the pictures [B * F] of theirs that are shown, in order."""

    subjects: list[Subject]
    rows: np.ndarray


def show(views: Views, numbers: np.ndarray, rng: np.random.Generator | None = None) -> Shown:
    """The subjects of these numbers; with `rng` clips come in any rhythm, and backwards too."""
    subjects, rows = [views.subjects[int(number)] for number in numbers], views.rows(numbers)
    if rng is None or views.frames == 1:
        return Shown(subjects, rows)
    clips = [clip for clip in subjects if isinstance(clip, ClipLayout)]
    frames = np.stack([draw_frames(clip, rng) for clip in clips])  # (B, F)
    retold: list[Subject] = [retimed(clip, own) for clip, own in zip(clips, frames, strict=True)]
    return Shown(retold, np.take_along_axis(rows.reshape(frames.shape), frames, 1).reshape(-1))


def seen_lesson(views: Views, shown: Shown, asked: Sequence[Sequence[Question]], plan: Plan, speech: Speech) -> Lesson:
    """The lesson of asking these questions about subjects that are seen under a plan."""
    return _lesson(views.frames, shown, asked, plan, speech, *entering(views, shown.rows, plan))


def _lesson(
    frames: int, shown: Shown, asked: Sequence[Sequence[Question]], plan: Plan, speech: Speech, features: Tensor,
    labels: Tensor,
) -> Lesson:  # fmt: skip
    packed = pack(speech, asked, frames, features.shape[1] // frames)
    return Lesson(features, labels, packed, _drops(plan), _past(shown.subjects))


def _drops(plan: Plan) -> Drops:
    return tuple(zip(plan.layers, plan.keep, strict=True))


def _written_lesson(library: Library, speech: Speech, phase: LanguagePhase, rng: np.random.Generator) -> Lesson:
    is_clip = bool(rng.random() < phase.written_clips)
    views = _shelf(library.told or library, is_clip, rng)
    subjects = _choose(views, phase.written_batch[is_clip], rng)
    asked = [ask(views.subjects[int(row)], rng, phase.questions, phase.outside) for row in subjects]
    labels = written(views, subjects, rng)
    packed = pack(speech, asked, views.frames, labels.shape[1] // views.frames)
    return Lesson(None, labels, packed, (), _past([views.subjects[int(row)] for row in subjects]))


def _past(subjects: Sequence[Subject]) -> Tensor | None:
    clips = [clip for clip in subjects if isinstance(clip, ClipLayout)]
    return courses(clips) if clips else None


def _shelf(library: Library, is_clip: bool, rng: np.random.Generator) -> Views:
    if is_clip:
        return library.clips
    return library.foreign if rng.random() < _FOREIGN else library.scenes


def _choose(views: Views, many: int, rng: np.random.Generator) -> np.ndarray:
    often = np.array([_OFTEN if _flashes(subject) else 1.0 for subject in views.subjects])
    return rng.choice(len(views), min(len(views), many), replace=False, p=often / often.sum())


def _flashes(subject: Subject) -> bool:
    return isinstance(subject, ClipLayout) and subject.script == "flash"


def _draw_plan(phase: LanguagePhase, is_clip: bool, size: Size, rng: np.random.Generator) -> Plan:
    if rng.random() >= (phase.reduced_clips if is_clip else phase.reduced):
        return Plan(method="none")
    low, high = phase.clip_budgets if is_clip else phase.budgets
    stages = phase.stages[int(rng.integers(len(phase.stages)))]
    return duet_schedule("duet", size.frames * _log_uniform(rng, low, high), size).only(stages)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _draw_kept(phase: LanguagePhase, entered: int, rng: np.random.Generator) -> int:
    """How many of the tokens that enter of a frame are shown: all, or evenly on a log scale fewer."""
    if rng.random() >= phase.thinned or entered <= phase.least:
        return entered
    return round(_log_uniform(rng, phase.least, entered))
