"""What a method is: at most two hooks, and the numbers it makes of a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from duet_core.decoder import Boundary
from duet_core.plan import Plan, Size
from duet_core.trace import Fate
from duet_core.vision import Evidence


@dataclass(frozen=True, slots=True)
class Look:
    """What a method may look at before the language model: I pictures of P patches, N = P + `extra` encoder tokens.

    `features` [I, N, D] encoder output, the `extra` tokens (CLS) first; `evidence()` computes scores and keys.
    """

    features: Tensor
    extra: int
    evidence: Callable[[], Evidence]

    @property
    def patches(self) -> int:
        """Patches per picture."""
        return self.features.shape[1] - self.extra


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the P patches of I pictures, int64 but for the scores.

    `fate` [I, P] (`Fate`); `joined` [I, P] the patch whose token a patch became part of, -1 for none; `token_of` [I, P]
    that token's number among its picture's n1, -1 for none. `scores` [I, P] fp32, NaN where the method has none.
    """

    fate: Tensor
    joined: Tensor
    token_of: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class Selection:
    """What enters the language model: `tokens` [I, n1, D] of I pictures before the projector.

    `places` [I, n1] int64: the encoder token at whose place each of them stands, a merged one at its anchor's.
    `fates()` works out what became of the patches. It is for the trace alone, so the engine calls it when the run is
    over: keeping book must not count as selecting.
    """

    tokens: Tensor
    places: Tensor
    fates: Callable[[], Fates]

    def in_place(self) -> Selection:
        """Return the same selection with its tokens in the order of their places."""
        order = self.places.argsort(dim=1)  # (I, n1)
        rows = order.unsqueeze(-1).expand(-1, -1, self.tokens.shape[-1])
        return Selection(self.tokens.gather(1, rows), self.places.gather(1, order), partial(_renumbered, self, order))


@dataclass(frozen=True, slots=True)
class Method(ABC):
    """One way to drop visual tokens; `plan` holds its hyper-parameters."""

    title: ClassVar[str]
    plan: Plan

    @staticmethod
    @abstractmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan whose average of visual tokens per layer comes closest to `target`."""

    def after_vision(self, look: Look) -> Selection | None:
        """Choose what enters the language model; None lets everything in."""
        return None

    def at_layer(self, boundary: Boundary) -> list[Tensor] | None:
        """Choose what stays before a layer, as ascending indices per sample; None keeps everything."""
        return None


def _renumbered(selection: Selection, order: Tensor) -> Fates:
    """Return a selection's fates with its tokens numbered in another order."""
    fates = selection.fates()
    new = order.argsort(dim=1).gather(1, fates.token_of.clamp(min=0))  # (I, P)
    return replace(fates, token_of=torch.where(fates.token_of < 0, fates.token_of, new))


def keep_patches(look: Look, patches: Tensor) -> Selection:
    """Return the selection that lets the patches [I, n] (ascending) in unchanged and drops the others."""
    places = patches + look.extra
    rows = places.unsqueeze(-1).expand(-1, -1, look.features.shape[-1])
    return Selection(look.features.gather(1, rows), places, partial(kept_fates, look, patches))  # (I, n, D)


def kept_fates(look: Look, patches: Tensor, first: int = 0) -> Fates:
    """Return the fates when the patches [I, n] are tokens of their own, numbered from `first`, and the others gone."""
    n_pictures, n_kept = patches.shape
    blank = patches.new_full((n_pictures, look.patches), -1)
    numbers = torch.arange(first, first + n_kept, device=patches.device).expand(n_pictures, -1)
    return Fates(
        fate=torch.full_like(blank, Fate.DROPPED).scatter(1, patches, int(Fate.DOMINANT)),
        joined=blank.scatter(1, patches, patches),
        token_of=blank.scatter(1, patches, numbers),
        scores=torch.full(blank.shape, float("nan"), device=patches.device),
    )
