"""What a method is: at most two hooks, and the numbers it makes of a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from duet_core.boundary import Boundary, Stay
from duet_core.errors import PlanError
from duet_core.grid import Crops
from duet_core.learnt import Learnt
from duet_core.plan import Plan, Size
from duet_core.text_tower import TextTower
from duet_core.trace import Fate
from duet_core.vision import Evidence, Seen


@dataclass(frozen=True, slots=True)
class About:
    """What a reader should know of a method before trusting its figures.

    `needs`: what it looks at. `training`: "none", or what must be learnt or measured first. `confidence`: what our
    version rests on; `interpretation`: whether parts of it are our own reading of a text that leaves them open.
    """

    paper: str
    stage: Literal["before the model", "inside the model", "both", "none"]
    needs: tuple[str, ...] = ()
    training: str = "none"
    confidence: str = "official code read"
    interpretation: bool = False
    pictures: bool = True
    clips: bool = True

    def applies(self, clip: bool) -> bool:
        """Whether the method can be asked about a clip, or about a picture."""
        return self.clips if clip else self.pictures


def _unasked() -> list[Tensor]:
    raise PlanError("This method needs the question before the picture enters; ask it with a question.")


def _late(_pictures: Sequence[int]) -> Tensor:
    raise PlanError("This model's encoder cannot tell what its first layer attends to; choose another method.")


def _towerless(_folder: str | None) -> TextTower | None:
    return None


def _once(rows_cols: tuple[int, int]) -> Tensor:
    raise PlanError("This model's encoder cannot look at a picture in another size; choose another method.")


def _unlearnt(method: str, _file: str | None) -> Learnt:
    raise PlanError(f"The method {method} has no weights trained for this model; choose another method.")


@dataclass(frozen=True, slots=True)
class Look:
    """What a method may look at before the language model: I pictures of P patches, N = P + `extra` encoder tokens.

    `seen`: what the encoder made of them; `evidence()` its scores and keys for stage 1. `project(features)` maps
    features [I, n, D] into the language model's space. `groups`: the pictures of each sample, all frames of a clip.
    `question()`: per sample the embeddings [Q, D] of the question's words; `texts`: what it says, None where it came as
    bare ids. `again(rows_cols)`: the features [I, N', D] of the same pictures seen in a smaller size, without CLS.
    `joint`: whether one token may stand for patches of several pictures; crops are each for themselves.
    `learnt(method, file)`: the weights that a method was trained to on this very model, from this file or the project's
    own; a PlanError where there are none. `tower(folder)`: the text tower of the encoder, from this folder or the one
    beside the model; None where there is none. `crops`: of each picture that is cut, how its crops lie; `shares`: how
    many tokens of each of the I pictures may enter, where the method shared them out. `early(pictures)`: scores
    [n, P] fp32 of n of the pictures, as `attended` but by the encoder's first layer.
    """

    seen: Seen
    evidence: Callable[[], Evidence]
    project: Callable[[Tensor], Tensor]
    groups: tuple[range, ...]
    question: Callable[[], list[Tensor]] = _unasked
    again: Callable[[tuple[int, int]], Tensor] = _once
    joint: bool = True
    learnt: Callable[[str, str | None], Learnt] = _unlearnt
    texts: tuple[str | None, ...] = ()
    tower: Callable[[str | None], TextTower | None] = _towerless
    crops: tuple[Crops, ...] = ()
    shares: tuple[int, ...] | None = None
    early: Callable[[Sequence[int]], Tensor] = _late

    def part(
        self, pictures: Sequence[int], seen: Seen, evidence: Callable[[], Evidence], groups: tuple[range, ...]
    ) -> Look:
        """Return what a method may look at of some crops, each for itself, which cannot be seen in another size."""
        alone = replace(self, seen=seen, evidence=evidence, groups=groups, again=_once, early=_late, crops=())
        shares = None if self.shares is None else tuple(self.shares[number] for number in pictures)
        return replace(alone, shares=shares, joint=False, learnt=_unlearnt)

    def said(self) -> list[str]:
        """Return what each sample's question says; a PlanError where one came as bare token ids."""
        said = [text for text in self.texts if text is not None]
        if len(said) != len(self.groups):
            raise PlanError("This method needs the question's own text; ask it with a question, not with token ids.")
        return said

    @property
    def features(self) -> Tensor:
        """The encoder's output [I, N, D], the `extra` tokens (CLS) first."""
        return self.seen.features

    @property
    def extra(self) -> int:
        """Tokens in front that are no patch."""
        return self.seen.extra

    @property
    def patches(self) -> int:
        """Patches per picture."""
        return self.features.shape[1] - self.extra

    @property
    def patch_features(self) -> Tensor:
        """The encoder's output [I, P, D] for the patches alone."""
        return self.features[:, self.extra :]

    @property
    def attended(self) -> Tensor:
        """The evidence's scores [I, P] fp32: what CLS attends to, or what is attended to where there is no CLS."""
        return self.evidence().scores[:, self.extra :]


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the P patches of I pictures, int64 but for the scores.

    `fate` [I, P] (`Fate`); `joined` [I, P] the patch whose token a patch became part of, -1 for none; `token_of` [I, P]
    that token's number among its picture's n1, -1 for none. `scores` [I, P] fp32, NaN where the method has none.
    `across`: where tokens stand for patches of several pictures, both numbers run on through a sample's pictures.
    """

    fate: Tensor
    joined: Tensor
    token_of: Tensor
    scores: Tensor
    across: bool = False

    @classmethod
    def stacked(cls, parts: Sequence[Fates]) -> Fates:
        """Return the fates of the pictures of all parts, one part after the other."""
        fate, joined, token_of, scores = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("fate", "joined", "token_of", "scores")
        )
        return cls(fate, joined, token_of, scores, any(part.across for part in parts))

    def cut(self, patches: int) -> Fates:
        """Return the fates [I, P] of pictures of so many patches, numbered on through those of a part."""
        fate, joined, token_of, scores = (
            part.view(-1, patches) for part in (self.fate, self.joined, self.token_of, self.scores)
        )
        return Fates(fate, joined, token_of, scores, across=True)


@dataclass(frozen=True, slots=True)
class Selection:
    """What enters the language model: `tokens` [I, n1, D] of I pictures before the projector.

    `places` [I, n1] int64: the encoder token at whose place each of them stands, a merged one at its anchor's. The last
    `merged` of a picture's tokens are merged ones.
    `fates()` works out what became of the patches. It is for the trace alone, so the engine calls it when the run is
    over: keeping book must not count as selecting. `sizes`: where pictures differ, how many of the n1 are real tokens
    (the others, behind them, are padding). `labels` [I, n1] int64: what the method wants to know of each token again
    when it is asked at a layer (`Boundary.labels`).
    """

    tokens: Tensor
    places: Tensor
    fates: Callable[[], Fates]
    sizes: tuple[int, ...] | None = None
    merged: int = 0
    labels: Tensor | None = None

    @property
    def counts(self) -> list[int]:
        """How many tokens of each picture enter."""
        return [self.tokens.shape[1]] * len(self.tokens) if self.sizes is None else list(self.sizes)

    def real(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return of each picture what `values` [I, n1, ...] say of its tokens, without padding."""
        return tuple(own[:count] for own, count in zip(values, self.counts, strict=True))

    def in_place(self) -> Selection:
        """Return the same selection with its tokens in the order of their places, merged ones among them."""
        return replace(self, merged=0).in_order(self.places)

    def in_order(self, at: Tensor) -> Selection:
        """Return the same selection with its tokens in the order of `at` [I, n1], merged ones behind as they are."""
        plain = torch.arange(self.places.shape[1]) < torch.tensor(self.counts)[:, None] - self.merged
        behind = torch.iinfo(torch.int64).max
        order = at.masked_fill(~plain.to(at.device), behind).argsort(dim=1, stable=True)  # (I, n1)
        rows = order.unsqueeze(-1).expand(-1, -1, self.tokens.shape[-1])
        tokens, places = self.tokens.gather(1, rows), self.places.gather(1, order)
        labels = None if self.labels is None else self.labels.gather(1, order)
        return Selection(tokens, places, partial(_renumbered, self, order), self.sizes, self.merged, labels)


@dataclass(frozen=True, slots=True)
class Method(ABC):
    """One way to drop visual tokens; `plan` holds the numbers that a budget sets, further fields the others.

    `positions`: whether tokens that stay are renumbered after a cut inside the model ("compact") or keep the positions
    they came with ("original"); families whose tokens always keep theirs do so either way. `asks`: whether
    `after_vision` looks at the question, so that every question has a selection of its own. `whole_grid`: whether it
    makes its tokens of whole grids, so that no brush can take patches out of its sight.
    """

    title: ClassVar[str]
    about: ClassVar[About]
    positions: ClassVar[Literal["compact", "original"]] = "compact"
    asks: ClassVar[bool] = False
    whole_grid: ClassVar[bool] = False
    plan: Plan

    def entering(self, look: Look) -> int | None:
        """Return how many tokens of each picture the plan lets in, None for all."""
        return None if self.plan.dominant is None else min(self.plan.dominant + self.plan.contextual, look.patches)

    def share_out(self, look: Look) -> tuple[int, ...] | None:
        """Share a budget out over the I pictures, all crops of one seen together; None lets equally many of each in.

        What comes back stands in `look.shares` when `after_vision` is asked, of crops group by group.
        """
        return None

    @staticmethod
    @abstractmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan whose average of visual tokens per layer comes closest to `target`."""

    def after_vision(self, look: Look) -> Selection | None:
        """Choose what enters the language model; None lets everything in."""
        return None

    def at_layer(self, boundary: Boundary) -> Stay | None:
        """Choose what stays before a layer; None keeps everything."""
        return None

    def trims(self, layer: int) -> bool:
        """Whether decoding loses the visual tokens in this layer's cache that the last layer did not see."""
        return False


def _renumbered(selection: Selection, order: Tensor) -> Fates:
    """Return a selection's fates with its tokens numbered in another order; those across pictures were in order."""
    fates = selection.fates()
    if fates.across:
        return fates
    new = order.argsort(dim=1).gather(1, fates.token_of.clamp(min=0))  # (I, P)
    return replace(fates, token_of=torch.where(fates.token_of < 0, fates.token_of, new))


def keep_patches(
    look: Look, patches: Tensor, scores: Tensor | None = None, sizes: tuple[int, ...] | None = None
) -> Selection:
    """Return the selection that lets the patches [I, n] (ascending) in unchanged and drops the others.

    `scores` [I, P]: what decided, for the trace. `sizes`: where pictures differ, how many of the n are real; those
    behind them are numbered P.
    """
    places = patches.clamp(max=look.patches - 1) + look.extra
    rows = places.unsqueeze(-1).expand(-1, -1, look.features.shape[-1])
    tokens = look.features.gather(1, rows)  # (I, n, D)
    return Selection(tokens, places, partial(_scored, look, patches, scores), sizes)


def _scored(look: Look, patches: Tensor, scores: Tensor | None) -> Fates:
    fates = kept_fates(look, patches)
    return fates if scores is None else replace(fates, scores=scores.float())


def kept_fates(look: Look, patches: Tensor, first: int = 0) -> Fates:
    """Return the fates when the patches [I, n] are tokens of their own, numbered from `first`, and the others gone.

    A patch of the number P is padding.
    """
    n_pictures, n_kept = patches.shape
    blank = patches.new_full((n_pictures, look.patches + 1), -1)  # the last column takes the padding
    numbers = torch.arange(first, first + n_kept, device=patches.device).expand(n_pictures, -1)
    fate = torch.full_like(blank, Fate.DROPPED).scatter(1, patches, int(Fate.DOMINANT))
    parts = (fate, blank.scatter(1, patches, patches), blank.scatter(1, patches, numbers))
    fate, joined, token_of = (part[:, :-1] for part in parts)  # (I, P) each
    return Fates(fate, joined, token_of, torch.full(fate.shape, float("nan"), device=patches.device))


def merge_patches(
    look: Look, tokens: Tensor, centres: Tensor, group: Tensor, kept: Tensor, scores: Tensor | None = None
) -> Selection:
    """Return the selection whose tokens [I, n1, D] stand for groups of patches; the rest as for `merged_fates`."""
    tokens = tokens.to(look.features.dtype)
    return Selection(tokens, centres + look.extra, partial(merged_fates, centres, group, kept, scores))


def merged_fates(centres: Tensor, group: Tensor, kept: Tensor, scores: Tensor | None = None, extra: int = 0) -> Fates:
    """Return the fates of patches when n1 tokens stand for groups of N encoder tokens, the first `extra` no patches.

    `centres` [I, n1] the encoder token that each token counts as; `group` [I, N] the number of the token that an
    encoder token went into, -1 for none; `kept` [I, n1] bool: tokens that are their centre unchanged. `scores` [I, N].
    """
    joined = torch.where(group < 0, group, centres.gather(1, group.clamp(min=0)))  # (I, N)
    fate = torch.where(group < 0, int(Fate.DROPPED), int(Fate.MERGED))
    fate = fate.scatter(1, centres, torch.where(kept, int(Fate.DOMINANT), int(Fate.ANCHOR)))
    scores = torch.full(group.shape, float("nan"), device=group.device) if scores is None else scores.float()
    return Fates(fate[:, extra:], (joined[:, extra:] - extra).clamp(min=-1), group[:, extra:], scores[:, extra:])
