"""What the language model is shown: which subjects, which of their tokens, which questions in which words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from duet_core.merging import merge
from duet_core.plan import Plan, Size, Stages, duet_schedule, scheduled
from duet_core.scenes.actors import ClipLayout
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.layout import make_layout
from duet_core.scenes.question import REFUSALS, UNKNOWN, Question
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.wordings import sloppy, trained
from duet_core.train.labels import COLUMNS, GRID
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
# How often an offered question is asked: what is easy less.
_ASKED = {"existence": 0.35, "background": 0.15, "colour": 0.6, "presence": 0.4, "motion": 0.3, "direction": 0.3}
_FIRST = ("caption", "number", "story")  # asked before any others
_MOST = 3  # questions of a kind offered per subject, but of those that lag:
_LAGGING = {"is_beyond": 7, "what_beyond": 5, "what_at": 4, "count": 5}
_OUTSIDE = 0.1  # share of questions from outside the world
_CANONICAL = 0.15  # share of questions in canonical wording
_OFTEN = 2.5  # how much more often than others a clip is shown in which something flashes: counting is learnt last
_FOREIGN = 0.06  # share of steps on pictures that are no scene
_UNREAD = 0.06  # share of labels that a written token lacks, as a patch may be read wrong
# Shares of pictures whose patches do not tell this at all, as the tower often cannot: it must be worked out.
_HIDDEN = {"count": 0.7, "rank": 0.4}


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
    outside: float = _OUTSIDE
    readings: bool = True
    thinned: float = 0.0
    least: int = 100
    blind: float = 0.0
    halved: float = 0.0

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


def ask(subject: Subject, rng: np.random.Generator, most: int, outside: float = _OUTSIDE) -> list[Question]:
    """Fresh questions about a subject, 1 to `most`, worded and typed as visitors do, some from outside the world."""
    offered = _offered(subject, rng)
    taken = [question for question in offered if rng.random() < _ASKED.get(question.family, 1.0)] or offered[:1]
    mixed = [taken[k] for k in rng.permutation(len(taken))]
    chosen = sorted(mixed, key=lambda question: question.family not in _FIRST)[:most]
    return [_worded(trained().refusal(rng) if rng.random() < outside else one, rng) for one in chosen]


def _offered(subject: Subject, rng: np.random.Generator) -> list[Question]:
    """A few questions of every kind, more of those that are learnt last."""
    counts: Counter[str] = Counter()
    few = []
    for question in offer(subject, rng, max(_LAGGING.values())):
        counts[question.kind] += 1
        if counts[question.kind] <= _LAGGING.get(question.kind, _MOST):
            few.append(question)
    return few


def offer(subject: Subject, rng: np.random.Generator, most: int) -> list[Question]:
    """Questions about a scene or a clip; those about anything, all unanswerable, for a picture that is no scene."""
    if isinstance(subject, ClipLayout):
        return list(draw_clip_questions(subject, rng, most))
    if subject is not None:
        return list(draw_questions(subject, rng, most))
    elsewhere = draw_questions(make_layout(rng), rng, most)
    return [replace(question, family=REFUSALS, answer=UNKNOWN) for question in elsewhere]


def _worded(question: Question, rng: np.random.Generator) -> Question:
    if question.kind and rng.random() >= _CANONICAL:
        question = trained().reword(question, rng)
    return replace(question, text=sloppy(question.text, rng))


def entering(views: Views, rows: np.ndarray, plan: Plan) -> tuple[Tensor, Tensor]:
    """Features (B, F * n1, Dv) of what enters of these pictures under the plan, and its labels (B, F * n1, columns)."""
    features = torch.from_numpy(views.features[rows].astype(np.float32))  # (B * F, 577, Dv)
    table = views.tables[rows[:, None], views.owners[rows]].astype(np.int64)  # (B * F, 576, columns)
    labels = torch.from_numpy(np.pad(table, ((0, 0), (1, 0), (0, 0))))  # CLS shows nothing of its own
    if plan.dominant is None:
        tokens, labels = features[:, 1:], labels[:, 1:]
    else:
        keys = torch.from_numpy(views.keys[rows].astype(np.float32))
        scores = torch.from_numpy(views.scores[rows].astype(np.float32))
        merged = merge(features, keys, scores, plan.dominant, plan.contextual, plan.cluster_width)
        tokens = merged.tokens  # (B * F, n1, Dv)
        own = labels.gather(1, merged.dominant[..., None].expand(-1, -1, labels.shape[-1]))
        labels = torch.nn.functional.pad(own, (0, 0, 0, tokens.shape[1] - own.shape[1]))  # merged ones show a mixture
    shape = len(rows) // views.frames, views.frames * tokens.shape[1]
    return tokens.reshape(*shape, -1), labels.reshape(*shape, -1)


def written(views: Views, subjects: np.ndarray, rng: np.random.Generator) -> Tensor:
    """The labels (B, F * n, columns) of a few tokens per picture: every thing some times, in reading order."""
    rows = views.rows(subjects)
    count = int(rng.integers(5, 13)) if views.frames > 1 else int(rng.integers(10, 41))
    tables = views.tables[rows].astype(np.int64)
    things = (tables[:, 1:, 0] > 0).sum(1)
    chosen = rng.integers(0, things[:, None] + 1, (len(rows), count))
    seats = np.minimum(np.arange(count), things[:, None])  # the first seats go to each thing once
    chosen = np.where(np.arange(count) <= things[:, None], seats, chosen)
    # Background tokens lie between the things, wherever.
    order = np.where(chosen == 0, rng.random(chosen.shape) * (things[:, None] + 1), chosen)
    chosen = np.take_along_axis(chosen, order.argsort(1), 1)
    labels = tables[np.arange(len(rows))[:, None], chosen]  # (B * F, n, columns)
    labels = labels * (rng.random(labels.shape) > _UNREAD)
    for column, chance in _HIDDEN.items():
        labels[..., list(COLUMNS).index(column)] *= rng.random((len(rows), 1)) > chance
    return torch.from_numpy(labels).reshape(len(subjects), -1, len(COLUMNS))
