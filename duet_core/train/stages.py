"""The stages of duet-mini's training, each a module whose forward is a loss: see, then speak, then answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from duet_core.train.attention import CHUNKED
from duet_core.train.exam import Exam, sit
from duet_core.train.language import Answers, answer_logits
from duet_core.train.lessons import LanguagePhase, Lesson, Library, draw_lesson
from duet_core.train.lexicon import Lexicon
from duet_core.train.loop import Losses, Trainer
from duet_core.train.muon import optimisers
from duet_core.train.pictures import Painted
from duet_core.train.recall import Recall
from duet_core.train.tower import TowerHeads, TowerPhase, tower_accuracy, tower_loss
from duet_core.train.words import Speech

_ALIGN_WEIGHT = 0.25
_RECALL_WEIGHT = 0.3
_ALIGNED = 128  # tokens of a subject that the alignment looks at in a step
_NOISE = 0.35  # of written tokens, as a share of their length: no projector will ever be exact
_BLUR = 0.15  # noise on what the tower sees, in standard deviations


class TowerLesson(nn.Module):
    """The tower and its readings; forward is their loss."""

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        self.tower, self.heads = tower, TowerHeads(tower.config.hidden_size)

    def forward(self, images: Tensor, labels: Tensor, window: int) -> Losses:
        """See `tower_loss`."""
        return tower_loss(self.tower, self.heads, images, labels, window)


def train_tower(
    tower: CLIPVisionModel, sets: dict[str, Painted], check: Painted, phases: Sequence[TowerPhase], folder: Path,
    accelerator: Accelerator, check_every: int,
) -> None:  # fmt: skip
    """Teach the tower its patches, on the sets by turns; the tower is changed."""
    tower.set_attn_implementation(CHUNKED)
    lesson = TowerLesson(tower)
    # The last layer is not trained: LLaVA reads the one before it.
    inner = tower.encoder.layers[:-1]
    ends = (tower.embeddings, tower.pre_layrnorm, lesson.heads)
    trainer = Trainer.prepare(accelerator, lesson, optimisers(inner, ends), folder)

    def batch_of(phase: TowerPhase, step: int) -> tuple[Tensor, Tensor, int]:
        rng = np.random.default_rng((step, accelerator.process_index))
        pictures = sets[phase.sets[step % len(phase.sets)]]
        return phase.draw(pictures, rng, accelerator.device)

    def check_now() -> dict[str, float]:
        return tower_accuracy(tower, lesson.heads, check)

    trainer.train(phases, batch_of, check_now, check_every)
    tower.set_attn_implementation("sdpa")


class LanguageLesson(nn.Module):
    """Projector and language model; forward is the loss of answers and of the alignment."""

    def __init__(self, model: LlavaForConditionalGeneration, lexicon: Lexicon) -> None:
        super().__init__()
        self.llama, self.head = model.model.language_model, model.lm_head
        self.projector = model.model.multi_modal_projector
        self.lexicon, self.recall = lexicon, Recall(self.table.shape[1])

    @property
    def table(self) -> Tensor:
        """The word embeddings (V, D)."""
        return self.llama.embed_tokens.weight

    def tokens(self, lesson: Lesson) -> Tensor:
        """The visual tokens (B, V, D) that enter: projected features, or words with some noise."""
        if lesson.features is not None:
            return self.projector(self._blurred(lesson.features))
        exact = self.lexicon.write(lesson.labels, self.table)
        return exact + _NOISE * torch.randn_like(exact) if self.training else exact

    def _blurred(self, features: Tensor) -> Tensor:
        """Features as another picture of the same might have them, while training: so that none is learnt by heart."""
        return features + _BLUR * features.std() * torch.randn_like(features) if self.training else features

    def answer(self, lesson: Lesson) -> Answers:
        """The answers to all questions of a lesson."""
        return self._answer(lesson, self.tokens(lesson))

    def _answer(self, lesson: Lesson, seen: Tensor) -> Answers:
        return answer_logits(self.llama, self.head, seen, lesson.pack, lesson.drops)

    def forward(self, lesson: Lesson) -> Losses:
        """The loss of one lesson, and its parts."""
        seen = self.tokens(lesson)
        logits, truth, halfway = self._answer(lesson, seen)
        loss = F.cross_entropy(logits.float(), truth)
        parts = {"answer": loss.detach(), "right": (logits.argmax(-1) == truth).float().mean()}
        if lesson.courses is not None:
            recalled = self.recall(halfway, lesson.courses, lesson.labels[..., 0])
            loss, parts["recall"] = loss + _RECALL_WEIGHT * recalled, recalled.detach()
        if lesson.features is not None:
            some = torch.randperm(seen.shape[1], device=seen.device)[:_ALIGNED]
            aligned = self.lexicon.alignment(seen[:, some], lesson.labels[:, some], self.table)
            loss, parts["align"] = loss + _ALIGN_WEIGHT * aligned, aligned.detach()
        return loss, parts


class AlignLesson(nn.Module):
    """The projector alone; forward is how far patches lie from the words for what they show."""

    table: Tensor

    def __init__(self, model: LlavaForConditionalGeneration, lexicon: Lexicon) -> None:
        super().__init__()
        self.projector, self.lexicon = model.model.multi_modal_projector, lexicon
        words: Any = model.get_input_embeddings()
        self.register_buffer("table", words.weight.detach(), persistent=False)

    def forward(self, lesson: Lesson) -> Losses:
        """The alignment loss of one lesson."""
        loss = self.lexicon.alignment(self.projector(lesson.features), lesson.labels, self.table)
        return loss, {"align": loss.detach()}


@dataclass(frozen=True, slots=True)
class Pupil:
    """What the later stages train, and with what: everything but the lessons, which are drawn from `seed`."""

    model: LlavaForConditionalGeneration
    speech: Speech
    lexicon: Lexicon
    exams: Sequence[Exam]
    seed: int = 0


def align_projector(
    pupil: Pupil, library: Library, phase: LanguagePhase, folder: Path, accelerator: Accelerator
) -> None:
    """Bring projected patches near the words for what they show, before any question is asked."""
    lesson = AlignLesson(pupil.model, pupil.lexicon)
    trainer = Trainer.prepare(accelerator, lesson, optimisers([lesson.projector], ()), folder)
    trainer.train([phase], lambda phase, step: (lesson_at(pupil, library, phase, step, accelerator),))


def train_language(
    pupil: Pupil, library: Library, phases: Sequence[LanguagePhase], folder: Path, accelerator: Accelerator,
    check_every: int,
) -> dict[str, float]:  # fmt: skip
    """Teach projector and language model to answer; returns the marks of the exams."""
    pupil.model.model.vision_tower.requires_grad_(False)
    lesson = LanguageLesson(pupil.model, pupil.lexicon).train()
    llama = lesson.llama
    ends = (llama.embed_tokens, llama.norm, lesson.head, lesson.projector, lesson.recall)
    trainer = Trainer.prepare(accelerator, lesson, optimisers(llama.layers, ends), folder)

    def check() -> dict[str, float]:
        lesson.eval()
        with accelerator.autocast():
            marks = sit(lesson, pupil.speech, pupil.exams)
        lesson.train()
        return marks

    trainer.train(
        phases, lambda phase, step: (lesson_at(pupil, library, phase, step, accelerator),), check, check_every
    )
    return trainer.marks or check()


def lesson_at(pupil: Pupil, library: Library, phase: LanguagePhase, step: int, accelerator: Accelerator) -> Lesson:
    """The lesson of a step: the same one whenever a training with the pupil's seed comes there."""
    rng = np.random.default_rng((7, step, accelerator.process_index, pupil.seed))
    return draw_lesson(library, pupil.speech, phase, rng).to(accelerator.device)
