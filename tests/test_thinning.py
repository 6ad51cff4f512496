"""Lessons that show a part of the visual tokens: which part, and how much of it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from duet_core.train.lessons import LanguagePhase
from duet_core.train.thinning import thinned

SEEDS = st.integers(0, 2**32 - 1)


def numbered(subjects: int, frames: int, tokens: int, things: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens that carry their own number as their feature; the first `things` of every frame show something."""
    features = torch.arange(subjects * frames * tokens, dtype=torch.float32).reshape(subjects, frames * tokens, 1)
    labels = (features.long() % tokens < things).long()
    return features, labels


@given(SEEDS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.data())
def test_every_frame_keeps_so_many_in_order(seed: int, subjects: int, frames: int, tokens: int, data: st.DataObject):
    kept = data.draw(st.integers(1, tokens))
    features, labels = numbered(subjects, frames, tokens, tokens // 2)
    some, told = thinned(features, labels, frames, kept, np.random.default_rng(seed))
    assert some.shape == (subjects, frames * kept, 1)
    numbers = some.long().reshape(subjects, frames, kept)
    assert (numbers.diff(dim=-1) > 0).all()
    assert torch.equal(
        numbers // tokens, torch.arange(subjects * frames).reshape(subjects, frames, 1).expand_as(numbers)
    )
    assert torch.equal(told, (some.long() % tokens < tokens // 2).long())


def test_things_mostly_stay():
    features, labels = numbered(50, 8, 100, 10)
    _, told = thinned(features, labels, 8, 30, np.random.default_rng(0))
    share = told.sum() / labels.sum()
    assert 0.9 < share < 1.0


def test_keeping_all_changes_nothing():
    features, labels = numbered(2, 3, 7, 2)
    assert all(map(torch.equal, thinned(features, labels, 3, 7, np.random.default_rng(0)), (features, labels)))


def test_more_clips_fit_a_step_of_fewer_tokens():
    phase = LanguagePhase("x", 1, 24, 1e-3, 1e-3, clip_batch=12, tokens=9300)
    assert [phase.subjects(8, each) for each in (576, 432, 100, 20)] == [2, 2, 11, 12]
    assert phase.subjects(1, 576) == 16
