"""Turns what a run decided, tensors on some device, into one plain numpy `Trace` a sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from duet_core.decoder import Cut, Prefilled
from duet_core.grid import Grid
from duet_core.methods import Fates, Look, Selection, kept_fates
from duet_core.trace import BEFORE_MODEL, SURVIVED, Drop, Trace


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a batch: which of the batch's pictures are its own, how they lie, and what guided stage 2."""

    pictures: range
    grid: Grid
    full: int
    words: tuple[str, ...] = ()


def everything(look: Look, keeps_cls: bool) -> Selection:
    """Return the selection of the untouched model: every patch enters, CLS only if the model feeds it itself."""
    first = look.extra if keeps_cls else 0
    patches = torch.arange(look.patches, device=look.features.device).expand(len(look.features), -1)
    tokens = look.features[:, look.extra - first :]
    places = torch.arange(look.extra - first, look.features.shape[1], device=tokens.device).expand(len(tokens), -1)
    return Selection(tokens, places, partial(kept_fates, look, patches, first))


def record_all(method: str, samples: list[Sample], selection: Selection, done: Prefilled) -> tuple[Trace, ...]:
    """Return the trace of each sample of a prefilled batch."""
    fates, counts = selection.fates(), selection.counts
    return tuple(_record(method, sample, number, fates, counts, done) for number, sample in enumerate(samples))


def _record(method: str, sample: Sample, number: int, fates: Fates, counts: list[int], done: Prefilled) -> Trace:
    token_of = _numbered(fates.token_of, sample.pictures, counts[sample.pictures.start : sample.pictures.stop])
    patches = [fates.joined.shape[1]] * len(sample.pictures)
    return Trace(
        method=method,
        grid=sample.grid,
        full=sample.full,
        tokens_per_layer=tuple(counts[number] for counts in done.visual_counts),
        fate=_flat(fates.fate, sample.pictures).astype(np.uint8),
        joined=_numbered(fates.joined, sample.pictures, patches).astype(np.int32),
        died_at=_deaths(token_of, done.cuts, number),
        stage1_scores=_flat(fates.scores, sample.pictures).astype(np.float32),
        drops=tuple(_drop(cut, number, token_of) for cut in done.cuts),
        words=sample.words,
    )


def _numbered(values: Tensor, pictures: range, counts: list[int]) -> np.ndarray:
    """Return [F * P] numbers that run on through the sample's F pictures, as many as `counts` says; -1 stays."""
    own = values[pictures.start : pictures.stop]  # (F, P)
    first = own.new_tensor([0, *counts[:-1]]).cumsum(0).unsqueeze(-1)  # (F, 1)
    return torch.where(own >= 0, own + first, own).flatten().cpu().numpy()


def _flat(values: Tensor, pictures: range) -> np.ndarray:
    """Return [F * P] numpy of the sample's F pictures."""
    return values[pictures.start : pictures.stop].flatten().cpu().numpy()


def _deaths(token_of: np.ndarray, cuts: list[Cut], number: int) -> np.ndarray:
    """Return for each patch the layer before which its token was dropped."""
    died = np.where(token_of < 0, BEFORE_MODEL, SURVIVED).astype(np.int32)
    for cut in cuts:
        stayed = np.isin(token_of, cut.kept[number].cpu().numpy())
        died[(died == SURVIVED) & ~stayed] = cut.layer
    return died


def _drop(cut: Cut, number: int, token_of: np.ndarray) -> Drop:
    """Spread a step's token scores over the patches that the tokens stand for."""
    scores = np.full(token_of.shape, np.nan, np.float32)
    if cut.scores is not None:
        by_token = np.full(token_of.max() + 2, np.nan, np.float32)  # the last slot answers for token -1
        before = cut.before[number].cpu().numpy()
        inside = before < len(by_token) - 1  # CLS and the like may be tokens without a patch
        by_token[before[inside]] = cut.scores[number].float().cpu().numpy()[inside]
        scores = by_token[token_of]
    return Drop(cut.layer, scores)
