"""What the field's trained modules learn from: questions about pictures and clips, answered by a frozen model.

B sequences, I pictures, P patches of each, V visual tokens of a sequence, D the encoder's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from duet_core.methods.quecc_trained import STRIDES, QueCC
from duet_core.methods.vq_attn import MOST, VQAttn, codes_of
from duet_core.scenes.question import Question
from duet_core.train.asking import ask, offer
from duet_core.train.labels import GRID
from duet_core.train.language import Answers, answer_logits
from duet_core.train.lessons import Shown, show
from duet_core.train.loop import Losses
from duet_core.train.packing import Pack, pack
from duet_core.train.views import Views
from duet_core.train.words import Speech

Asked = Sequence[Sequence[Question]]
"""The questions about each of some subjects."""


class FieldLesson(Protocol):
    """What one step needs."""

    @property
    def pack(self) -> Pack:
        """The questions."""

    def tokens(self, module: Any, embed: nn.Module) -> Tensor:
        """Let the module make the visual tokens (B, V, D) of all sequences, before the projector."""


@dataclass(frozen=True, slots=True)
class QueccLesson:
    """A sequence for each question, since its tokens are its own: `patches` (I, P, D), I = B * F frames."""

    patches: Tensor
    pack: Pack
    stride: int

    def tokens(self, module: Any, embed: nn.Module) -> Tensor:
        """Ask about each picture what its sequence asks, by the mean of the words that guide."""
        guides = self.pack.guides.unsqueeze(-1)  # (B, S, 1)
        question = (embed(self.pack.ids) * guides).sum(1) / guides.sum(1)  # (B, words)
        frames = len(self.patches) // len(question)
        made, _ = module(self.patches, question.repeat_interleave(frames, 0), self.stride, (GRID, GRID))
        return made.reshape(len(question), -1, made.shape[-1])


@dataclass(frozen=True, slots=True)
class VqLesson:
    """A sequence for each clip with all its questions: `codes` (B, K, D), `index` (B, F, P), tokens of a frame."""

    codes: Tensor
    index: Tensor
    pack: Pack
    each: int

    def tokens(self, module: Any, embed: nn.Module) -> Tensor:
        """Read the index map."""
        return module(self.codes, self.index, self.each)[0].flatten(1, 2)


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the field's modules: `make(width, words)` it, and teach it `levels` with `lesson(...)`.

    `levels`: how strongly it reduces, one drawn for each step. `questions`: at most, about a subject; `apart`: whether
    each has a sequence of its own. `clips`: share of steps on clips.
    """

    method: str
    make: Callable[[int, int], nn.Module]
    levels: tuple[int, ...]
    lesson: Callable[[Views, Shown, Asked, int, Speech], FieldLesson]
    questions: int
    apart: bool
    clips: float

    def subjects(self, pictures: int, frames: int) -> int:
        """How many subjects of so many frames make up a step of so many pictures."""
        return max(1, pictures // (frames * (self.questions if self.apart else 1)))


def quecc_lesson(views: Views, shown: Shown, asked: Asked, stride: int, speech: Speech) -> FieldLesson:
    """The lesson of asking these questions about subjects, each block of patches being one token."""
    many = torch.tensor([len(own) for own in asked])
    patches = _patches(views, shown).unflatten(0, (len(asked), -1)).repeat_interleave(many, 0)  # (B, F, P, D)
    packed = pack(speech, [[one] for own in asked for one in own], views.frames, (GRID // stride) ** 2)
    return QueccLesson(patches.flatten(0, 1), packed, stride)


def vq_lesson(views: Views, shown: Shown, asked: Asked, each: int, speech: Speech) -> FieldLesson:
    """The lesson of asking these questions about clips that come as so many tokens a frame."""
    clips = _patches(views, shown).unflatten(0, (len(asked), -1))  # (B, F, P, D)
    codes, index = (torch.stack(parts) for parts in zip(*(codes_of(own, each) for own in clips), strict=True))
    return VqLesson(codes, index, pack(speech, asked, views.frames, each), each)


def _patches(views: Views, shown: Shown) -> Tensor:
    return torch.from_numpy(views.features[shown.rows][:, 1:].astype(np.float32))  # (I, P, D)


KINDS = {
    "quecc": Kind("quecc-trained", QueCC, STRIDES, quecc_lesson, questions=4, apart=True, clips=0.25),
    "vqattn": Kind(
        "vq-attn", lambda width, _: VQAttn(width, GRID * GRID), tuple(range(1, MOST + 1)), vq_lesson, 12, False, 1.0
    ),
}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Sets of views to learn from; a larger set comes up more often."""

    scenes: tuple[Views, ...]
    clips: tuple[Views, ...]

    def choose(self, clip: bool, rng: np.random.Generator) -> Views:
        """One of the sets."""
        sets = self.clips if clip else self.scenes
        sizes = np.array([len(views) for views in sets])
        return sets[int(rng.choice(len(sets), p=sizes / sizes.sum()))]


def draw_field(kind: Kind, shelf: Shelf, speech: Speech, pictures: int, rng: np.random.Generator) -> FieldLesson:
    """What one step of so many pictures shows; clips come in any rhythm, and backwards too."""
    views = shelf.choose(bool(rng.random() < kind.clips), rng)
    level = int(rng.choice(kind.levels))
    numbers = rng.choice(len(views), min(len(views), kind.subjects(pictures, views.frames)), replace=False)
    shown = show(views, numbers, rng)
    return kind.lesson(views, shown, [ask(own, rng, kind.questions) for own in shown.subjects], level, speech)


class FieldPupil(nn.Module):
    """A module before a model that stays as it is; forward is the loss of the model's answers."""

    def __init__(self, model: LlavaForConditionalGeneration, module: nn.Module) -> None:
        super().__init__()
        model.requires_grad_(False)
        self.learner, self.llama, self.head = module, model.model.language_model, model.lm_head
        self.projector = model.model.multi_modal_projector

    def answer(self, lesson: FieldLesson) -> Answers:
        """The answers to all questions of a lesson."""
        made = lesson.tokens(self.learner, self.llama.embed_tokens)  # (B, V, D)
        return answer_logits(self.llama, self.head, self.projector(made), lesson.pack)

    def forward(self, lesson: FieldLesson) -> Losses:
        """The loss of one lesson, and the share of words that are right."""
        logits, truth, _ = self.answer(lesson)
        right = (logits.argmax(-1) == truth).float().mean()
        return F.cross_entropy(logits.float(), truth), {"right": right}


@torch.no_grad()
def examine(pupil: FieldPupil, kind: Kind, shelf: Shelf, speech: Speech, most: int) -> dict[str, float]:
    """The share of unseen questions, in canonical words, answered without a wrong token, for each level.

    About the first `most` scenes and clips of the shelf.
    """
    marks = {}
    for what, sets in (("pictures", shelf.scenes), ("clips", shelf.clips)):
        for level in kind.levels if sets else ():
            rights = [right for views in sets for right in _sat(pupil, kind, views, level, speech, most)]
            marks[f"{what} {level}"] = sum(rights) / len(rights)
    return marks


def _sat(pupil: FieldPupil, kind: Kind, views: Views, level: int, speech: Speech, most: int) -> list[bool]:
    rights: list[bool] = []
    for number in range(min(most, len(views))):
        shown = show(views, np.array([number]))
        asked = [offer(shown.subjects[0], np.random.default_rng((11, number)), 1)]
        logits, truth, _ = pupil.answer(kind.lesson(views, shown, asked, level, speech))
        lengths = [len(speech.turn(question).answered) for question in asked[0]]
        rights += [bool(part.all()) for part in (logits.argmax(-1) == truth).split(lengths)]
    return rights
