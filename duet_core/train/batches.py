"""Batches of conversations by number: the same for the same seed, however many processes share them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from duet_core.engine import Model
from duet_core.errors import PlanError
from duet_core.methods import find_method
from duet_core.plan import Plan, Size, Stages, target_budget
from duet_core.prompt import Shown
from duet_core.tiles import tiles_in
from duet_core.train.conversations import Conversation, Example, encode, processor_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples with one picture each: its `pixels` as the image processor returns them, its size, and its tokens."""

    pixels: list[dict[str, Tensor]]
    sizes: list[Size]
    examples: list[Example]

    @property
    def targets(self) -> int:
        """How many tokens the loss asks for."""
        return sum(example.targets for example in self.examples)


def make_batch(model: Model, conversations: Sequence[Conversation], longest: int | None = None) -> Batch:
    """Open the pictures and tokenise the texts; a ConversationError names an entry that cannot be used."""
    processor = processor_of(model).image_processor
    pixels = [conversation.pixels(processor) for conversation in conversations]
    sizes, shown = sizes_of(model, pixels)
    pairs = zip(conversations, shown, strict=True)
    return Batch(pixels, sizes, [encode(model, conversation, longest, own) for conversation, own in pairs])


def sizes_of(model: Model, pixels: Sequence[dict[str, Tensor]]) -> tuple[list[Size], list[Shown]]:
    """Return what plans for pictures depend on, and what each of them is in its prompt."""
    eye = model.backbone.eye(clip=False)
    sizes = [model.backbone.size_of(eye, own) for own in pixels]
    pairs = zip(sizes, pixels, strict=True)
    return sizes, [Shown.of(eye, size.frames, size.tokens, tiles_in(own)) for size, own in pairs]


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of each batch is this process's: the samples rank, rank + ranks, ..."""

    rank: int = 0
    ranks: int = 1


class Feed:
    """Endless shuffled batches; the next one is made in a thread while the model learns this one."""

    def __init__(
        self,
        model: Model,
        conversations: Sequence[Conversation],
        batch: int,
        seed: int,
        share: Share,
        longest: int | None,
    ) -> None:
        if batch % share.ranks:
            raise PlanError(f"A batch of {batch} samples cannot be shared by {share.ranks} processes; give a multiple.")
        self._model, self._conversations, self._longest = model, conversations, longest
        self._batch, self._seed, self._share = batch, seed, share
        self._order = lru_cache(maxsize=2)(self._shuffled)
        # One thread: tokenizers cannot be shared by several.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ahead: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        """This process's share of the batch of a step."""
        now = self._ahead.pop(step, None) or self._thread.submit(self._make, step)
        self._ahead = {step + 1: self._thread.submit(self._make, step + 1)}
        return now.result()

    def rows(self, step: int) -> list[int]:
        """The numbers of a step's samples: every conversation comes once before any comes again."""
        count = len(self._conversations)
        places = range(step * self._batch, (step + 1) * self._batch)
        return [int(self._order(place // count)[place % count]) for place in places]

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self._conversations))

    def _make(self, step: int) -> Batch:
        own = self.rows(step)[self._share.rank :: self._share.ranks]
        return make_batch(self._model, [self._conversations[row] for row in own], self._longest)


@dataclass(frozen=True, slots=True)
class Budgets:
    """Average visual tokens per layer, from `low` to `high`: one number, or one drawn for every batch."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Budgets:
        """Read `192` or `64-300`; a PlanError says what is wrong."""
        low, _, high = text.partition("-")
        if not low.isdigit() or not (high or low).isdigit() or int(low) > int(high or low):
            raise PlanError(f"The budget {text!r} is none; write one number like 192, or a range like 64-300.")
        return cls(int(low), int(high or low))

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    def draw(self, seed: int, step: int) -> int:
        """The budget of a step, the same in every process."""
        return int(np.random.default_rng((seed, step)).integers(self.low, self.high + 1))


def plan_for(method: str, budget: float, stages: Stages, size: Size) -> Plan:
    """The plan of a method for a picture's budget, with both stages or with one of them alone."""
    return find_method(method).schedule(target_budget(size, budget=budget), size).only(stages)


def plans_for(method: str, budget: float, stages: Stages, sizes: Sequence[Size]) -> list[Plan]:
    """The plan of each picture; one with fewer tokens than the budget keeps them all."""
    within = {size: min(max(budget, size.parts), size.total) for size in sizes}
    made = {size: plan_for(method, own, stages, size) for size, own in within.items()}
    return [made[size] for size in sizes]
