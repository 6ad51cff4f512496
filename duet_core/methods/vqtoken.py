"""VQToken (2503.16980), its base form: a clip becomes a codebook, each code the mean of the patches that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet_core.methods.base import About, Fates, Look, Method, Selection, merged_fates
from duet_core.methods.settings import Count
from duet_core.plan import Plan, Size
from duet_core.schedules import before_model


@dataclass(frozen=True, slots=True)
class VQToken(Method):
    """Spherical k-means over all patches of a picture, or of all frames of a clip; a token is its patches' plain mean.

    Deviations: no VQ-Attn and no fine-tuning (the released code runs without VQ-Attn, too); K follows the budget, not
    an elbow; `iterations` is fixed and fewer than the 50 to 300 there; means are not normalised, so that the language
    model sees features of the usual size. A token stands at the patch most like its code, so tokens come in order of
    time and a frame has as many as stand in it; crops of one picture are each for themselves. A code that no patch
    chose takes the patch that fits its own worst.
    """

    title: ClassVar[str] = "VQToken base"
    about: ClassVar[About] = About(
        "VQToken (2503.16980)",
        "before the model",
        ("encoder features",),
        training="none for this base; VQToken itself is fine-tuned",
        confidence="official code read; the base without VQ-Attn",
        interpretation=True,
    )
    iterations: Count = 20

    @staticmethod
    def schedule(target: float, size: Size) -> Plan:
        """Return the plan with as many codes as the target; of a clip, a multiple of its frames."""
        return before_model("vqtoken", target, size)

    def after_vision(self, look: Look) -> Selection | None:
        """Find the codes of each sample and let their means in."""
        many = self.entering(look)
        if many is None:
            return None
        groups = look.groups if look.joint else [range(crop, crop + 1) for crop in range(len(look.features))]
        books = {own: self._book(look, own, many * len(own)) for own in groups if len(own)}
        sizes = [size for own, book in books.items() for size in book.sizes(len(own), look.patches)]
        tokens, places = (
            nn.utils.rnn.pad_sequence(torch.cat(parts).split(sizes), batch_first=True)  # (I, n1, D), (I, n1)
            for parts in zip(*((book.tokens, book.places % look.patches) for book in books.values()), strict=True)
        )
        fates = partial(_fates, list(books.values()), look.patches)
        return Selection(tokens.to(look.features.dtype), places + look.extra, fates, tuple(sizes))

    def _book(self, look: Look, pictures: range, codes: int) -> Codebook:
        values = look.patch_features[pictures.start : pictures.stop].flatten(0, 1).float()  # (M, D)
        return make_codebook(values, codes, self.iterations, self.plan.seed)


@dataclass(frozen=True, slots=True)
class Codebook:
    """K codes of M patches: `tokens` [K, D] fp32, their `places` [K] (ascending patches), `code` [M], `counts` [K]."""

    tokens: Tensor
    places: Tensor
    code: Tensor
    counts: Tensor

    @classmethod
    def of(cls, values: Tensor, alike: Tensor) -> Codebook:
        """Give every patch [M, D] the code most like it, by `alike` [M, K], and every code a patch of its own."""
        code, places = with_homes(alike)
        order = places.argsort()
        code = order.argsort()[code]
        belongs = F.one_hot(code, len(order)).float()  # (M, K)
        counts = belongs.sum(0)
        return cls(belongs.T @ values / counts.unsqueeze(-1), places[order], code, counts)

    def sizes(self, pictures: int, patches: int) -> list[int]:
        """Return how many codes stand in each picture."""
        frame = self.places // patches
        return [len(frame)] if pictures == 1 else torch.bincount(frame, minlength=pictures).tolist()


def make_codebook(values: Tensor, codes: int, iterations: int, seed: int) -> Codebook:
    """Return K codes of the patches [M, D] fp32 by spherical k-means, begun by k-means++ from a seed."""
    directions = F.normalize(values, dim=-1)
    draws = torch.rand(codes, generator=torch.Generator().manual_seed(seed))
    centres = directions[first_codes(directions, draws)]  # (K, D)
    for _ in range(iterations):
        centres = moved(directions, centres)
    return Codebook.of(values, directions @ centres.T)


def first_codes(directions: Tensor, draws: Tensor) -> Tensor:
    """Return the patches [K] that k-means++ starts from: each is drawn with chances as its distance from those before.

    `directions` [M, D] of length 1, `draws` [K] uniform numbers on the CPU, one for each choice.
    """
    chosen = [torch.full_like(directions[:1, 0], int(draws[0] * len(directions)), dtype=torch.long)]  # (1,) each
    distance = torch.full_like(directions[:, 0], 2.0)
    for draw in draws[1:].tolist():
        nearer = 1.0 - directions @ directions[chosen[-1]][0]
        distance = torch.minimum(distance, nearer.clamp(min=0.0)).scatter(0, chosen[-1], 0.0)  # (M,)
        up_to = distance.cumsum(0)
        chosen.append((up_to <= draw * up_to[-1]).sum(0, keepdim=True).clamp(max=len(directions) - 1))
    return torch.cat(chosen)


def moved(directions: Tensor, centres: Tensor) -> Tensor:
    """Return the centres [K, D] moved to the mean direction of their patches; one without patches stays."""
    belongs = F.one_hot((directions @ centres.T).argmax(1), len(centres)).float()  # (M, K)
    sums = belongs.T @ directions
    return torch.where(sums.norm(dim=-1, keepdim=True) > 0.0, F.normalize(sums, dim=-1), centres)


def with_homes(alike: Tensor) -> tuple[Tensor, Tensor]:
    """Return the code of each patch [M] and the patch [K] where each code is at home: its member that is most `alike`.

    A code without members takes over a patch that is nobody's home, the one that fits its own code worst first.
    """
    fit, code = alike.max(1)  # (M,)
    belongs = F.one_hot(code, alike.shape[1]).bool()  # (M, K)
    home, empty = alike.masked_fill(~belongs, -float("inf")).argmax(0), ~belongs.any(0)  # (K,)
    at_home = torch.cat([torch.zeros_like(code), code[:1]]).scatter(0, home.masked_fill(empty, len(code)), 1)[:-1]
    free = fit.masked_fill(at_home.bool(), float("inf")).argsort(stable=True)  # (M,)
    home = torch.where(empty, free[(empty.cumsum(0) - 1).clamp(min=0)], home)
    return code.scatter(0, home, torch.arange(len(home), device=home.device)), home


def _fates(books: list[Codebook], patches: int) -> Fates:
    """Read off the fates [I, P], numbered through each clip."""
    found = [merged_fates(own.places[None], own.code[None], own.counts[None] == 1) for own in books]
    return Fates.stacked([own.cut(patches) for own in found])
