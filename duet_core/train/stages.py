"""The two stages of a training, one after the other: see, then answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from duet_core.train.labels import COLUMNS
from duet_core.train.language import Alignment, answer_logits
from duet_core.train.lessons import Lesson, exam, gather, lesson, marks, visible
from duet_core.train.loop import Phase, Run, train
from duet_core.train.memory import Views
from duet_core.train.muon import Optimisers, split_matrices
from duet_core.train.packing import pack
from duet_core.train.pictures import Pictures
from duet_core.train.recipe import Recipe
from duet_core.train.tower import TowerHeads, tower_accuracy, tower_loss
from duet_core.train.words import Speech

_FEW_OBJECTS = 3
_ALIGN_WEIGHT = 0.25
_ALIGNED = 128  # patches of a picture that the alignment looks at in a step
_EXAM_BATCH = 12


def train_tower(
    tower: CLIPVisionModel, sets: tuple[Pictures, Pictures], check: Pictures, recipe: Recipe,
    folder: Path,
) -> None:  # fmt: skip
    """Teach the tower its patches, on the two sets of pictures by turns; the tower is changed."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = TowerHeads(tower.config.hidden_size)
    ends = (tower.embeddings, tower.pre_layrnorm, heads)
    others = [weight for end in ends for weight in end.parameters()]
    modules = nn.ModuleDict({"tower": tower, "heads": heads})
    # The last layer is not trained: LLaVA reads the one before it.
    run = Run(folder, modules, Optimisers(*split_matrices(tower.encoder.layers[:-1], others)))
    run.resume()

    def loss_of(phase: Phase, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        pictures, rng = sets[step % len(sets)], np.random.default_rng(step)
        chances = _chances(pictures, phase.cards)
        rows = np.sort(rng.choice(len(pictures), phase.batch, replace=False, p=chances))
        return tower_loss(tower, heads, pictures, rows, phase.tokens)

    train(run, recipe.tower, loss_of, lambda: tower_accuracy(tower, heads, check), recipe.check_every)


def _chances(pictures: Pictures, card_weight: float) -> np.ndarray:
    """How likely each picture is shown, those with a card so many times likelier."""
    with_card = pictures.tables[..., list(COLUMNS).index("units")].any(1)
    weights = np.where(with_card, card_weight, 1.0)
    return weights / weights.sum()


@dataclass(frozen=True, slots=True)
class Pupil:
    """What stage two trains: a model whose tower is frozen, and its alignment losses."""

    model: LlavaForConditionalGeneration
    alignment: Alignment
    speech: Speech

    @property
    def projector(self) -> nn.Module:
        """The MLP between the tower and the language model."""
        return self.model.model.multi_modal_projector

    @property
    def table(self) -> torch.Tensor:
        """The word embeddings, (V, D)."""
        return self.model.model.language_model.embed_tokens.weight

    def answer(self, given: Lesson) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (A, V) and truth (A,) of all answer tokens, and the projected tokens (B, N, D)."""
        seen = self.projector(given.features)
        packed = pack(self.speech, given.questions, given.features.shape[1])
        return *answer_logits(self.model, seen, packed), seen


def align_projector(pupil: Pupil, views: Views, phase: Phase) -> None:
    """Bring projected patches near the words for what they show, before any question is asked."""
    hidden, rest = split_matrices(pupil.projector, pupil.alignment.parameters())
    optimisers = Optimisers(hidden, rest)
    rng = np.random.default_rng(phase.steps)
    for step in range(phase.steps):
        rows = rng.choice(len(views), phase.batch, replace=False)
        patches = visible(views.saliency[rows], phase.tokens, rng)
        features, labels = gather(views, rows, patches)
        pupil.alignment(pupil.projector(features), labels, pupil.table).backward()
        optimisers.step(phase.lr_at(step))


def train_language(pupil: Pupil, views: Views, check: Views, recipe: Recipe, folder: Path) -> dict[str, float]:
    """Teach projector and language model to answer; returns the marks of the last check."""
    folder.mkdir(parents=True, exist_ok=True)
    model = pupil.model
    model.model.vision_tower.requires_grad_(False)
    if not (folder / "last.pt").exists():
        align_projector(pupil, views, recipe.align)
    llama = model.model.language_model
    ends = (llama.embed_tokens, llama.norm, model.lm_head, pupil.projector, pupil.alignment)
    others = [weight for end in ends for weight in end.parameters()]
    # Not the tower: a checkpoint must never bring back another one than the views came from.
    names = ("llama", "projector", "lm_head", "align")
    parts = (llama, pupil.projector, model.lm_head, pupil.alignment)
    modules = nn.ModuleDict(dict(zip(names, parts, strict=True)))
    run = Run(folder, modules, Optimisers(*split_matrices(llama.layers, others)))
    run.resume()
    pools = {"few": _with_few_objects(views), "all": np.arange(len(views))}

    def loss_of(phase: Phase, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng((7, step))
        pool = pools["few" if phase.name == "few" else "all"]
        return _answer_loss(pupil, views, rng.choice(pool, phase.batch, replace=False), phase, rng)

    train(run, recipe.language, loss_of, lambda: sit_exam(pupil, check, recipe), recipe.check_every)
    return sit_exam(pupil, check, recipe)


def _with_few_objects(views: Views) -> np.ndarray:
    few = [len(layout.objects) <= _FEW_OBJECTS for layout in views.layouts]
    return np.flatnonzero(few)


def _answer_loss(
    pupil: Pupil, views: Views, rows: np.ndarray, phase: Phase, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    given = lesson(views, rows, phase, rng)
    logits, truth, seen = pupil.answer(given)
    loss = F.cross_entropy(logits, truth)
    count = given.labels.shape[1]
    some = rng.permutation(count)[:_ALIGNED]  # enough to keep the words, and cheaper than all
    patches = seen[:, -count:][:, some]
    aligned = pupil.alignment(patches, given.labels[:, some], pupil.table)
    right = (logits.argmax(-1) == truth).float().mean()
    parts = {"answer": loss.item(), "align": aligned.item(), "right": right.item()}
    return loss + _ALIGN_WEIGHT * aligned, parts


@torch.no_grad()
def sit_exam(pupil: Pupil, check: Views, recipe: Recipe) -> dict[str, float]:
    """Marks per family on unseen scenes, with all visual tokens."""
    questions, lengths, right = [], [], []
    count = min(recipe.check_pictures, len(check))
    for rows in np.array_split(np.arange(count), -(-count // _EXAM_BATCH)):
        given = exam(check, rows, seed=count)
        logits, truth, _ = pupil.answer(given)
        right.append(logits.argmax(-1) == truth)
        questions += given.questions
        asked = (question for picture in given.questions for question in picture)
        lengths += [len(pupil.speech.turn(question).answered) for question in asked]
    return marks(questions, lengths, torch.cat(right))
