"""Turns what a run decided, tensors on some device, into one plain numpy `Trace` a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from duet_core.decoder import Cut, Prefilled
from duet_core.grid import Grid
from duet_core.methods import Look, Selection, keep_patches
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
    patches = torch.arange(look.patches, device=look.features.device).expand(len(look.features), -1)
    selection = keep_patches(look, patches)
    if not keeps_cls:
        return selection
    return Selection(look.features, selection.fate, selection.joined, selection.token_of + look.extra, selection.scores)


def record(method: str, sample: Sample, number: int, selection: Selection, done: Prefilled) -> Trace:
    """Return the trace of sample `number` of a prefilled batch."""
    token_of = _flat_tokens(selection, sample.pictures)
    return Trace(
        method=method,
        grid=sample.grid,
        full=sample.full,
        tokens_per_layer=tuple(counts[number] for counts in done.visual_counts),
        fate=_flat(selection.fate, sample.pictures).astype(np.uint8),
        joined=_flat_joined(selection.joined, sample.pictures),
        died_at=_deaths(token_of, done.cuts, number),
        stage1_scores=_flat(selection.scores, sample.pictures).astype(np.float32),
        drops=tuple(_drop(cut, number, token_of) for cut in done.cuts),
        words=sample.words,
    )


def _flat(values: Tensor, pictures: range) -> np.ndarray:
    """Return [F * P] numpy of the sample's F pictures."""
    return values[pictures.start : pictures.stop].flatten().cpu().numpy()


def _flat_joined(joined: Tensor, pictures: range) -> np.ndarray:
    """Number the patches through the sample's pictures."""
    own = joined[pictures.start : pictures.stop]  # (F, P)
    first = torch.arange(len(own), device=own.device).unsqueeze(-1) * own.shape[1]
    return torch.where(own >= 0, own + first, own).flatten().cpu().numpy().astype(np.int32)


def _flat_tokens(selection: Selection, pictures: range) -> np.ndarray:
    """Return each patch's token, numbered through the sample's pictures as they enter the model; -1 for none."""
    own = selection.token_of[pictures.start : pictures.stop]  # (F, P)
    first = torch.arange(len(own), device=own.device).unsqueeze(-1) * selection.tokens.shape[1]
    return torch.where(own >= 0, own + first, own).flatten().cpu().numpy()


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
