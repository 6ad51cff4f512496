"""Turns what a run decided, tensors on some device, into one plain numpy `Trace` a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from duet_core.brush import Brush
from duet_core.decoder import Cut, Prefilled
from duet_core.grid import Grid
from duet_core.methods import Fates, Look, Selection, kept_fates
from duet_core.runs import Entered
from duet_core.trace import BEFORE_MODEL, SURVIVED, Drop, Trace


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a batch: which of the batch's pictures are its own, how they lie, and what guided stage 2.

    `spoken`: where the scores of each word are to be recorded, its tokens among those that guide, and last, as if it
    were a word, the prompt's end. `brush`: what is painted on the pictures, an empty one being none.
    """

    pictures: range
    grid: Grid
    full: int
    words: tuple[str, ...] = ()
    spoken: tuple[tuple[int, ...], ...] = ()
    brush: Brush | None = None


def everything(look: Look, keeps_cls: bool) -> Selection:
    """Return the selection of the untouched model: every patch enters, CLS only if the model feeds it itself."""
    first = look.extra if keeps_cls else 0
    patches = torch.arange(look.patches, device=look.features.device).expand(len(look.features), -1)
    tokens = look.features[:, look.extra - first :]
    places = torch.arange(look.extra - first, look.features.shape[1], device=tokens.device).expand(len(tokens), -1)
    return Selection(tokens, places, partial(kept_fates, look, patches, first))


def record_all(method: str, samples: list[Sample], entered: Entered, done: Prefilled) -> tuple[Trace, ...]:
    """Return the trace of each sample of a prefilled batch."""
    fates = entered.fates()
    return tuple(
        _record(method, sample, number, _own(fates, entered, sample.pictures), done)
        for number, sample in enumerate(samples)
    )


def _record(method: str, sample: Sample, number: int, fates: Fates, done: Prefilled) -> Trace:
    """Return the trace of the `number`-th sample; `fates` [F, P] are those of its own F frames or crops."""
    token_of = fates.token_of.flatten().cpu().numpy()
    joined = fates.joined.flatten().cpu().numpy().astype(np.int32)
    return Trace(
        method=method,
        grid=sample.grid,
        full=sample.full,
        tokens_per_layer=tuple(counts[number] for counts in done.visual_counts),
        fate=fates.fate.flatten().cpu().numpy().astype(np.uint8),
        joined=joined,
        died_at=_deaths(token_of, done.cuts, number),
        stage1_scores=fates.scores.flatten().cpu().numpy().astype(np.float32),
        drops=tuple(_drop(cut, number, token_of, joined, sample.spoken) for cut in done.cuts),
        words=sample.words,
    )


def _own(fates: Fates, entered: Entered, pictures: range) -> Fates:
    """Return the fates [F, P] of a sample's pictures, with tokens and patches numbered through all of them."""
    parts = entered.parts[pictures.start : pictures.stop]
    first = sum(entered.parts[: pictures.start])
    rows = slice(first, first + sum(parts))
    if fates.across:
        return Fates(fates.fate[rows], fates.joined[rows], fates.token_of[rows], fates.scores[rows])
    return Fates(
        fate=fates.fate[rows],
        joined=_run_on(fates.joined[rows], [part * fates.joined.shape[1] for part in parts], parts),
        token_of=_run_on(fates.token_of[rows], entered.counts(pictures), parts),
        scores=fates.scores[rows],
    )


def _run_on(values: Tensor, lengths: Sequence[int], parts: Sequence[int]) -> Tensor:
    """Let numbers [F, P] that begin anew in each picture run on: it has `lengths` of them, `parts` rows; -1 stays."""
    starts = torch.tensor(list(accumulate(lengths, initial=0))[:-1], device=values.device)
    first = starts.repeat_interleave(torch.tensor(parts, device=values.device)).unsqueeze(-1)  # (F, 1)
    return torch.where(values >= 0, values + first, values)


def _deaths(token_of: np.ndarray, cuts: list[Cut], number: int) -> np.ndarray:
    """Return for each patch the layer before which its token was dropped."""
    died = np.where(token_of < 0, BEFORE_MODEL, SURVIVED).astype(np.int32)
    for cut in cuts:
        stayed = np.isin(token_of, cut.kept[number].cpu().numpy())
        died[(died == SURVIVED) & ~stayed] = cut.layer
    return died


def _drop(cut: Cut, number: int, token_of: np.ndarray, joined: np.ndarray, spoken: Sequence[Sequence[int]]) -> Drop:
    """Spread a step's token scores, and those of each word, over the patches that the tokens stand for."""
    before = cut.before[number].cpu().numpy()
    into = None if cut.joined is None else _merged(cut.before[number], cut.joined[number], token_of, joined)
    if cut.scores is None:
        return Drop(cut.layer, np.full(token_of.shape, np.nan, np.float32), into)
    scores = _spread(cut.scores[number], before, token_of)
    if cut.by_query is None or not spoken:
        return Drop(cut.layer, scores, into)
    by_word = _spread(_by_word(cut.by_query[number], spoken), before, token_of)
    return Drop(cut.layer, scores, into, by_word[:-1], by_word[-1])


def _by_word(by_query: Tensor, spoken: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean [W + 1, n] over the tokens of each word of what the query tokens attend to, [R, n]."""
    return torch.stack([by_query[list(rows)].mean(0) for rows in spoken])


def _spread(values: Tensor, before: np.ndarray, token_of: np.ndarray) -> np.ndarray:
    """Return values [..., n] of the tokens there were `before` [n] as float32 [..., P], NaN where a patch has none."""
    by_token = np.full((*values.shape[:-1], token_of.max() + 2), np.nan, np.float32)  # the last slot is for token -1
    inside = before < by_token.shape[-1] - 1  # CLS and the like may be tokens without a patch
    by_token[..., before[inside]] = values.float().cpu().numpy()[..., inside]
    return by_token[..., token_of]


def _merged(there: Tensor, became: Tensor, token_of: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """Return for each patch the patch at whose place the token stands that its own was merged into, -1 for none.

    `there` [n] the tokens that there were, `became` [n] what each became part of, -1 for nothing.
    """
    before, into = there.cpu().numpy(), became.cpu().numpy()
    tokens = max(token_of.max(), before.max(initial=0)) + 1
    place = np.full(tokens + 1, -1, np.int32)  # of each token; the last slot answers for token -1
    place[token_of[token_of >= 0]] = joined[token_of >= 0]
    home = np.full(tokens + 1, -1, np.int32)
    home[before] = np.where(into == before, -1, place[into])
    return home[token_of]
